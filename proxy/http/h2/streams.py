"""Streams: their states as tables, and what is kept for each of them (RFC 9113 §5.1).

Only two things end a direction of a stream: END_STREAM sent and END_STREAM received. The tables
say what each of them makes of a state; that a state is missing means that it cannot happen there,
and :data:`RECEIVING` and :data:`SENDING` are asked before. RST_STREAM ends a stream in any state:
it is taken out of the connection's dictionary, and so is one that is closed.

Idle and closed streams are therefore not objects. Which of the two an unknown identifier is, and
how it was closed, decides what a late frame on it means; :class:`ClosedStreams` tells, from memory
that is bounded and that costs nothing while clients behave.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.flow_control import ReceiveWindow
from proxy.http.h2.priority import Priority

OPEN: Final = 0
HALF_CLOSED_LOCAL: Final = 1
HALF_CLOSED_REMOTE: Final = 2
CLOSED: Final = 3

STATE_NAMES: Final = ("open", "half-closed (local)", "half-closed (remote)", "closed")

# Indexed by state; None where the event is impossible.
AFTER_END_RECEIVED: Final[dict[int, int]] = {OPEN: HALF_CLOSED_REMOTE, HALF_CLOSED_LOCAL: CLOSED}
AFTER_END_SENT: Final[dict[int, int]] = {OPEN: HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE: CLOSED}
RECEIVING: Final = frozenset(AFTER_END_RECEIVED)
"""States in which the peer may send HEADERS and DATA."""
SENDING: Final = frozenset(AFTER_END_SENT)
"""States in which we may."""

UNKNOWN_LENGTH: Final = -1


class Backlog:
    """Data of one stream that waits to be sent; made when something has to wait.

    Attributes:
        pieces: in order; the first ``offset`` octets of the first one have been sent.
        size: octets that wait.
        ends: END_STREAM follows them, on the last DATA frame or on ``trailers``.
        trailers: the encoded trailer section that follows them.
        scheduled: the stream waits for its turn (and not for window).
        choked: the caller was told to pause, and has to be told to go on.
        blocked_since: when the window last ran out without being opened properly, or None.
    """

    __slots__ = (
        "blocked_since",
        "choked",
        "ends",
        "offset",
        "pieces",
        "scheduled",
        "size",
        "trailers",
    )

    def __init__(self) -> None:
        self.pieces: deque[bytes | memoryview] = deque()
        self.offset = 0
        self.size = 0
        self.ends = False
        self.trailers: bytes | None = None
        self.scheduled = False
        self.choked = False
        self.blocked_since: float | None = None

    def cut(self, count: int, frames: list[bytes | memoryview]) -> None:
        """Move the first ``count`` octets to the end of ``frames``, without copying them."""
        pieces = self.pieces
        offset = self.offset
        self.size -= count
        while count:
            piece = pieces[0]
            left = len(piece) - offset
            if left <= count:
                pieces.popleft()
                frames.append(memoryview(piece)[offset:] if offset else piece)
                count -= left
                offset = 0
            else:
                frames.append(memoryview(piece)[offset : offset + count])
                offset += count
                count = 0
        self.offset = offset

    def keep(self) -> None:
        """Make own copies of what is only lent."""
        self.pieces = deque([bytes(piece) for piece in self.pieces])


class Stream:
    """One stream that is open or half-closed.

    Attributes:
        id: its identifier.
        state: one of the constants above.
        window: octets that we may send; below zero when the peer took some back.
        receive_window: made with the first DATA frame.
        expected: octets of body that are still to come, by Content-Length.
        priority: its place in the scheduler.
        opened_at: seconds.
        head_sent: our head has been sent, so data may follow.
        head_received: the final response's head has come (client).
        tunnel: opened by CONNECT; it has no content length and its halves close one by one.
        ignored: what still comes is dropped, as the request has been refused or answered.
        dropped: octets of it so far.
        linger_until: when a stream whose request has been answered early is reset, in seconds.
        informational: 1xx responses that have come (client).
        no_body: the response ends with its head whatever it declares (client).
        backlog: data that waits to be sent, if any.
    """

    __slots__ = (
        "backlog",
        "dropped",
        "expected",
        "head_received",
        "head_sent",
        "id",
        "ignored",
        "informational",
        "linger_until",
        "no_body",
        "opened_at",
        "priority",
        "receive_window",
        "state",
        "tunnel",
        "window",
    )

    def __init__(
        self, stream_id: int, state: int, window: int, priority: Priority, opened_at: float
    ) -> None:
        self.id = stream_id
        self.state = state
        self.window = window
        self.priority = priority
        self.opened_at = opened_at
        self.expected = UNKNOWN_LENGTH
        self.head_sent = False
        self.head_received = False
        self.tunnel = False
        self.ignored = False
        self.dropped = 0
        self.linger_until: float | None = None
        self.informational = 0
        self.no_body = False
        self.receive_window: ReceiveWindow | None = None
        self.backlog: Backlog | None = None

    def __repr__(self) -> str:
        waiting = self.backlog.size if self.backlog else 0
        return (
            f"<Stream {self.id} {STATE_NAMES[self.state]}, window {self.window}, {waiting} waiting>"
        )


class ClosedStreams:
    """How the streams that are no more were closed, as far as it matters (RFC 9113 §5.1, "closed").

    A stream that we reset: the peer may not know yet, so its frames are ignored; its DATA up to
    what was left of the window. A stream that the peer reset, or an identifier that it skipped:
    it should know better. All others ended on both sides.
    """

    RESETS: Final = 256
    SKIPS: Final = 16

    __slots__ = ("_reset_by_peer", "_reset_by_us", "_skipped")

    def __init__(self) -> None:
        self._reset_by_us: dict[int, int] = {}
        self._reset_by_peer: dict[int, None] = {}
        self._skipped: deque[tuple[int, int]] = deque(maxlen=self.SKIPS)

    def reset_by_us(self, stream_id: int, window: int) -> None:
        """We sent RST_STREAM when the peer might still send ``window`` octets."""
        self._reset_by_us[stream_id] = window
        if len(self._reset_by_us) > self.RESETS:
            del self._reset_by_us[next(iter(self._reset_by_us))]

    def reset_by_peer(self, stream_id: int) -> None:
        """The peer sent RST_STREAM."""
        self._reset_by_us.pop(stream_id, None)
        self._reset_by_peer[stream_id] = None
        if len(self._reset_by_peer) > self.RESETS:
            del self._reset_by_peer[next(iter(self._reset_by_peer))]

    def skipped(self, first: int, last: int) -> None:
        """Identifiers ``first`` to ``last`` will never be used (RFC 9113 §5.1.1)."""
        self._skipped.append((first, last))

    def ignores(self, stream_id: int) -> bool:
        """True when frames may still be under way that the peer sent before our RST_STREAM."""
        return stream_id in self._reset_by_us

    def take_data(self, stream_id: int, count: int) -> bool:
        """Count DATA on a stream that we reset; False when it is more than its window."""
        left = self._reset_by_us[stream_id] - count
        self._reset_by_us[stream_id] = left
        return left >= 0

    def code_for(self, stream_id: int) -> ErrorCode:
        """The error that HEADERS on that stream is (RFC 9113 §5.1, §5.1.1)."""
        if any(first <= stream_id <= last for first, last in self._skipped):
            return ErrorCode.PROTOCOL_ERROR
        return ErrorCode.STREAM_CLOSED

    def was_reset_by_peer(self, stream_id: int) -> bool:
        return stream_id in self._reset_by_peer
