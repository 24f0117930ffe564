"""The receiving half of a connection: frames out of bytes, and what every kind of frame means.

Framing, the assembly of field blocks and DATA are here, the smaller frames are in
:mod:`proxy.http.h2.control_frames`. What a field block means, and which streams may be opened, is
for :mod:`proxy.http.h2.connection` and :mod:`proxy.http.h2.client_connection`.

Each frame is handled where it lies in the buffer, with no object per frame. Incomplete frames
wait; how the bytes were cut makes no difference to what the handler hears.
"""

from __future__ import annotations

import sys
from typing import Final

from proxy.clock import CoarseClock
from proxy.http.h2 import floods
from proxy.http.h2.control_frames import ControlFrames, on_stream_zero
from proxy.http.h2.faults import ConnectionFault, ErrorCode, StreamFault, malformed
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.flow_control import STREAM_WINDOW, ReceiveWindow
from proxy.http.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    MAX_STREAM_ID,
    MIN_MAX_FRAME_SIZE,
    PADDED,
    PRIORITY_FLAG,
    SETTINGS,
    WINDOW_UPDATE,
    frame_header,
    window_update,
    without_padding,
)
from proxy.http.h2.header_blocks import Block
from proxy.http.h2.sending import UNREAD_OUTPUT
from proxy.http.h2.streams import RECEIVING, UNKNOWN_LENGTH, Stream
from proxy.limits import Limits

FIELD_SECTION_WORK: Final = 7
"""Frames that a field section counts for on top of its own: there is a request behind it."""
WORK_UNDER_SUSPICION: Final = 4
"""How much more it counts when one in eight of the last requests was reset: work for nothing, that
may go on like this."""
BEHIND_A_REQUEST: Final = 16
"""Frames of other kinds that are still handled when the turn's work is done: what takes the last
request back, or completes it, shall not come after the request has begun."""

_unpack = frame_header.unpack_from


