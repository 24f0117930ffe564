"""The server's side of an HTTP/2 connection: requests come in, responses go out.

A typical turn, as the owner sees it::

    connection.receive(plaintext)            -> handler.on_request(1, request, True)
                                             -> handler.on_request(3, request, True)
    connection.send_response(1, 200, fields)
    connection.send_data(1, body, end_stream=True)
    ...
    transport.write(connection.data_to_send())

Drain (RFC 9113 §6.8) takes two steps, so that no request is lost that was already under way:
first GOAWAY with the highest identifier there is, which only asks the client to stop, and a PING;
when the PING comes back, all that was sent before has been read, and a second GOAWAY names the
last stream that is served. The connection is ``drained`` when that one is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from proxy.clock import NEVER, CoarseClock
from proxy.errors import BadRequest
from proxy.http.h2 import floods
from proxy.http.h2.endpoint import Handler
from proxy.http.h2.faults import ConnectionFault, ErrorCode, StreamFault, malformed
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.flow_control import STREAM_WINDOW, ReceiveWindow
from proxy.http.h2.frames import END_STREAM, MAX_STREAM_ID, PREFACE, goaway, ping, window_update
from proxy.http.h2.header_blocks import Block, Field
from proxy.http.h2.priority import UNSAID, Priority, parse_priority
from proxy.http.h2.receiving import ReceivingHalf
from proxy.http.h2.request_fields import DecodedRequest, read_request, read_trailers
from proxy.http.h2.settings import (
    ENABLE_CONNECT_PROTOCOL,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    NO_RFC7540_PRIORITIES,
    settings_frame,
)
from proxy.http.h2.streams import (
    AFTER_END_SENT,
    CLOSED,
    HALF_CLOSED_REMOTE,
    OPEN,
    RECEIVING,
    Stream,
)
from proxy.limits import DRAIN_SECONDS, MIB, SECONDS, Limits

DRAIN_PING: Final = b"vst-last"
DRAIN_TIMEOUT: Final = 5 * SECONDS
"""How long a client may take to answer the PING of a drain."""

LINGER_BYTES: Final = 1 * MIB
"""What is taken and dropped of a request that was answered early, before it is reset. The window
for it goes out with the response: curl 7.88 reads nothing after that, neither windows nor resets,
and hangs when it cannot send the rest."""

EARLY_PRIORITIES: Final = 100
"""PRIORITY_UPDATE frames for streams that are still idle (RFC 9218 §7.1 lets us bound them)."""


class ServerHandler(Handler, Protocol):
    """Hears what happens on a server's connection."""

    def on_request(self, stream_id: int, request: DecodedRequest, end_stream: bool) -> None:
        """A request's head; the same object again for the same block in the same state."""
        ...

    def on_bad_request(self, stream_id: int, status: int, reason: str) -> None:
        """A request that is to be answered with that status; nothing else comes of it."""
        ...


