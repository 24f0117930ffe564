"""The sending half of a connection: frames of this turn, data that waits, and back-pressure.

Frames that are not flow-controlled are queued at once and leave with the next ``data_to_send``,
all frames of one turn of the event loop in one piece. Data is different: what a stream may send is
bounded by its window, the connection's window, and the other streams. So ``send_data`` takes one of
two ways:

- *direct*: nothing waits and both windows allow it: the frame is made at once. This is what nearly
  all small responses do;
- *backlog*: the piece is kept with its stream, the stream waits in the scheduler for its turn (or
  outside of it for window), and frames are made only when ``data_to_send`` asks for bytes. So the
  decision whose data goes next falls as late as possible, and nothing is framed that the transport
  has no room for.

Back-pressure: ``send_data`` says False when the stream's backlog is above its mark, and the handler
hears ``on_writable`` when it has fallen below. The mark is ``BUFFER_BYTES``, and one frame once all
backlogs of the connection together pass ``CONNECTION_BACKLOG``: a hundred stalled streams may not
hold a hundred full buffers, and a stream that moves still finds a frame to send.
"""

from __future__ import annotations

from typing import Final

from proxy.clock import CoarseClock
from proxy.http.h2.faults import ConnectionFault
from proxy.http.h2.field_encoder import NO_TABLE, FieldEncoder
from proxy.http.h2.floods import DRIBBLE, SMALL_DATA, FloodGuard
from proxy.http.h2.flow_control import grown
from proxy.http.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    MIN_MAX_FRAME_SIZE,
    field_block_frames,
    frame_header,
)
from proxy.http.h2.priority import Priority, Scheduler
from proxy.http.h2.settings import PeerSettings
from proxy.http.h2.streams import SENDING, Backlog, Stream
from proxy.limits import BUFFER_BYTES, KIB, MIB

OUTPUT_BYTES: Final = 256 * KIB
"""How much one ``data_to_send`` gives, give or take a frame."""

CONNECTION_BACKLOG: Final = 512 * KIB
CROWDED_MARK: Final = MIN_MAX_FRAME_SIZE
UNREAD_OUTPUT: Final = 1 * MIB
"""Frames other than backlogged data that may wait for a peer that does not read."""

PROGRESS_BYTES: Final = 1 * KIB
"""Less window than this (and less than what waits) does not count as progress of a stalled peer."""

_pack = frame_header.pack