class ReceivingHalf(ControlFrames):
    """See the module."""

    __slots__ = (
        "_fragment_flags",
        "_fragment_stream",
        "_fragments",
        "_needed",
        "_pending",
        "_preface",
        "_rest",
        "_rest_at",
        "interrupted",
        "work_per_turn",
    )

    def __init__(
        self,
        clock: CoarseClock,
        limits: Limits,
        encoder: FieldEncoder,
        *,
        opening: bytes,
        preface: bytes,
    ) -> None:
        super().__init__(clock, limits, encoder, opening=opening)
        self._preface = preface
        self._pending = bytearray()
        self._needed = 0
        self._rest = b""  # where the last turn was interrupted: what it had, and how far it was
        self._rest_at = 0
        self._fragments: list[bytes] | None = None
        self._fragment_stream = 0
        self._fragment_flags = 0
        self.work_per_turn = sys.maxsize
        """Frames handled in one ``receive``, a field section for ``FIELD_SECTION_WORK`` of them;
        the owner lowers it to be fair to others."""
        self.interrupted = False
        """``receive`` has stopped at that number; give it the next bytes, or none, to go on."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the transport, in any pieces."""
        self.interrupted = False
        if self.closed:
            return
        self._heard_at = self._clock.now
        self._ping_sent_at = None
        position = 0
        pending = self._pending
        if self._rest:
            rest, self._rest = self._rest, b""
            if data:
                data = rest[self._rest_at :] + data
            else:
                data, position = rest, self._rest_at
        elif pending:
            if len(pending) + len(data) < self._needed:
                pending += data
                return
            data = b"".join((pending, data))
            pending.clear()
        try:
            if self._size > UNREAD_OUTPUT:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "what was sent is not read")
            if self._preface:
                position = self._read_preface(data)
            if not self._preface:
                position = self._read_frames(data, position)
        except ConnectionFault as fault:
            self._fail(fault)
            return
        if self.interrupted:
            self._rest = data
            self._rest_at = position
        elif position < len(data) and not self.closed:
            pending += memoryview(data)[position:]
        self._note_head_wait()

    def _field_block(self, stream_id: int, block: Block, end_stream: bool) -> None:
        """A whole field section has come on that stream."""
        raise NotImplementedError

    # -- frames --------------------------------------------------------------------------------

    def _read_preface(self, data: bytes) -> int:
        # RFC 9113 §3.4
        preface = self._preface
        count = min(len(preface), len(data))
        if data[:count] != preface[:count]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 connection preface")
        self._preface = preface[count:]
        return count

    def _read_frames(self, data: bytes, position: int) -> int:
        """Handle all whole frames; returns where the first incomplete one begins."""
        end = len(data)
        work_left = self.work_per_turn
        while end - position >= HEADER_BYTES:
            length_and_type, flags, stream_id = _unpack(data, position)
            length = length_and_type >> 8
            kind = length_and_type & 0xFF
            if length > MIN_MAX_FRAME_SIZE:
                # RFC 9113 §4.2
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of more than {MIN_MAX_FRAME_SIZE} bytes"
                )
            start = position + HEADER_BYTES
            stop = start + length
            if stop > end:
                self._needed = stop - position
                return position
            if work_left <= 0 and (kind == HEADERS or work_left <= -BEHIND_A_REQUEST):
                self.interrupted = True
                return position
            work_left -= 1
            position = stop
            stream_id &= MAX_STREAM_ID
            try:
                if self._fragments is not None:
                    self._continuation(kind, data[start:stop], flags, stream_id)
                elif not self._peer.received:
                    self._first_frame(kind, data[start:stop], flags, stream_id)
                elif kind == HEADERS:
                    work_left = max(work_left - self._section_work(), 0)
                    self._headers(data, start, stop, flags, stream_id)
                elif kind == DATA:
                    self._data(data, start, stop, flags, stream_id)
                elif kind == WINDOW_UPDATE:
                    self._window_update(data[start:stop], stream_id)
                else:
                    self._other_frame(kind, data[start:stop], flags, stream_id)
            except StreamFault as fault:
                self._end_stream_for(stream_id, fault)
            if self.closed:
                return end
        self._needed = HEADER_BYTES
        return position

    def _section_work(self) -> int:
        guard = self._floods
        suspicious = guard.resets * 8 > guard.opened
        return FIELD_SECTION_WORK * WORK_UNDER_SUSPICION if suspicious else FIELD_SECTION_WORK

    def _first_frame(self, kind: int, payload: bytes, flags: int, stream_id: int) -> None:
        # RFC 9113 §3.4
        if kind != SETTINGS or flags & ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._settings(payload, flags, stream_id)

    def _headers(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        # RFC 9113 §6.2
        if not stream_id:
            raise on_stream_zero("HEADERS")
        if flags & (PADDED | PRIORITY_FLAG):
            if flags & PADDED:
                start, stop = without_padding(data, start, stop)
            if flags & PRIORITY_FLAG:
                if stop - start < 5:
                    raise ConnectionFault(
                        ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority"
                    )
                depends_on = int.from_bytes(data[start : start + 4], "big") & MAX_STREAM_ID
                start += 5
                if depends_on == stream_id:
                    # The scheme is deprecated (RFC 9113 §5.3.2), and this was never allowed.
                    raise ConnectionFault(
                        ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself"
                    )
        block = data[start:stop]
        if not flags & END_HEADERS:
            self._fragments = [block]
            self._fragment_stream = stream_id
            self._fragment_flags = flags
            return
        known = self._blocks.known.get(block)
        self._field_block(stream_id, known or self._blocks.decode(block), bool(flags & END_STREAM))

    def _continuation(self, kind: int, payload: bytes, flags: int, stream_id: int) -> None:
        # RFC 9113 §6.10: nothing else may come before END_HEADERS
        fragments = self._fragments
        assert fragments is not None
        if kind != CONTINUATION or stream_id != self._fragment_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame inside a field block")
        fragments.append(payload)
        if (
            len(fragments) > floods.CONTINUATIONS
            or sum(map(len, fragments)) > 2 * self._limits.header_bytes
        ):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field block that does not end")
        if flags & END_HEADERS:
            self._fragments = None
            block = b"".join(fragments)
            known = self._blocks.known.get(block)
            self._field_block(
                stream_id,
                known or self._blocks.decode(block),
                bool(self._fragment_flags & END_STREAM),
            )

    def _data(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        # RFC 9113 §6.1
        if not stream_id:
            raise on_stream_zero("DATA")
        length = stop - start
        # RFC 9113 §6.9: the whole payload counts, padding included; the connection's credit is
        # given back at once (see flow_control).
        if not self._receive_window.take(length):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        increment = self._receive_window.give_back(length)
        if increment:
            self._control(window_update(0, increment))
        if flags & PADDED:
            start, stop = without_padding(data, start, stop)
        count = stop - start
        end_stream = bool(flags & END_STREAM)
        self._floods.note_data(count, length - count, self._clock.now)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._late_data(stream_id, length)
            return
        if stream.state not in RECEIVING:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        window = stream.receive_window
        if window is None:
            window = stream.receive_window = ReceiveWindow(STREAM_WINDOW)
        if not window.take(length):
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window allows")
        self._check_data(stream, count, end_stream)
        if end_stream:
            self._end_received(stream)
        elif stream.ignored:
            self._drop_data(stream, length)
        elif length != count:
            self.acknowledge(stream_id, length - count)
        if not count and not end_stream:
            self._floods.note(floods.EMPTY_DATA, self._clock.now)
        elif not stream.ignored:
            self.handler.on_data(stream_id, data[start:stop], end_stream)

    def _drop_data(self, stream: Stream, length: int) -> None:
        """DATA on a stream whose owner wants no more of it."""
        self.acknowledge(stream.id, length)

    def _check_data(self, stream: Stream, count: int, end_stream: bool) -> None:
        """The length of a body is the one that was declared (RFC 9113 §8.1.1)."""
        expected = stream.expected
        if expected != UNKNOWN_LENGTH:
            expected -= count
            if expected < 0 or (end_stream and expected):
                raise malformed("a body of another length than Content-Length says")
            stream.expected = expected

    def _late_data(self, stream_id: int, length: int) -> None:
        """DATA on a stream that is idle, closed or refused (RFC 9113 §5.1)."""
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        if self._is_refused(stream_id):
            self._floods.note(floods.LATE, self._clock.now)
        elif self._closed_streams.ignores(stream_id):
            if not self._closed_streams.take_data(stream_id, length):
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA goes on after RST_STREAM")
        else:
            self._closed_stream("DATA", stream_id)

    def _closed_stream(self, name: str, stream_id: int) -> None:
        """HEADERS or DATA on a stream that the peer knows to be closed."""
        if self._closed_streams.was_reset_by_peer(stream_id):
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"{name} after RST_STREAM")
        code = self._closed_streams.code_for(stream_id)
        raise ConnectionFault(code, f"{name} on a closed stream")

    def _note_head_wait(self) -> None:
        """Since when the preface or a field block has been incomplete, for ``header_timeout``."""
        pending = self._pending
        if (
            self._fragments is not None
            or not self._peer.received
            or (pending and (len(pending) < 4 or pending[3] in (HEADERS, CONTINUATION)))
        ):
            if self._head_since is None:
                self._head_since = self._clock.now
        else:
            self._head_since = None
