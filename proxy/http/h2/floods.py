"""Floods: what costs the peer nothing and us something is counted, and has an end.

HTTP/2 has many frames that are legal, tiny, and answered or accounted for at the receiver's cost.
Every published flood is one of them sent without need (CVE-2019-9511 to 9518, CVE-2023-44487,
CVE-2024-27316, CVE-2025-8671). No single such frame is wrong; what is wrong is their number *in
proportion to work*. So the rule is one and the same for all kinds: within 10 seconds, a number of
them is free, and each piece of useful work (a request, a DATA frame with data, in either
direction) pays for some more. Past that, the connection ends with ENHANCE_YOUR_CALM.

====================  =====================================================================
kind                  why an honest client sends some
====================  =====================================================================
PING                  keep-alive; gRPC measures the path with one per DATA frame
SETTINGS              once; gRPC again whenever it tunes its windows
PRIORITY              older browsers describe a tree of streams
PRIORITY_UPDATE       a browser re-orders images as they come into view
WINDOW_UPDATE         simple clients send two per DATA frame that they receive
empty DATA            some libraries end or flush a body with one
unknown frames        extensions and grease (RFC 9113 §5.5)
late frames           sent before our RST_STREAM or GOAWAY was read
dribbles              DATA frames that we had to cut small for want of window (CVE-2019-9511)
====================  =====================================================================

*Framing overhead*: as for chunked bodies in HTTP/1.1, frame headers and padding may exceed twice
the data by 16 KiB, within the same 10 seconds.

*Resets* (rapid reset, and MadeYouReset where the client provokes ours): of 500 requests, no more
than half may end by a reset that the client sent within a second of opening the stream, or caused;
an answer of 431 or 414 counts as one. The counts are halved as they grow, so a long good record
does not buy a long flood.
"""

from __future__ import annotations

from typing import Final

from proxy.http.h2.faults import ConnectionFault, ErrorCode
from proxy.http.h2.frames import HEADER_BYTES
from proxy.limits import CHUNK_OVERHEAD_BYTES, SECONDS

PING: Final = 0
SETTINGS: Final = 1
PRIORITY: Final = 2
PRIORITY_UPDATE: Final = 3
WINDOW_UPDATE: Final = 4
EMPTY_DATA: Final = 5
UNKNOWN: Final = 6
LATE: Final = 7
DRIBBLE: Final = 8

PERIOD: Final = 10 * SECONDS

NAMES: Final = (
    "PING",
    "SETTINGS",
    "PRIORITY",
    "PRIORITY_UPDATE",
    "WINDOW_UPDATE",
    "empty DATA",
    "unknown",
    "late",
    "dribbled DATA",
)
FREE: Final = (100, 100, 300, 300, 500, 100, 200, 1000, 200)
"""Per kind and period."""
PER_WORK: Final = (2, 0, 2, 2, 4, 1, 1, 4, 1)
"""Per kind, what one piece of work pays for on top."""

CONTINUATIONS: Final = 32
"""Frames of one field block; 32 KiB of block need three."""

RESET_WITHIN: Final = 1 * SECONDS
REQUESTS_BEFORE_JUDGING: Final = 500
REQUESTS_REMEMBERED: Final = 2000

SMALL_DATA: Final = 256
"""A DATA frame shorter than this that was cut for want of window is a dribble, and no work."""


class FloodGuard:
    """Counts of one connection. Everything here is bounded by being numbers.

    Attributes:
        work: useful pieces in this period; callers add to it.
        opened: requests opened, with decay; callers add to it.
        counts: frames per kind in this period.
    """

    __slots__ = ("_period_start", "counts", "opened", "overhead", "resets", "work")

    def __init__(self, now: float) -> None:
        self._period_start = now
        self.counts = [0] * len(FREE)
        self.work = 0
        self.overhead = 0
        self.opened = 0
        self.resets = 0

    def note(self, kind: int, now: float) -> None:
        """One frame of that kind has come.

        Raises:
            ConnectionFault: it is one too many.
        """
        count = self.counts[kind] = self.counts[kind] + 1
        if count <= FREE[kind] or count <= FREE[kind] + PER_WORK[kind] * self.work:
            return
        if self._new_period(now):
            self.counts[kind] = 1
            return
        raise _calm(f"{count} {NAMES[kind]} frames in {PERIOD:.0f} s")

    def note_data(self, data: int, padding: int, now: float) -> None:
        """A DATA frame has come.

        Raises:
            ConnectionFault: the framing outweighs the data.
        """
        overhead = self.overhead + HEADER_BYTES + padding - 2 * data
        self.overhead = overhead if overhead > 0 else 0
        if data:
            self.work += 1
        if overhead > CHUNK_OVERHEAD_BYTES and not self._new_period(now):
            raise _calm("DATA frames with hardly any data")

    def note_reset(self, now: float, opened_at: float | None = None) -> None:
        """A stream has been reset by the peer, or by us for what the peer did.

        Args:
            now: seconds.
            opened_at: when the stream was opened, if its age excuses the reset.

        Raises:
            ConnectionFault: too many of the requests end like this.
        """
        if opened_at is not None and now - opened_at > RESET_WITHIN:
            return
        self.resets += 1
        while self.opened > REQUESTS_REMEMBERED:
            self.opened //= 2
            self.resets //= 2
        if self.opened >= REQUESTS_BEFORE_JUDGING and self.resets * 2 > self.opened:
            raise _calm(f"{self.resets} of {self.opened} requests were reset")

    def _new_period(self, now: float) -> bool:
        if now - self._period_start < PERIOD:
            return False
        self._period_start = now
        self.counts = [0] * len(FREE)
        self.work = 0
        self.overhead = 0
        return True

    def __repr__(self) -> str:
        counted = ", ".join(
            f"{count} {name}" for name, count in zip(NAMES, self.counts, strict=True) if count
        )
        return f"<FloodGuard {self.resets} of {self.opened} reset; {counted or 'quiet'}>"


def _calm(reason: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason)
