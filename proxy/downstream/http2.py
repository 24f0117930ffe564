"""HTTP/2 on the client's side of a connection (RFC 9113).

The protocol itself is ``proxy.http.h2``, which is pure. This module ties its streams to exchanges:
a request on a stream becomes the same :class:`~proxy.exchange.Exchange` that HTTP/1.1 makes, so
routing, pools, limits and logs are shared. What differs is only this:

* back-pressure is per stream: a paused request withholds its window (the client may send no more
  than that), and a response whose stream is full pauses its backend, while the others go on;
* all that one event brings, for all streams, leaves in one write;
* a WebSocket comes as an extended CONNECT (RFC 8441) and goes on as an ordinary upgrade.
"""

from __future__ import annotations

import base64
import logging
import os
from typing import Final

from proxy.client import ClientInfo
from proxy.clock import NEVER
from proxy.downstream.http1 import Channel
from proxy.errors import BadRequest
from proxy.exchange import Application, Exchange, Services
from proxy.http.error_pages import error_fields, error_page
from proxy.http.h2.connection import ServerConnection
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.header_blocks import Field
from proxy.http.h2.request_fields import DecodedRequest
from proxy.http.head import (
    CHUNKED,
    HTTP_2,
    RequestFields,
    RequestHead,
    ResponseHead,
    interpret_request,
)
from proxy.http.headers import Trailers, response_fields

logger = logging.getLogger(__name__)

WORK_PER_TURN: Final = 96
"""What one connection may have done before the others have their turn: so many small frames, or
12 requests (``FIELD_SECTION_WORK``), a fraction of a millisecond."""
WORK_PER_LATER_TURN: Final = 32
"""The same for what is left over: who sends so much at once waits longer than the others do."""

_NOT_OF_A_TUNNEL: Final = frozenset({b"sec-websocket-accept", b"content-length"})


