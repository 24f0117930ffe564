"""Programs under measurement: started in a session of their own, weighed, and ended by pid.

CPU time is user + system from ``/proc/PID/stat`` (proc(5)) over a program's whole tree, so that
masters, workers and helpers all count; what ended children used is in their parent's figures.
Memory is the proportional set size from ``smaps_rollup``: pages that workers share count once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the proxies run, and where everything else does."""

    proxy: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def split(cls, pin: bool) -> Cores:
        """One core for the proxies, the others for backend and clients, if there are two."""
        every = sorted(os.sched_getaffinity(0))
        if not pin or len(every) < 2:
            return cls(frozenset(every), frozenset(every))
        return cls(frozenset(every[:1]), frozenset(every[1:]))


class Program:
    """A started program and all its descendants."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        cores: frozenset[int],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self.log = log
        # Children inherit the affinity, and it must hold before their first thread starts.
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    self.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    cwd=folder,
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, own)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """The program's own process and all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))) is not None:
                children.setdefault(int(fields[1]), []).append(int(entry))
        found = [self.pid]
        for pid in found:  # grows while it is walked
            found += children.get(pid, ())
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the tree so far."""
        seconds = 0.0
        for pid in self.pids():
            fields = _stat(pid)
            if fields is not None:
                utime, stime, cutime, cstime = map(int, fields[11:15])
                # The scheduler's count is exact, but has nothing of threads that have ended.
                seconds += max((utime + stime) * _TICK, _scheduled(pid))
                seconds += (cutime + cstime) * _TICK
        return seconds

    def memory_bytes(self) -> int:
        """Proportional set size of the tree."""
        return sum(_pss(pid) for pid in self.pids())

    def tail(self, lines: int = 15) -> str:
        """The end of what the program printed."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the tree: politely, then not."""
        pids = self.pids()
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        for pid in pids:
            with suppress(ProcessLookupError):
                # A pid is only ours while its session is the one we started.
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def settled_cpu(program: Program) -> float:
    """CPU time once it no longer grows: the tail of the last requests is counted with them."""
    before = program.cpu_seconds()
    for _ in range(10):
        time.sleep(0.05)
        now = program.cpu_seconds()
        if now - before < 2 * _TICK:
            return now
        before = now
    return before


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` from the state on, or None for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _scheduled(pid: int) -> float:
    """Seconds that the threads of a process have run; 0 where the kernel does not count them."""
    nanoseconds = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            nanoseconds += int(file.read_text("ascii").split()[0])
    return nanoseconds / 1e9


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
