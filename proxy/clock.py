"""Time for deadlines: one coarse clock per worker, moved by its sweep.

No timer is armed per request. Deadlines are numbers on the objects that have them, and one sweep
per worker (every ``SWEEP_SECONDS``) moves the clock and compares them with the time of the sweep
before. So setting a deadline costs one attribute read, and a deadline is never met early, and late
by at most two sweeps.
"""

from __future__ import annotations

NEVER = float("inf")
"""A deadline that does not come."""


class CoarseClock:
    """Monotonic seconds as of the last sweep."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now