class Http2Stream:
    """The client's side of one exchange: one stream."""

    __slots__ = (
        "_connection",
        "_ended",
        "_heard",
        "_pieces",
        "_protocol",
        "_request_ended",
        "_trailers",
        "_unacknowledged",
        "_whole",
        "exchange",
        "id",
        "info",
        "paused",
    )

    def __init__(self, connection: Http2Connection, stream_id: int) -> None:
        self._connection = connection
        self._protocol = connection.protocol
        self.id = stream_id
        self.info: ClientInfo = connection.info
        self.exchange: Exchange | None = None
        self.paused = False
        self._heard = False  # something has come in this turn:
        self._pieces: list[bytes] | None = None
        self._request_ended = False
        self._trailers: Trailers = ()
        self._unacknowledged = 0
        self._whole = False
        self._ended = False

    def __repr__(self) -> str:
        return f"<Http2Stream {self.id} of {self.info.address}>"

    # -- the connection calls these ------------------------------------------------------------

    def hear(self, data: bytes, end: bool, trailers: Trailers = ()) -> None:
        """A piece of the request body, or bytes for the tunnel; for ``hand_over``."""
        if not self._heard:
            self._heard = True
            self._connection.heard.append(self)
        if data:
            if self._pieces is None:
                self._pieces = []
            self._pieces.append(data)
        if end:
            self._request_ended = True
            self._trailers = trailers

    def hand_over(self) -> None:
        """Give the exchange what has come in this turn.

        All of it in one piece: a client may send a DATA frame for every octet, and each piece is a
        write to the backend.
        """
        self._heard = False
        pieces, self._pieces = self._pieces, None
        exchange = self.exchange
        if exchange is None:
            return
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if exchange.tunnel and exchange.response_started:
                exchange.tunnel_data(data)
            else:
                exchange.request_data(data)
            if self.paused:
                self._unacknowledged += len(data)
            else:
                self._protocol.acknowledge(self.id, len(data))
        if self._request_ended and self.exchange is exchange:
            if exchange.tunnel:
                exchange.tunnel_end()
            else:
                exchange.request_end(self._trailers)

    # -- the exchange calls these --------------------------------------------------------------

    def send_informational(self, head: ResponseHead) -> None:
        self._protocol.send_response(self.id, head.status, response_fields(head.fields))

    def send_continue(self) -> None:
        self._protocol.send_response(self.id, 100, [])

    def send_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        self._over()
        self._whole = True
        if data:
            self._protocol.send_head(self.id, head.status, self._block(head, length))
            self._protocol.send_data(self.id, data, end_stream=True)
        else:
            self._protocol.send_head(self.id, head.status, self._block(head, length), True)

    def send_head(self, head: ResponseHead, length: int | None) -> None:
        self._protocol.send_head(self.id, head.status, self._block(head, length))

    def send_data(self, data: bytes | memoryview) -> None:
        if not self._protocol.send_data(self.id, data) and self.exchange is not None:
            self.exchange.client_writable(False)

    def send_end(self, trailers: Trailers = ()) -> None:
        self._over()
        if self._ended:
            # A tunnel: its way back ended before, and now nobody takes what still comes
            # (RFC 9113 §8.1).
            self._protocol.reset(self.id, ErrorCode.NO_ERROR)
        elif trailers:
            self._protocol.send_trailers(self.id, list(trailers))
        else:
            self._protocol.end(self.id)

    def send_local(
        self, status: int, reason: str, fields: list[tuple[bytes, bytes]], body: bytes, close: bool
    ) -> None:
        exchange = self.exchange
        self._over()
        length = (b"content-length", b"%d" % len(body))
        bare = not body or (exchange is not None and exchange.head.method == b"HEAD")
        self._protocol.send_response(self.id, status, [*fields, length], bare)
        if not bare:
            self._protocol.send_data(self.id, body, end_stream=True)

    def send_upgrade(self, head: ResponseHead) -> None:
        # RFC 8441 §5: 200 is what 101 is in HTTP/1.1, and there is no accept value.
        fields = [f for f in response_fields(head.fields) if f[0] not in _NOT_OF_A_TUNNEL]
        self._protocol.send_response(self.id, 200, fields)

    def send_tunnel_end(self) -> None:
        self._ended = True
        self._protocol.end(self.id)

    def reset(self) -> None:
        self._over()
        self._protocol.reset(self.id, ErrorCode.INTERNAL_ERROR)

    def pause_request(self) -> None:
        self.paused = True

    def resume_request(self) -> None:
        self.paused = False
        count, self._unacknowledged = self._unacknowledged, 0
        if count:
            self._protocol.acknowledge(self.id, count)
            self._connection.flush()

    def unsent(self) -> int:
        return self._protocol.buffered(self.id)

    def flush(self) -> None:
        if self._whole:
            self._connection.flush_in_company()
        else:
            self._connection.flush()

    def _over(self) -> None:
        self.exchange = None
        self._connection.forget(self)

    @staticmethod
    def _encode(connection: Http2Connection, head: ResponseHead, length: int | None) -> bytes:
        fields = response_fields(head.fields)
        # RFC 9113 §8.1: the end of the stream says that there is no body. To gRPC clients a field
        # that the backend has not sent would be metadata.
        if (length and length != CHUNKED) or (
            length == 0 and b"content-length" in head.fields.lowered
        ):
            fields = [*fields, (b"content-length", b"%d" % length)]
        return connection.encoder.encode_response(head.status, fields)

    def _block(self, head: ResponseHead, length: int | None) -> bytes:
        """The encoded head; remembered with it, for it holds no state of this connection."""
        block = head.block
        if block is None:
            block = head.block = self._encode(self._connection, head, length)
        return block


