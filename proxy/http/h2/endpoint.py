"""One side of a connection: what its owner calls, how streams and the connection end, and time.

The classes of this package build on each other, each a layer with one job::

    SendingHalf       frames out: windows, backlogs, whose turn it is       sending.py
    Endpoint          acknowledge, reset, terminate; ends; deadlines        endpoint.py
    ControlFrames     what the frames without a message mean                control_frames.py
    ReceivingHalf     bytes in: frames, field blocks, DATA                  receiving.py
    ServerConnection  requests in, responses out                            connection.py
    ClientConnection  requests out, responses in                            client_connection.py

Nothing here does I/O. The owner gives bytes to ``receive``, takes bytes from ``data_to_send``, and
calls ``sweep`` now and then; the clock is an argument. What happens is told to the *handler* by
direct calls, from inside ``receive``, ``data_to_send`` and ``sweep``; there are no event objects
and no queue. The handler may send, acknowledge and reset from inside these calls.
"""

from __future__ import annotations

from typing import Final, Protocol

from proxy.clock import CoarseClock
from proxy.http.h2.faults import ConnectionFault, ErrorCode, StreamFault
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.flow_control import CONNECTION_WINDOW, STREAM_WINDOW, ReceiveWindow
from proxy.http.h2.frames import DEFAULT_WINDOW, goaway, ping, rst_stream, window_update
from proxy.http.h2.header_blocks import BlockDecoder, Field
from proxy.http.h2.sending import SendingHalf
from proxy.http.h2.streams import AFTER_END_RECEIVED, CLOSED, RECEIVING, ClosedStreams, Stream
from proxy.limits import SECONDS, Limits

SETTINGS_TIMEOUT: Final = 30 * SECONDS
"""For the acknowledgement of our SETTINGS (RFC 9113 §6.5.3)."""
SILENCE_BEFORE_PING: Final = 30 * SECONDS
"""A connection with open streams that is silent both ways for so long is asked for a sign..."""
PING_TIMEOUT: Final = 60 * SECONDS
"""...and has so long to give one; a slow reader may have much to read before it."""
IDLE_BEFORE_FORGETTING: Final = 5 * SECONDS
"""An idle connection gives the memory of its field blocks back."""

KEEP_ALIVE: Final = b"vst-live"
"""The payload of our keep-alive PING."""


class Handler(Protocol):
    """Hears what happens on a connection; both sides' handlers derive from it."""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Body data, or bytes through a tunnel; ``acknowledge`` them once they are consumed."""
        ...

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        """The trailer section, with which the peer's half of the stream ends."""
        ...

    def on_reset(self, stream_id: int, code: int, reason: str) -> None:
        """The stream is gone: the peer reset it, or broke the rules on it.

        It may be one whose response was given whole and had not been sent whole yet.
        """
        ...

    def on_writable(self, stream_id: int) -> None:
        """After ``send_data`` returned False: go on."""
        ...

    def on_connection_error(self, code: int, reason: str) -> None:
        """The connection is over, with all its streams; send what there is, and close."""
        ...