class ServerConnection(ReceivingHalf):
    """See the module.

    Attributes:
        handler: hears what happens.
        streams: those that are open or half-closed.
        closed: an error has ended the connection; send what there is, and close.
        draining: GOAWAY has been sent.
        last_stream_id: the highest stream that the client has opened and we serve.
    """

    __slots__ = (
        "_drain_since",
        "_early_priorities",
        "_extended_connect",
        "_final",
        "_lingering",
        "_max_streams",
        "_service",
        "draining",
    )

    _peer_is_server = False

    def __init__(
        self,
        handler: ServerHandler,
        clock: CoarseClock,
        limits: Limits,
        encoder: FieldEncoder,
        *,
        extended_connect: bool = True,
    ) -> None:
        """Queue the server's preface.

        Args:
            handler: hears what happens.
            clock: seconds, moved by the owner.
            limits: ``http2_streams``, header limits, time limits.
            encoder: shared by all connections of the worker.
            extended_connect: WebSockets are taken (RFC 8441).
        """
        opening = settings_frame(
            [
                (MAX_CONCURRENT_STREAMS, limits.http2_streams),
                (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (MAX_HEADER_LIST_SIZE, limits.header_bytes),
                (ENABLE_CONNECT_PROTOCOL, int(extended_connect)),
                (NO_RFC7540_PRIORITIES, 1),
            ]
        )
        super().__init__(clock, limits, encoder, opening=opening, preface=PREFACE)
        self.handler = handler
        self._service = handler
        self._max_streams = limits.http2_streams
        self._extended_connect = extended_connect
        self._early_priorities: dict[int, Priority] = {}
        self._final: int | None = None
        self._lingering = False
        self._drain_since = 0.0
        self.draining = False

    # -- what the owner calls ------------------------------------------------------------------

    def send_response(
        self, stream_id: int, status: int, fields: Iterable[Field], end_stream: bool = False
    ) -> None:
        """Send a response's head; a 1xx may come before the final one.

        Args:
            stream_id: a stream that is gone is left alone.
            status: 100 to 999.
            fields: without hop-by-hop fields; names in any case.
            end_stream: there is no body.

        Raises:
            RuntimeError: the stream has its final head already.
            ValueError: a name or value that HTTP does not know.
        """
        self.send_head(stream_id, status, self._encoder.encode_response(status, fields), end_stream)

    def send_head(
        self, stream_id: int, status: int, block: bytes, end_stream: bool = False
    ) -> None:
        """As ``send_response``, with a block that the encoder has made before."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if stream.head_sent:
            raise RuntimeError(f"a second response head on {stream!r}")
        if status >= 200:
            stream.head_sent = True
            if stream.tunnel and status >= 300:
                # RFC 9110 §9.3.6: refused, so it is a response like any other.
                stream.tunnel = False
        elif end_stream:
            raise RuntimeError(f"a {status} response that ends {stream!r}")
        self._send_block(stream, block, END_STREAM if end_stream else 0)

    def drain(self) -> None:
        """Ask the client to open no more streams; serve those that it has opened."""
        if self.draining or self.closed:
            return
        self.draining = True
        self._drain_since = self._clock.now
        self._control(goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR))
        self._control(ping(DRAIN_PING, ack=False))

    def finish_drain(self) -> None:
        """Name the last stream that is served; the client's answer is not waited for any more."""
        if self._final is None and not self.closed:
            self.draining = True
            self._final = self.last_stream_id
            self._control(goaway(self._final, ErrorCode.NO_ERROR))

    @property
    def drained(self) -> bool:
        """True when nothing is left to do; send what there is, and close."""
        return self.closed or (self._final is not None and not self.streams)

    def sweep(self) -> None:
        """See ``Endpoint.sweep``."""
        if self.draining and self._clock.now - self._drain_since > DRAIN_TIMEOUT:
            self.finish_drain()
        if self._lingering:
            self._end_lingering(self._clock.now)
        super().sweep()

    # -- what the receiving half calls ---------------------------------------------------------

    def _field_block(self, stream_id: int, block: Block, end_stream: bool) -> None:
        if stream_id <= self.last_stream_id:
            self._later_block(stream_id, block, end_stream)
            return
        # RFC 9113 §5.1.1
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's stream with an even number")
        if self._final is not None:
            # RFC 9113 §6.8: opened after the last GOAWAY was sent; nobody will answer it.
            self._floods.note(floods.LATE, self._clock.now)
            return
        if stream_id != self.last_stream_id + 2 and stream_id != 1:
            self._closed_streams.skipped(self.last_stream_id + 1, stream_id - 1)
        self.last_stream_id = stream_id
        guard = self._floods
        guard.opened += 1
        guard.work += 1
        streams = self.streams
        if len(streams) >= self._max_streams and self._lingering:
            self._end_lingering(NEVER)
        if len(streams) >= self._max_streams:
            # RFC 9113 §5.1.2
            raise StreamFault(ErrorCode.REFUSED_STREAM, "more streams than allowed")
        request = block.meaning
        if not isinstance(request, DecodedRequest):
            try:
                request = self._read_request(block)
            except BadRequest as error:
                self._refuse(stream_id, error, end_stream)
                return
        stream = Stream(
            stream_id,
            HALF_CLOSED_REMOTE if end_stream else OPEN,
            self._peer.initial_window,
            request.priority or UNSAID,
            self._clock.now,
        )
        length = request.content_length
        if length is not None:
            if end_stream:
                if length:
                    raise malformed("no body where Content-Length says one")
            else:
                stream.expected = length
        if request.method == b"CONNECT":
            stream.tunnel = True
        if self._early_priorities:
            stream.priority = self._early_priorities.pop(stream_id, stream.priority)
        streams[stream_id] = stream
        self._service.on_request(stream_id, request, end_stream)

    def _read_request(self, block: Block) -> DecodedRequest:
        if block.oversized:
            raise BadRequest(f"header fields of more than {self._limits.header_bytes} bytes", 431)
        request = read_request(block, self._limits, extended_connect=self._extended_connect)
        block.meaning = request
        return request

    def _refuse(self, stream_id: int, error: BadRequest, end_stream: bool) -> None:
        """Open the stream for an answer only; a body is dropped."""
        state = HALF_CLOSED_REMOTE if end_stream else OPEN
        stream = Stream(stream_id, state, self._peer.initial_window, UNSAID, self._clock.now)
        stream.ignored = True
        self.streams[stream_id] = stream
        self._service.on_bad_request(stream_id, error.status, str(error))
        self._floods.note_reset(self._clock.now)

    def _later_block(self, stream_id: int, block: Block, end_stream: bool) -> None:
        """HEADERS on a stream that has been opened before: trailers, or too late."""
        stream = self.streams.get(stream_id)
        if stream is None:
            if not stream_id & 1:
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, "a client's stream with an even number"
                )
            if not self._closed_streams.ignores(stream_id):
                self._closed_stream("HEADERS", stream_id)
            self._floods.note(floods.LATE, self._clock.now)
            return
        # RFC 9113 §5.1, "half-closed (remote)"
        if stream.state not in RECEIVING:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        # RFC 9113 §8.1
        if not end_stream:
            raise malformed("a second HEADERS without END_STREAM")
        if block.oversized or stream.expected > 0 or stream.tunnel:
            raise malformed("trailers that are too long, come too soon, or follow CONNECT")
        fields = read_trailers(block, self._limits)
        self._end_received(stream)
        if not stream.ignored:
            self.handler.on_trailers(stream_id, fields)

    def _end_sent(self, stream: Stream) -> None:
        stream.state = AFTER_END_SENT[stream.state]
        if stream.state == CLOSED:
            del self.streams[stream.id]
        elif not stream.tunnel:
            # RFC 9113 §8.1: the response is complete without the rest of the request. The reset
            # that says so waits: a client may lose a response that it has not read when the reset
            # comes (curl 7.88 does), and most end their request by themselves.
            stream.ignored = True
            stream.linger_until = self._clock.now + DRAIN_SECONDS
            self._lingering = True
            window = stream.receive_window
            if window is None:
                window = stream.receive_window = ReceiveWindow(STREAM_WINDOW)
            window.widen(LINGER_BYTES)
            self._control(window_update(stream.id, LINGER_BYTES))

    def _drop_data(self, stream: Stream, length: int) -> None:
        if stream.linger_until is None:
            super()._drop_data(stream, length)
            return
        stream.dropped += length
        if stream.dropped >= LINGER_BYTES:
            self.reset(stream.id, ErrorCode.NO_ERROR)

    def _end_lingering(self, now: float) -> None:
        """Reset the streams whose response was complete some time ago."""
        self._lingering = False
        for stream in list(self.streams.values()):
            if stream.linger_until is None:
                continue
            if stream.linger_until > now:
                self._lingering = True
            else:
                del self.streams[stream.id]
                self._send_reset(stream, ErrorCode.NO_ERROR)

    def _is_idle(self, stream_id: int) -> bool:
        return not stream_id & 1 or (stream_id > self.last_stream_id and self._final is None)

    def _is_refused(self, stream_id: int) -> bool:
        return stream_id > self.last_stream_id

    def _goaway(self, last_stream_id: int, code: int) -> None:
        """A client opens no streams after GOAWAY; those that it has are served to the end."""

    def _pong(self, payload: bytes) -> None:
        if payload == DRAIN_PING and self.draining:
            self.finish_drain()

    def _priority_update(self, stream_id: int, value: bytes) -> None:
        # RFC 9218 §7.1
        if not stream_id or not stream_id & 1:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE for no stream of a client"
            )
        self._floods.note(floods.PRIORITY_UPDATE, self._clock.now)
        priority = parse_priority(value)
        if stream_id in self.streams:
            self.reprioritize(stream_id, priority)
        elif stream_id > self.last_stream_id and len(self._early_priorities) < EARLY_PRIORITIES:
            self._early_priorities[stream_id] = priority

    def __repr__(self) -> str:
        state = "closed" if self.closed else "draining" if self.draining else "open"
        return f"<ServerConnection {state}, {len(self.streams)} streams, {self.unsent} unsent>"
