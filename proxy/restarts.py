"""When a dead child is started again: pure, the clock is an argument.

One death is answered at once, so that a killed worker is missed for less than a second. A child
that dies again and again waits longer each time, so that a broken one does not burn the machine;
one that lived for a while starts with a clean record.
"""

from __future__ import annotations

from proxy.limits import SECONDS

SETTLED_AFTER = 10 * SECONDS
FIRST_WAIT = 0.25 * SECONDS
LONGEST_WAIT = 30 * SECONDS


class Restarts:
    """The record of one child's place."""

    __slots__ = ("deaths",)

    def __init__(self) -> None:
        self.deaths = 0
        """In a row, each before it had settled."""

    def wait_after_death(self, lived: float) -> float:
        """How long to wait before the next start, after a life of so many seconds."""
        if lived >= SETTLED_AFTER:
            self.deaths = 0
        self.deaths += 1
        if self.deaths == 1:
            return 0.0
        return float(min(FIRST_WAIT * 2 ** min(self.deaths - 2, 16), LONGEST_WAIT))
