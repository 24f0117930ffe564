"""Turns: connections with more to do than one turn is for go on one after the other.

One read can bring thousands of frames, and a client that means no good sends just such reads, on
as many connections as it may have. A connection does a bounded piece of work when bytes come, and
what is left waits here. In each turn of the event loop one of those that wait goes on, so what
they all together take from the others in a turn is the work of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Turns:
    """Those of one worker that wait to go on."""

    __slots__ = ("_call_soon", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """``call_soon`` has something done in the next turn of the event loop."""
        self._call_soon = call_soon
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` when those that wait already have had their turns."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            self._call_soon(self._next)

    def _next(self) -> None:
        go_on = self._waiting[0]
        try:
            go_on()
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._call_soon(self._next)
