"""Time, as an argument.

Certificates live in wall-clock time, waits in monotonic time; and the wall clock jumps (NTP at
boot, a laptop that slept, a virtual machine that was restored). So a wait until a date is made of
short monotonic slices, each followed by a fresh look at the wall clock: a jump of ninety days
forward is noticed within one slice, a jump back makes nothing happen early.

Tests hand in a clock that they move.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the manager needs to know about time."""

    def now(self) -> datetime:
        """The date, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never jump, for deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so many monotonic seconds."""

    async def wait_until(self, when: datetime, wake: anyio.Event) -> None:
        """Wait until the wall clock shows ``when`` or ``wake`` is set."""


SLICE_SECONDS = 60.0
"""A jump of the wall clock is noticed after at most this."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def wait_until(self, when: datetime, wake: anyio.Event) -> None:
        while not wake.is_set() and (left := (when - self.now()).total_seconds()) > 0:
            with anyio.move_on_after(min(left, SLICE_SECONDS)):
                await wake.wait()
