"""Where the frames of a WebSocket end (RFC 6455 §5.2), followed without touching them (pure).

Messages pass through a tunnel as bytes. Only when the proxy stops does it want to say something
itself: a Close frame with 1001, "going away", so that the client reconnects elsewhere instead of
reporting a broken connection. It may only do so between two frames, and so the direction from the
backend to the client is followed: for a message that is one frame in one piece, the usual case,
that is two comparisons.
"""

from __future__ import annotations

from typing import Final

GOING_AWAY: Final = b"\x88\x02\x03\xe9"
"""An unmasked Close frame with status 1001 (RFC 6455 §7.4.1)."""

_LONGEST_HEADER: Final = 14


class FrameTracker:
    """Follows one direction of a WebSocket connection."""

    __slots__ = ("_header", "_remaining")

    def __init__(self) -> None:
        self._header = b""
        self._remaining = 0

    @property
    def between_frames(self) -> bool:
        """True when the next byte begins a frame."""
        return not self._remaining and not self._header

    def follow(self, data: bytes | memoryview) -> None:
        """The next bytes of the direction."""
        size = len(data)
        if not self._remaining and not self._header and size >= 2 and size == data[1] + 2:
            if data[1] < 126:
                return  # one small unmasked frame, whole
        position = 0
        while position < size:
            if self._remaining:
                step = min(self._remaining, size - position)
                self._remaining -= step
                position += step
                continue
            start = position
            header = self._header + bytes(data[start : start + _LONGEST_HEADER])
            length = _frame_length(header)
            if length is None:
                self._header = header
                return
            # What is left of the frame behind the bytes that came before.
            self._remaining = length - len(self._header)
            self._header = b""


def _frame_length(header: bytes) -> int | None:
    """Header and payload of the frame that begins here; None when its header is incomplete."""
    if len(header) < 2:
        return None
    mask = 4 if header[1] & 0x80 else 0
    length = header[1] & 0x7F
    if length < 126:
        return 2 + mask + length
    extended = 2 if length == 126 else 8
    if len(header) < 2 + extended:
        return None
    return 2 + extended + mask + int.from_bytes(header[2 : 2 + extended], "big")
