"""Breaking the disk: at the n-th system call, before it, half-way through it, or after it."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from acme_client import disk

Strike = Callable[[], None]

MOMENTS = ("before", "half", "after")


class DiskFaults:
    """Counts the calls of ``disk.PRIMITIVES`` and strikes at one of them."""

    def __init__(self, at: int, moment: str, strike: Strike, for_good: bool = False) -> None:
        self.calls: list[str] = []
        self._for_good = for_good
        self._at = at
        self._moment = moment
        self._strike = strike

    def wrap(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if self._for_good and 0 < self._at < len(self.calls):
                self._strike()
            struck = len(self.calls) == self._at
            if struck and self._moment == "before":
                self._strike()
            if struck and self._moment == "half" and name == "write":
                fd, data = arguments
                original(fd, data[: len(data) // 2])
            if struck and self._moment == "half":
                self._strike()
            result = original(*arguments)
            if struck and self._moment == "after":
                self._strike()
            return result

        return call


@contextmanager
def faults(at: int, moment: str, strike: Strike, *, for_good: bool = False) -> Iterator[DiskFaults]:
    """Strike at that call (0: at none), and with ``for_good`` at every later one."""
    book = DiskFaults(at, moment, strike, for_good)
    with pytest.MonkeyPatch.context() as patch:
        for name in disk.PRIMITIVES:
            patch.setattr(disk, name, book.wrap(name, getattr(disk, name)))
        yield book


def kill_ourselves() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(number: int) -> Strike:
    def strike() -> None:
        raise OSError(number, os.strerror(number))

    return strike


def fork() -> int:
    """``os.fork``, which Python deprecates in a process with threads; the child here needs none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def count_calls(work: Callable[[], object]) -> int:
    """How many calls the work makes when nothing strikes."""
    with faults(0, "before", kill_ourselves) as book:
        work()
    return len(book.calls)


def run_and_kill(work: Callable[[], object], at: int, moment: str) -> None:
    """Do the work in a child process that is killed at that call."""
    child = fork()
    if child == 0:
        try:
            with faults(at, moment, kill_ourselves):
                work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"call {at} was never made"
    assert os.WTERMSIG(status) == signal.SIGKILL
