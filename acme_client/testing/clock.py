"""The clock of the test CA: real time, moved or stopped by the test.

Everything the CA dates - validity periods, expiries, rate limits, renewal windows, its ``Date``
header - reads this clock and no other. It runs with real time from wherever the test has put it;
a simulation stops it and moves it step by step, so that nothing depends on how fast the machine is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """UTC, moved by ``advance``, ``set``, ``freeze`` and ``run``; may be read from any thread."""

    __slots__ = ("_frozen", "_lock", "_offset", "_source")

    def __init__(
        self,
        start: datetime | None = None,
        *,
        frozen: bool = False,
        source: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._offset = 0.0
        self._frozen: float | None = None
        if frozen:
            self.freeze()
        if start is not None:
            self.set(start)

    def __repr__(self) -> str:
        state = "stopped" if self._frozen is not None else "running"
        return f"<Clock {self.now():%Y-%m-%d %H:%M:%S} UTC, {state}>"

    def time(self) -> float:
        """Seconds since the epoch, as ``time.time`` gives them."""
        with self._lock:
            return self._frozen if self._frozen is not None else self._source() + self._offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> datetime:
        """Move by a span, also a negative one; returns the new time."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if delta is not None:
            step += delta
        with self._lock:
            self._offset += step.total_seconds()
            if self._frozen is not None:
                self._frozen += step.total_seconds()
        return self.now()

    def set(self, moment: datetime) -> None:
        if moment.tzinfo is None:
            raise ValueError(f"the clock needs a time with a time zone, not {moment!r}")
        seconds = moment.timestamp()
        with self._lock:
            self._offset = seconds - self._source()
            if self._frozen is not None:
                self._frozen = seconds

    def freeze(self) -> None:
        """Stop; only ``advance`` and ``set`` move it from here."""
        frozen = self.time()
        with self._lock:
            self._frozen = frozen

    def run(self) -> None:
        """Go on from where it was stopped."""
        with self._lock:
            if self._frozen is not None:
                self._offset = self._frozen - self._source()
                self._frozen = None
