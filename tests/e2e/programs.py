"""Other programs as the tests start them: what they said is kept, and they end by their PID."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.e2e.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
"""The folder of the project."""


class ReservedPort:
    """A port of the system's choosing that stays ours until somebody listens on it.

    The socket is bound and never listens. So the kernel gives the port to nobody who asks for any,
    and a server that names it (with SO_REUSEADDR, as servers do) gets it.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self.host = host
        self.number: int = self._socket.getsockname()[1]

    def __str__(self) -> str:
        return f"{self.host}:{self.number}"

    def close(self) -> None:
        self._socket.close()


class Program:
    """A program that runs until the end of a ``with``.

    It is a session of its own, so that a Ctrl+C at the tests' terminal does not reach it and a
    Ctrl+C of a test reaches all of it.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_file: Path,
        *,
        environ: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        self.command = list(command)
        self._log_file = log_file
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**_plain_environ(), **(environ or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def log(self) -> str:
        """All that it wrote so far, on both streams."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait_for(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait for a line of the log that a regular expression is found in."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.log, re.MULTILINE)
            if match is None and self.exit_code is not None:
                # Once more: what it said last may have come between the two looks.
                match = re.search(pattern, self.log, re.MULTILINE)
                assert match is not None, self.told(f"{pattern!r} never came")
            return match

        match = wait_until(found, lambda: self.told(f"{pattern!r} in the log"), seconds)
        assert match is not None
        return match

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        wait_until(
            lambda: self.exit_code is not None, lambda: self.told("the end of the program"), seconds
        )
        assert self.exit_code is not None
        return self.exit_code

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl+C at its terminal: every process of its foreground group gets SIGINT."""
        os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """As ``kill -9``, and wait until it is gone."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self, seconds: float = PATIENCE) -> int:
        """As ``kill``, and wait for the end; the exit code."""
        self._process.terminate()
        return self.wait(seconds)

    def end(self) -> None:
        """Whatever it takes, for it and for its children."""
        children = descendants(self.pid)
        if self.exit_code is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE)
        for pid in children:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)

    def told(self, what: str) -> str:
        """A failure's text: what happened, and the log."""
        state = "running" if self.exit_code is None else f"exit code {self.exit_code}"
        return f"{what}\n--- {' '.join(self.command)}: {state}\n{self.log}\n---"


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """How much memory a process holds (VmRSS), or held at most since :func:`forget_peak`."""
    key = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {key} of {pid}")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _plain_environ() -> dict[str, str]:
    """Ours, without what would configure the program or make its output odd."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VESTIBULE_", "UVICORN_", "COV_", "COVERAGE_"))
        and name not in ("PORT", "WEB_CONCURRENCY", "SSL_CERT_FILE", "SSLKEYLOGFILE")
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