class SendingHalf:
    """See the module. The receiving half derives from it."""

    __slots__ = (
        "_backlogged",
        "_blocked_since",
        "_clock",
        "_encoder",
        "_floods",
        "_frames",
        "_lent",
        "_no_table_said",
        "_peer",
        "_scheduler",
        "_send_window",
        "_sent_at",
        "_size",
        "closed",
        "streams",
    )

    def __init__(self, clock: CoarseClock, encoder: FieldEncoder) -> None:
        self._clock = clock
        self._encoder = encoder
        self._peer = PeerSettings()
        self._floods = FloodGuard(clock.now)
        self._frames: list[bytes | memoryview] = []
        self._size = 0
        self._send_window = DEFAULT_WINDOW
        self._scheduler: Scheduler[Stream] = Scheduler()
        self._backlogged = 0
        self._blocked_since: float | None = None
        self._lent: list[Stream] = []
        self._no_table_said = False
        self._sent_at = clock.now
        self.streams: dict[int, Stream] = {}
        self.closed = False

    # -- what the owner calls ------------------------------------------------------------------

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool = False) -> bool:
        """Send a piece of a body, or bytes through a tunnel.

        Args:
            stream_id: a stream whose head has been sent; one that is gone is left alone, because a
                reset by the peer may cross with what we send.
            data: a memoryview need only hold until the next ``data_to_send`` or ``settle``.
            end_stream: nothing follows.

        Returns:
            False when the owner should pause until ``on_writable``.

        Raises:
            RuntimeError: before the head, or after the end.
        """
        stream = self.streams.get(stream_id)
        if stream is None:
            return True
        if not stream.head_sent or stream.state not in SENDING:
            raise RuntimeError(f"data out of place on {stream!r}")
        length = len(data)
        if stream.backlog is None and (
            not length
            or (
                not self._scheduler
                and length <= stream.window
                and length <= self._send_window
                and length <= MIN_MAX_FRAME_SIZE
                and self._size < BUFFER_BYTES
            )
        ):
            if not length and not end_stream:
                return True
            self._frames += (
                _pack(length << 8 | DATA, END_STREAM if end_stream else 0, stream_id),
                data,
            )
            self._size += HEADER_BYTES + length
            if length:
                stream.window -= length
                self._send_window -= length
                self._floods.work += 1
            if end_stream:
                self._end_sent(stream)
            return True
        return self._enqueue(stream, data, end_stream)

    def send_trailers(self, stream_id: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Send a trailer section, which ends the stream (RFC 9113 §8.1)."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if not stream.head_sent or stream.state not in SENDING:
            raise RuntimeError(f"trailers out of place on {stream!r}")
        block = self._encoder.encode(fields)
        backlog = stream.backlog
        if backlog is None:
            self._send_block(stream, block, END_STREAM)
        elif backlog.ends:
            raise RuntimeError(f"trailers after the end of {stream!r}")
        else:
            backlog.trailers = block
            backlog.ends = True

    def end(self, stream_id: int) -> None:
        """Nothing more will be sent on that stream."""
        self.send_data(stream_id, b"", end_stream=True)

    def buffered(self, stream_id: int) -> int:
        """Octets that wait for window or for their turn on that stream."""
        stream = self.streams.get(stream_id)
        return stream.backlog.size if stream is not None and stream.backlog is not None else 0

    @property
    def unsent(self) -> int:
        """Octets that wait for ``data_to_send``, in whatever place."""
        return self._size + self._backlogged

    @property
    def wants_to_send(self) -> bool:
        """True when ``data_to_send`` would give something."""
        return bool(self._frames) or (bool(self._scheduler) and self._send_window > 0)

    def data_to_send(self, limit: int = OUTPUT_BYTES) -> bytes:
        """The next bytes for the transport; call it while the transport has room.

        Args:
            limit: about how many octets; frames that are ready are never held back for it.
        """
        if self._scheduler:
            try:
                self._drain(limit)
            except ConnectionFault as fault:
                self._fail(fault)
        if self._lent:
            self._keep_lent()
        frames = self._frames
        if not frames:
            return b""
        data = b"".join(frames)
        frames.clear()
        self._size = 0
        self._sent_at = self._clock.now
        return data

    def settle(self) -> None:
        """Make own copies of lent memoryviews, when ``data_to_send`` has to wait."""
        if self._lent:
            self._keep_lent()
        if any(type(piece) is memoryview for piece in self._frames):
            self._frames = [b"".join(self._frames)]

    def reprioritize(self, stream_id: int, priority: Priority) -> None:
        """Give a stream another place (RFC 9218 §7, §8)."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.priority == priority:
            return
        waiting = self._scheduler.remove(stream)
        stream.priority = priority
        if waiting:
            self._scheduler.add(stream)

    # -- what the receiving half calls ---------------------------------------------------------

    def _control(self, frame: bytes) -> None:
        """Queue a frame that is not flow-controlled."""
        self._frames.append(frame)
        self._size += len(frame)

    def _send_block(self, stream: Stream, block: bytes, flags: int) -> None:
        """Queue a field block; it is the first of the connection, or another one."""
        if not self._no_table_said:
            self._no_table_said = True
            block = NO_TABLE + block
        length = len(block)
        if length <= MIN_MAX_FRAME_SIZE:
            self._frames += (
                _pack(length << 8 | HEADERS, flags | END_HEADERS, stream.id),
                block,
            )
            self._size += HEADER_BYTES + length
        else:
            self._control(field_block_frames(stream.id, block, flags, MIN_MAX_FRAME_SIZE))
        if flags & END_STREAM:
            self._end_sent(stream)

    def _end_sent(self, stream: Stream) -> None:
        """END_STREAM has been queued."""
        raise NotImplementedError

    def _writable(self, stream_id: int) -> None:
        """The stream's backlog is below its mark again."""
        raise NotImplementedError

    def _fail(self, fault: ConnectionFault) -> None:
        raise NotImplementedError

    def _stream_window_grows(self, stream: Stream, increment: int) -> bool:
        """WINDOW_UPDATE on a stream; False when the window passes its maximum."""
        window = grown(stream.window, increment)
        if window is None:
            return False
        stream.window = window
        backlog = stream.backlog
        if backlog is not None and window > 0:
            if window >= PROGRESS_BYTES or window >= backlog.size:
                backlog.blocked_since = None
            self._schedule(stream, backlog)
        return True

    def _connection_window_grows(self, increment: int) -> bool:
        """WINDOW_UPDATE on the connection; False when the window passes its maximum."""
        window = grown(self._send_window, increment)
        if window is None:
            return False
        self._send_window = window
        if window >= PROGRESS_BYTES or window >= self._backlogged:
            self._blocked_since = None
        return True

    def _initial_window_changes(self, delta: int) -> bool:
        """SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.9.2); False when a window grows too far."""
        for stream in self.streams.values():
            if delta > 0:
                if not self._stream_window_grows(stream, delta):
                    return False
                continue
            stream.window += delta
            backlog = stream.backlog
            if backlog is not None and backlog.scheduled and stream.window <= 0:
                self._scheduler.remove(stream)
                backlog.scheduled = False
                backlog.blocked_since = self._clock.now
        return True

    def _drop_backlog(self, stream: Stream) -> None:
        """The stream is gone; so is what waited on it."""
        backlog = stream.backlog
        if backlog is not None:
            if backlog.scheduled:
                self._scheduler.remove(stream)
            self._backlogged -= backlog.size
            stream.backlog = None

    # -- inside --------------------------------------------------------------------------------

    def _enqueue(self, stream: Stream, data: bytes | memoryview, ends: bool) -> bool:
        backlog = stream.backlog
        if backlog is None:
            backlog = stream.backlog = Backlog()
        elif backlog.ends:
            raise RuntimeError(f"data after the end of {stream!r}")
        length = len(data)
        if length:
            backlog.pieces.append(data)
            backlog.size += length
            self._backlogged += length
            if type(data) is memoryview:
                self._lent.append(stream)
        backlog.ends = ends
        self._schedule(stream, backlog)
        if backlog.size > (
            BUFFER_BYTES if self._backlogged <= CONNECTION_BACKLOG else CROWDED_MARK
        ):
            backlog.choked = True
        return not backlog.choked

    def _schedule(self, stream: Stream, backlog: Backlog) -> None:
        """Let the stream wait for its turn, or note since when it waits for window."""
        if backlog.scheduled:
            return
        if stream.window > 0:
            backlog.scheduled = True
            self._scheduler.add(stream)
        elif backlog.blocked_since is None:
            backlog.blocked_since = self._clock.now

    def _drain(self, limit: int) -> None:
        """Make DATA frames of backlogs, in the scheduler's order, up to limit and window."""
        scheduler = self._scheduler
        writable: list[int] = []
        while scheduler and self._size < limit:
            if self._send_window <= 0:
                if self._blocked_since is None:
                    self._blocked_since = self._clock.now
                break
            stream = scheduler.take()
            if self._send_frame(stream):
                writable.append(stream.id)
        for stream_id in writable:
            if stream_id in self.streams:
                self._writable(stream_id)

    def _send_frame(self, stream: Stream) -> bool:
        """One DATA frame of a stream's backlog. True when its owner has to hear ``on_writable``."""
        backlog = stream.backlog
        assert backlog is not None
        waiting = backlog.size
        count = min(waiting, stream.window, self._send_window, MIN_MAX_FRAME_SIZE)
        last = count == waiting
        if count < SMALL_DATA and not last:
            self._floods.note(DRIBBLE, self._clock.now)
        else:
            self._floods.work += 1
        flags = END_STREAM if last and backlog.ends and backlog.trailers is None else 0
        self._frames.append(_pack(count << 8 | DATA, flags, stream.id))
        backlog.cut(count, self._frames)
        self._size += HEADER_BYTES + count
        self._backlogged -= count
        stream.window -= count
        self._send_window -= count
        if not last:
            backlog.scheduled = False
            self._schedule(stream, backlog)
            if backlog.choked and backlog.size <= CROWDED_MARK:
                backlog.choked = False
                return True
            return False
        stream.backlog = None
        if flags:
            self._end_sent(stream)
        elif backlog.trailers is not None:
            self._send_block(stream, backlog.trailers, END_STREAM)
        return backlog.choked

    def _keep_lent(self) -> None:
        for stream in self._lent:
            if stream.backlog is not None:
                stream.backlog.keep()
        self._lent.clear()
