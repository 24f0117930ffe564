"""The frames that carry no message: windows, settings, pings, resets, priorities, GOAWAY.

Each is checked as its section of RFC 9113 says, for its stream identifier, its length and its
values, and each is counted (:mod:`proxy.http.h2.floods`): they cost the peer nothing.
"""

from __future__ import annotations

from proxy.http.h2 import floods
from proxy.http.h2.endpoint import KEEP_ALIVE, Endpoint
from proxy.http.h2.faults import ConnectionFault, ErrorCode, StreamFault, malformed
from proxy.http.h2.frames import (
    ACK,
    CONTINUATION,
    GOAWAY,
    MAX_STREAM_ID,
    PING,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    frame,
    ping,
)


class ControlFrames(Endpoint):
    """See the module."""

    __slots__ = ()

    _peer_is_server: bool

    # -- what differs between servers and clients ----------------------------------------------

    def _is_idle(self, stream_id: int) -> bool:
        """True when that stream has not been opened yet (RFC 9113 §5.1, "idle")."""
        raise NotImplementedError

    def _is_refused(self, stream_id: int) -> bool:
        """True when that stream was opened after our GOAWAY and is to be ignored."""
        raise NotImplementedError

    def _goaway(self, last_stream_id: int, code: int) -> None:
        """The peer sent GOAWAY."""
        raise NotImplementedError

    def _pong(self, payload: bytes) -> None:
        """A PING of ours other than the keep-alive has been answered."""
        raise NotImplementedError

    def _priority_update(self, stream_id: int, value: bytes) -> None:
        """PRIORITY_UPDATE (RFC 9218 §7.1)."""
        raise NotImplementedError

    # -- the frames ---------------------------------------------------------------------------

    def _window_update(self, payload: bytes, stream_id: int) -> None:
        # RFC 9113 §6.9
        if len(payload) != 4:
            raise _wrong_length("WINDOW_UPDATE")
        self._floods.note(floods.WINDOW_UPDATE, self._clock.now)
        increment = int.from_bytes(payload, "big") & MAX_STREAM_ID
        if not stream_id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            if not self._connection_window_grows(increment):
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            # It may have been sent before the end of the stream was read (RFC 9113 §5.1).
            if self._is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            self._floods.note(floods.LATE, self._clock.now)
        elif not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        elif not self._stream_window_grows(stream, increment):
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1")

    def _other_frame(self, kind: int, payload: bytes, flags: int, stream_id: int) -> None:
        if kind == SETTINGS:
            self._settings(payload, flags, stream_id)
        elif kind == PING:
            self._ping(payload, flags, stream_id)
        elif kind == RST_STREAM:
            self._rst_stream(payload, stream_id)
        elif kind == PRIORITY:
            self._priority(payload, stream_id)
        elif kind == PRIORITY_UPDATE:
            if stream_id:
                raise _on_stream("PRIORITY_UPDATE")
            if len(payload) < 4:
                raise _wrong_length("PRIORITY_UPDATE")
            prioritized = int.from_bytes(payload[:4], "big") & MAX_STREAM_ID
            self._priority_update(prioritized, payload[4:])
        elif kind == GOAWAY:
            # RFC 9113 §6.8
            if stream_id:
                raise _on_stream("GOAWAY")
            if len(payload) < 8:
                raise _wrong_length("GOAWAY")
            self._floods.note(floods.UNKNOWN, self._clock.now)
            last = int.from_bytes(payload[:4], "big") & MAX_STREAM_ID
            self._goaway(last, int.from_bytes(payload[4:8], "big"))
        elif kind in (CONTINUATION, PUSH_PROMISE):
            # RFC 9113 §6.10; §8.4: a client cannot push, and we as a client have forbidden it.
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION or PUSH_PROMISE")
        else:
            # RFC 9113 §4.1, §5.5
            self._floods.note(floods.UNKNOWN, self._clock.now)

    def _settings(self, payload: bytes, flags: int, stream_id: int) -> None:
        # RFC 9113 §6.5
        if stream_id:
            raise _on_stream("SETTINGS")
        self._floods.note(floods.SETTINGS, self._clock.now)
        if flags & ACK:
            if payload:
                raise _wrong_length("SETTINGS with ACK")
            self._settings_acked = True
            return
        delta = self._peer.apply(payload, from_server=self._peer_is_server)
        if delta and not self._initial_window_changes(delta):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        self._control(frame(SETTINGS, ACK, 0, b""))

    def _ping(self, payload: bytes, flags: int, stream_id: int) -> None:
        # RFC 9113 §6.7
        if stream_id:
            raise _on_stream("PING")
        if len(payload) != 8:
            raise _wrong_length("PING")
        self._floods.note(floods.PING, self._clock.now)
        if not flags & ACK:
            self._control(ping(payload, ack=True))
        elif payload != KEEP_ALIVE:
            self._pong(payload)

    def _rst_stream(self, payload: bytes, stream_id: int) -> None:
        # RFC 9113 §6.4
        if not stream_id:
            raise on_stream_zero("RST_STREAM")
        if len(payload) != 4:
            raise _wrong_length("RST_STREAM")
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            self._floods.note(floods.LATE, self._clock.now)
            return
        self._closed_streams.reset_by_peer(stream_id)
        self._drop_backlog(stream)
        self._stream_reset(stream, int.from_bytes(payload, "big"), "reset by the peer")
        if not stream.ignored:
            # After the whole response nothing is left that a reset could save the client.
            self._floods.note_reset(self._clock.now, stream.opened_at)

    def _priority(self, payload: bytes, stream_id: int) -> None:
        # RFC 9113 §6.3: checked and ignored
        if not stream_id:
            raise on_stream_zero("PRIORITY")
        self._floods.note(floods.PRIORITY, self._clock.now)
        if len(payload) != 5:
            fault = StreamFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        elif int.from_bytes(payload[:4], "big") & MAX_STREAM_ID == stream_id:
            fault = malformed("a stream that depends on itself")
        else:
            return
        if self._is_idle(stream_id):
            # There is no stream yet that could be reset.
            raise ConnectionFault(fault.code, fault.reason)
        raise fault


def on_stream_zero(name: str) -> ConnectionFault:
    """A frame that belongs to a stream, on the connection."""
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} on stream 0")


def _on_stream(name: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} on a stream other than 0")


def _wrong_length(name: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{name} of a wrong length")