class Http2Connection:
    """The HTTP layer of one connection; the handler of its protocol."""

    __slots__ = (
        "_application",
        "_blocked",
        "_channel",
        "_closing",
        "_flushing",
        "_idle_deadline",
        "_opened",
        "_progress_at",
        "_services",
        "_streams",
        "_unsent",
        "encoder",
        "heard",
        "info",
        "protocol",
    )

    def __init__(
        self,
        channel: Channel,
        services: Services,
        encoder: FieldEncoder,
        application: Application,
    ) -> None:
        self.info = channel.info
        self.encoder = encoder
        self._channel = channel
        self._services = services
        self._application = application
        self._streams: dict[int, Http2Stream] = {}
        self._blocked = False
        self._closing = False
        self._flushing = False
        self._opened: list[Http2Stream] = []  # streams whose request has not begun yet
        self.heard: list[Http2Stream] = []  # streams with more of their request
        self._unsent = 0
        self._progress_at = services.clock.now
        self._idle_deadline = services.clock.now + services.limits.keep_alive_timeout
        self.protocol = ServerConnection(self, services.clock, services.limits, encoder)
        self.protocol.work_per_turn = WORK_PER_TURN

    def __repr__(self) -> str:
        return f"<Http2Connection {self.info.address} {self.protocol!r}>"

    # -- the channel calls these (HttpLayer) ---------------------------------------------------

    def receive(self, data: bytes) -> None:
        self.protocol.receive(data)
        self._hand_over()
        if self.protocol.interrupted:
            self.protocol.work_per_turn = WORK_PER_LATER_TURN
            self._channel.pause_reading()
            self._services.turns.wait(self._go_on)

    def _go_on(self) -> None:
        """Handle what was left over, now that others have had their turn."""
        if self._closing:
            return
        self.protocol.receive(b"")
        self._hand_over()
        if self.protocol.interrupted:
            self._services.turns.wait(self._go_on)
        else:
            self.protocol.work_per_turn = WORK_PER_TURN
            self._channel.resume_reading()
        self.flush()

    def _hand_over(self) -> None:
        """Let the application have the requests of this turn, and exchanges what belongs to them.

        Not before all frames of the turn are read: a request that is reset in the same breath
        (CVE-2023-44487) never reaches a backend.
        """
        if self._opened:
            opened, self._opened = self._opened, []
            for stream in opened:
                if stream.exchange is not None:
                    self._application(stream.exchange)
        if self.heard:
            heard, self.heard = self.heard, []
            for stream in heard:
                stream.hand_over()

    def receive_eof(self) -> None:
        self.connection_lost()
        self._close()

    def connection_lost(self) -> None:
        self._closing = True
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            exchange, stream.exchange = stream.exchange, None
            if exchange is not None:
                exchange.client_gone()

    def pause_writing(self) -> None:
        self._blocked = True
        self._unsent = self._channel.unsent()
        self._progress_at = self._services.clock.now

    def resume_writing(self) -> None:
        self._blocked = False
        self.flush()

    def sweep(self, now: float) -> None:
        """Compare the deadlines with the time."""
        for stream in list(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.sweep(now)
        self.protocol.sweep()
        if self._blocked:
            self._check_progress(now)
        elif now >= self._idle_deadline and not self._streams:
            self.protocol.finish_drain()
        self.flush()

    def stop(self) -> None:
        """Finish what is in flight, then close."""
        for stream in list(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.stop_tunnel()
        self.retire()

    def retire(self) -> None:
        """Old enough: the client shall open another connection for what comes next."""
        self.protocol.drain()
        self.flush()

    def flush(self) -> None:
        """Write all frames of this turn, for as long as the transport takes them."""
        protocol = self.protocol
        while not self._blocked and not self._closing:
            data = protocol.data_to_send()
            if not data:
                break
            self._channel.write(data)
        if self._blocked:
            protocol.settle()
        elif protocol.drained:
            self._close()

    def flush_in_company(self) -> None:
        """Write a whole response: at once, or with those of the other streams in this turn.

        One poll of the event loop brings many backends' responses, and each write of its own would
        be a TLS record and a system call more. Only for bytes that nobody writes over meanwhile,
        which a view of the buffer that backends are read into is not.
        """
        if not self._streams:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._services.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()

    @property
    def is_idle(self) -> bool:
        """True when no request is in flight."""
        return not self._streams

    def _check_progress(self, now: float) -> None:
        unsent = self._channel.unsent()
        if unsent != self._unsent:
            self._unsent = unsent
            self._progress_at = now
        elif now - self._progress_at > self._services.limits.stall_timeout:
            self.connection_lost()
            self._channel.abort()

    def _close(self) -> None:
        if not self._closing:
            self._closing = True
            self.connection_lost()
        self._channel.close()

    # -- a stream calls this -------------------------------------------------------------------

    def forget(self, stream: Http2Stream) -> None:
        """The stream's exchange is over; what is left to send needs the stream no more."""
        self._streams.pop(stream.id, None)
        if not self._streams:
            services = self._services
            self._idle_deadline = services.clock.now + services.limits.keep_alive_timeout

    # -- the protocol calls these (ServerHandler) ----------------------------------------------

    def on_request(self, stream_id: int, request: DecodedRequest, end_stream: bool) -> None:
        try:
            head = request_head(request, end_stream)
        except BadRequest as error:
            self.on_bad_request(stream_id, error.status, str(error))
            return
        stream = self._streams[stream_id] = Http2Stream(self, stream_id)
        stream.exchange = Exchange(self._services, stream, head)
        self._idle_deadline = NEVER
        self._opened.append(stream)

    def on_bad_request(self, stream_id: int, status: int, reason: str) -> None:
        logger.info("%s: %d: %s", self.info.address, status, reason)
        content_type, body = error_page(status, False)
        fields = [
            (b"date", self._services.date()),
            (b"content-type", content_type),
            *error_fields(status),
            (b"content-length", b"%d" % len(body)),
        ]
        self.protocol.send_response(stream_id, status, fields)
        self.protocol.send_data(stream_id, body, end_stream=True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.hear(data, end_stream)

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.hear(b"", True, fields)

    def on_reset(self, stream_id: int, code: int, reason: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self.forget(stream)
        if stream.exchange is not None:
            exchange, stream.exchange = stream.exchange, None
            exchange.client_gone()

    def on_writable(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.exchange is not None:
            stream.exchange.client_writable(True)

    def on_connection_error(self, code: int, reason: str) -> None:
        logger.debug("%s: HTTP/2: %s", self.info.address, reason)
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            exchange, stream.exchange = stream.exchange, None
            if exchange is not None:
                exchange.client_gone()


class _Heads:
    """The two heads that one field section can mean: with and without a body behind it."""

    __slots__ = ("complete", "open")

    def __init__(self) -> None:
        self.complete: RequestHead | None = None
        self.open: RequestHead | None = None


def request_head(request: DecodedRequest, end_stream: bool) -> RequestHead:
    """The head of an exchange for a decoded section; remembered with it.

    Raises:
        BadRequest: what HTTP/1.1 would be refused for too: an invalid host, an expectation.
    """
    if request.protocol is not None:
        return _websocket_head(request)
    heads = request.extension
    if not isinstance(heads, _Heads):
        heads = request.extension = _Heads()
    head = heads.complete if end_stream else heads.open
    if head is None:
        fields = _fields(request)
        if not end_stream and request.content_length is None:
            fields.length = CHUNKED
        head = RequestHead(request.method, request.path, HTTP_2, fields)
        if end_stream:
            heads.complete = head
        else:
            heads.open = head
    return head


def _fields(request: DecodedRequest, *more: Field) -> RequestFields:
    return interpret_request([(b"host", request.authority), *request.fields, *more])


def _websocket_head(request: DecodedRequest) -> RequestHead:
    """The upgrade that an extended CONNECT becomes (RFC 8441 §5.1)."""
    if request.protocol != b"websocket":
        raise BadRequest("an extended CONNECT for something other than a WebSocket", 501)
    key = base64.b64encode(os.urandom(16))
    fields = _fields(request, (b"sec-websocket-key", key))
    fields.websocket = True
    return RequestHead(b"GET", request.path, HTTP_2, fields)
