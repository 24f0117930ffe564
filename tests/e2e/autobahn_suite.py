"""The Autobahn test suite: where it is, and how it is installed.

Its fuzzing client, the reference test of WebSocket servers, is a Python 2.7 program on PyPI. It is
run from a virtual environment of its own, ``build/autobahn``, which

    python -m tests.e2e.autobahn_suite

makes when a Python 2.7 is found (``PYTHON27``, ``python2.7`` on PATH, or one of pyenv's). Without
one the tests that need it are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.programs import ROOT

FOLDER: Final = ROOT / "build" / "autobahn"
"""The virtual environment."""

_LAST_FOR_2_7: Final = "virtualenv<20.22"
_SUITE: Final = "autobahntestsuite"
_INSTALL_SECONDS: Final = 600

_PASSES: Final = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}


def program() -> Path | None:
    """The suite's ``wstest``, when it is there."""
    own = FOLDER / "bin" / "wstest"
    found = str(own) if own.exists() else shutil.which("wstest")
    return Path(found) if found else None


def python_2_7() -> str | None:
    """A Python 2.7 to install it with."""
    found = [os.environ.get("PYTHON27"), shutil.which("python2.7")]
    for root in (Path(os.environ.get("PYENV_ROOT", "/nowhere")), Path.home() / ".pyenv"):
        found += [str(path) for path in root.glob("versions/2.7*/bin/python2.7")]
    return next((path for path in found if path and _is_2_7(path)), None)


def _is_2_7(path: str) -> bool:
    """Whether it runs at all: pyenv has a shim for every version, chosen or not."""
    command = [path, "-c", "import sys; print(sys.version_info[:2] == (2, 7))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() == "True"


def install() -> str:
    """Install it when that is possible; what was done, in a sentence."""
    if (there := program()) is not None:
        return f"The Autobahn test suite is {there}"
    python = python_2_7()
    if python is None:
        return "WARNING: no Python 2.7 for the Autobahn test suite; its tests will be skipped"
    tool = FOLDER.with_name("autobahn-tool")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    try:
        _run(sys.executable, "-m", "venv", str(tool))
        _run(str(tool / "bin" / "python"), *pip, _LAST_FOR_2_7)
        _run(str(tool / "bin" / "virtualenv"), "--quiet", "--python", python, str(FOLDER))
        _run(str(FOLDER / "bin" / "python"), *pip, _SUITE)
    except subprocess.SubprocessError as error:
        shutil.rmtree(FOLDER, ignore_errors=True)
        return f"WARNING: the Autobahn test suite cannot be installed ({error})"
    finally:
        shutil.rmtree(tool, ignore_errors=True)
    return f"Installed the Autobahn test suite into {FOLDER}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_SECONDS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite says of one case."""

    behavior: str
    close: str

    @property
    def passed(self) -> bool:
        """NON-STRICT too: whether an echo is still sent before a connection fails is a race."""
        return self.behavior in _PASSES

    @property
    def outline(self) -> tuple[bool, str]:
        return self.passed, self.close


class FuzzingClient:
    """One run of the fuzzing client against one URL."""

    def __init__(self, wstest: Path, folder: Path, agent: str, url: str, cases: Sequence[str]):
        folder.mkdir(parents=True, exist_ok=True)
        self._reports = folder / agent
        self._log = folder / f"{agent}.log"
        spec = {
            "outdir": str(self._reports),
            "servers": [{"agent": agent, "url": url}],
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        spec_file = folder / f"{agent}.json"
        spec_file.write_text(json.dumps(spec), "utf-8")
        self._agent = agent
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(wstest), "--mode", "fuzzingclient", "--spec", str(spec_file)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def verdicts(self, seconds: float) -> dict[str, Verdict]:
        """Wait for its end, and read what it found, by the number of the case."""
        try:
            code = self._process.wait(seconds)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        log = self._log.read_text("utf-8", "replace")
        assert code == 0, f"the fuzzing client ended with {code}:\n{log[-2000:]}"
        index = json.loads((self._reports / "index.json").read_text("utf-8"))
        return {
            number: Verdict(told["behavior"], told["behaviorClose"])
            for number, told in index[self._agent].items()
        }


if __name__ == "__main__":
    sys.stdout.write(install() + "\n")
