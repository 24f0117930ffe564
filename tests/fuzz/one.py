"""One target in a process of its own: ``python -m tests.fuzz.one NAME SECONDS FOLDER``.

Atheris (libFuzzer) must be there before what it is to see is imported, and ends the process when
it is done; so nothing of ours is imported above :func:`main`, and the report is written as we go.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.fuzz.target import Target

_REPORT_EVERY: Final = 256
"""Executions between two reports."""

_INSTRUMENTED: Final = ["proxy"]

_SLOWEST_SECONDS: Final = 20
"""An input that takes longer is a finding."""

_RSS_MIB: Final = 2048


class Count:
    """Executions so far, in a file that outlives a crash."""

    def __init__(self, file: Path, guide: str) -> None:
        self._file = file
        self._guide = guide
        self._started = time.monotonic()
        self._executions = 0
        self.write()

    def one_more(self) -> None:
        self._executions += 1
        if self._executions % _REPORT_EVERY == 0:
            self.write()

    def write(self) -> None:
        seconds = time.monotonic() - self._started
        told = {"executions": self._executions, "seconds": seconds, "guide": self._guide}
        # libFuzzer ends the process at any moment, and half a report is none.
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(told), "utf-8")
        draft.replace(self._file)


def main(name: str, seconds: int, folder: Path) -> int:
    """Run it; the exit status is not 0 when something was found."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    try:
        import atheris
    except ImportError:
        sys.stderr.write(
            "atheris is not installed (pip install atheris; it has wheels for Linux on x86-64 and "
            "some versions of Python): the inputs are random edits of the seeds.\n"
        )
        return _unguided(_load(name), seconds, folder, Count(report, "chance"))
    with atheris.instrument_imports(include=_INSTRUMENTED):
        target = _load(name)
    return _guided(atheris, target, seconds, folder, Count(report, "coverage"))


def _load(name: str) -> Target:
    from tests.fuzz.all_targets import TARGETS, be_quiet

    be_quiet()
    return TARGETS[name]


def _guided(atheris: Any, target: Target, seconds: int, folder: Path, count: Count) -> int:
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for seed in target.seeds():
        if len(seed) > target.longest:
            continue
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = folder / "words.txt"
    words.write_text("".join(f'"{_quoted(scrap)}"\n' for scrap in target.scraps), "ascii")
    options = [
        *(sys.argv[0], str(corpus), f"-dict={words}", f"-max_len={target.longest}"),
        *(f"-max_total_time={seconds}", f"-timeout={_SLOWEST_SECONDS}"),
        *(f"-rss_limit_mb={_RSS_MIB}", f"-artifact_prefix={folder}/found-"),
    ]
    atheris.Setup(options, _counted(target, count))
    atheris.Fuzz()  # does not return
    return 0


def _quoted(scrap: bytes) -> str:
    """As libFuzzer's dictionaries write bytes."""
    return "".join(f"\\x{byte:02x}" for byte in scrap)


def _counted(target: Target, count: Count) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        count.one_more()
        target.check(data)

    return run


def _unguided(target: Target, seconds: int, folder: Path, count: Count) -> int:
    from tests.fuzz.target import random_input

    seeds = target.seeds()
    chance = random.Random()
    run = _counted(target, count)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = random_input(chance, seeds, target.scraps)
        try:
            run(data)
        except BaseException:
            (folder / f"found-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            count.write()
            sys.stderr.write(f"found with {data!r}\n")
            raise
    count.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