class Endpoint(SendingHalf):
    """See the module."""

    __slots__ = (
        "_blocks",
        "_closed_streams",
        "_head_since",
        "_heard_at",
        "_limits",
        "_ping_sent_at",
        "_receive_window",
        "_settings_acked",
        "_started_at",
        "handler",
        "last_stream_id",
    )

    handler: Handler

    def __init__(
        self, clock: CoarseClock, limits: Limits, encoder: FieldEncoder, *, opening: bytes
    ) -> None:
        super().__init__(clock, encoder)
        self._limits = limits
        self._blocks = BlockDecoder(limits.header_bytes)
        self._closed_streams = ClosedStreams()
        self._receive_window = ReceiveWindow(CONNECTION_WINDOW)
        self._settings_acked = False
        self._started_at = clock.now
        self._heard_at = clock.now
        self._head_since: float | None = clock.now
        self._ping_sent_at: float | None = None
        self.last_stream_id = 0
        # RFC 9113 §3.4: SETTINGS comes first.
        self._control(opening + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    # -- what the owner calls ------------------------------------------------------------------

    def acknowledge(self, stream_id: int, count: int) -> None:
        """Data given to ``on_data`` has been consumed: the peer may send as much again."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.receive_window is None or stream.state not in RECEIVING:
            return
        increment = stream.receive_window.give_back(count)
        if increment:
            self._control(window_update(stream_id, increment))

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream at once (RFC 9113 §6.4); the handler hears nothing more of it."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._drop_backlog(stream)
            self._send_reset(stream, code)

    def terminate(self, code: ErrorCode, reason: str) -> None:
        """End the connection at once; the handler hears ``on_connection_error``."""
        self._fail(ConnectionFault(code, reason))

    def sweep(self) -> None:
        """Compare all deadlines with the clock; call it every ``SWEEP_SECONDS``."""
        if self.closed:
            return
        now = self._clock.now
        limits = self._limits
        if self._head_since is not None and now - self._head_since > limits.header_timeout:
            self.terminate(
                ErrorCode.ENHANCE_YOUR_CALM, "a preface or field block that does not end"
            )
        elif not self._settings_acked and now - self._started_at > SETTINGS_TIMEOUT:
            self.terminate(ErrorCode.SETTINGS_TIMEOUT, "SETTINGS were not acknowledged")
        elif self._backlogged and self._sweep_stalls(now):
            self.terminate(ErrorCode.ENHANCE_YOUR_CALM, "the connection's window stays closed")
        elif self.streams:
            self._sweep_silence(now)
        elif self._blocks.known and now - self._heard_at > IDLE_BEFORE_FORGETTING:
            self._blocks.forget()

    # -- ends ----------------------------------------------------------------------------------

    def _end_received(self, stream: Stream) -> None:
        """END_STREAM has come."""
        stream.state = AFTER_END_RECEIVED[stream.state]
        if stream.state == CLOSED:
            del self.streams[stream.id]

    def _end_stream_for(self, stream_id: int, fault: StreamFault) -> None:
        """A stream error (RFC 9113 §5.4.2)."""
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            self._control(rst_stream(stream_id, fault.code))
            self._closed_streams.reset_by_us(stream_id, STREAM_WINDOW)
        else:
            self._drop_backlog(stream)
            self._send_reset(stream, fault.code)
            self._stream_reset(stream, fault.code, fault.reason)
        self._floods.note_reset(self._clock.now)

    def _send_reset(self, stream: Stream, code: int) -> None:
        self._control(rst_stream(stream.id, code))
        window = stream.receive_window
        left = window.available if window is not None else STREAM_WINDOW
        self._closed_streams.reset_by_us(stream.id, left)

    def _stream_reset(self, stream: Stream, code: int, reason: str) -> None:
        """A stream is gone; its owner has to know."""
        if not stream.ignored:
            self.handler.on_reset(stream.id, code, reason)

    def _writable(self, stream_id: int) -> None:
        self.handler.on_writable(stream_id)

    def _fail(self, fault: ConnectionFault) -> None:
        """A connection error (RFC 9113 §5.4.1)."""
        if self.closed:
            return
        for stream in self.streams.values():
            self._drop_backlog(stream)
        self.streams.clear()
        self._lent.clear()
        self._control(goaway(self.last_stream_id, fault.code, fault.reason.encode("ascii")))
        self.closed = True
        self.handler.on_connection_error(fault.code, fault.reason)

    # -- time ----------------------------------------------------------------------------------

    def _sweep_stalls(self, now: float) -> bool:
        """End streams whose peer keeps their window closed; True when it is the connection's."""
        limit = self._limits.stall_timeout
        stalled = [
            stream
            for stream in self.streams.values()
            if (backlog := stream.backlog) is not None
            and backlog.blocked_since is not None
            and now - backlog.blocked_since > limit
        ]
        for stream in stalled:
            if self.streams.pop(stream.id, None) is None:
                continue  # the handler has reset it from inside ``on_reset`` of another
            self._drop_backlog(stream)
            self._send_reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
            self._stream_reset(stream, ErrorCode.ENHANCE_YOUR_CALM, "its window stays closed")
        if not self._scheduler:
            self._blocked_since = None
        return self._blocked_since is not None and now - self._blocked_since > limit

    def _sweep_silence(self, now: float) -> None:
        """Ask a silent peer with open streams whether it is still there."""
        if self._ping_sent_at is not None:
            if now - self._ping_sent_at > PING_TIMEOUT:
                self.terminate(ErrorCode.NO_ERROR, "no answer to PING")
        elif now - max(self._heard_at, self._sent_at) > SILENCE_BEFORE_PING:
            self._ping_sent_at = now
            self._control(ping(KEEP_ALIVE, ack=False))
