"""Time for deadlines: one coarse clock per worker, moved by its sweep.

No timer is armed per request. Deadlines are numbers on the objects that have them, and one sweep
per worker (every ``SWEEP_SECONDS``) moves the clock and compares. So setting a deadline costs one
attribute read, and a deadline is met late by at most one sweep.
"""

from __future__ import annotations

NEVER = float("inf")
"""A deadline that does not come."""


class CoarseClock:
    """Monotonic seconds as of the last sweep."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now
