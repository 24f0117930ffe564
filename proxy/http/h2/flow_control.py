"""Flow control (RFC 9113 §5.2, §6.9): who may send how much, in both directions.

*Sending*: a window is a plain number on the stream and on the connection; it falls with every DATA
frame, rises with WINDOW_UPDATE (:func:`grown`), and may go below zero when the peer lowers
SETTINGS_INITIAL_WINDOW_SIZE.

*Receiving*: two kinds of window do two different jobs.

- A stream's window bounds memory. It is opened again only for bytes that the consumer says it has
  consumed, so a stalled consumer holds at most one window of bytes.
- The connection's window must never be what a stalled stream uses up, because then it would stall
  all the others. So its credit is given back on receipt, whatever becomes of the bytes: the sum
  of the streams' windows is the bound, and that is streams times window.

Credit is given back in batches, when half of the window is owed: one WINDOW_UPDATE per half window
instead of one per frame.
"""

from __future__ import annotations

from typing import Final

from proxy.http.h2.frames import MAX_WINDOW
from proxy.limits import KIB, MIB

STREAM_WINDOW: Final = 64 * KIB
"""Bytes of one request body that may be under way or waiting for the upstream."""

CONNECTION_WINDOW: Final = 1 * MIB
"""Only paces the sender between two receipts; it holds no memory (see above)."""


def grown(window: int, increment: int) -> int | None:
    """The window after a WINDOW_UPDATE, or None when it passes 2^31-1 (RFC 9113 §6.9.1)."""
    window += increment
    return window if window <= MAX_WINDOW else None


class ReceiveWindow:
    """What the peer may still send, and what we owe it.

    Attributes:
        available: bytes that the peer may send now.
        owed: bytes that may be granted again and have not been yet.
    """

    __slots__ = ("_batch", "_size", "available", "owed")

    def __init__(self, size: int) -> None:
        self.available = size
        self.owed = 0
        self._size = size
        self._batch = size // 2

    def take(self, count: int) -> bool:
        """Bytes have arrived. False when they are more than was allowed."""
        self.available -= count
        return self.available >= 0

    def widen(self, count: int) -> None:
        """The peer has been granted that many bytes on top, which will not be given back."""
        self.available += count
        self._size += count

    def give_back(self, count: int) -> int:
        """Bytes may be granted again. Returns the increment to send now, or 0."""
        owed = self.owed + count
        if self.available + owed > self._size:
            raise ValueError(f"{count} bytes given back are more than were received")
        if owed < self._batch:
            self.owed = owed
            return 0
        self.owed = 0
        self.available += owed
        return owed

    def __repr__(self) -> str:
        return f"<ReceiveWindow {self.available} available, {self.owed} owed>"
