"""One HTTP/2 connection to a backend, shared by many exchanges (RFC 9113; gRPC runs on it).

The protocol itself is ``proxy.http.h2.client_connection``, which is pure. Here are its socket and,
per exchange, one :class:`UpstreamStream`, which an exchange uses as it uses a whole HTTP/1.1
connection. What differs:

* a stream that ends early is reset (CANCEL), and the others never notice;
* back-pressure is per stream, by its windows: a paused stream withholds its credit and the
  connection goes on reading; one whose window is full tells its exchange so;
* all that one turn of the event loop brings, for all streams, leaves in one write;
* trailers go through in both directions.

A connection is only handed out once the server's SETTINGS have come. They say how many streams it
takes, and that it speaks HTTP/2 at all: before them nothing of any request has been sent, so all
of them may still go elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, TypeAlias, cast

from proxy.clock import CoarseClock
from proxy.errors import (
    BadResponse,
    ProtocolError,
    UpstreamError,
    UpstreamRefusal,
    UpstreamUnavailable,
)
from proxy.http.error_pages import reason_phrase
from proxy.http.h2.client_connection import ClientConnection
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.request_fields import DecodedResponse
from proxy.http.head import CHUNKED, HTTP_2, ResponseFields, ResponseHead
from proxy.http.headers import Field, Trailers, response_has_no_body
from proxy.limits import BUFFER_BYTES, SECONDS, Limits
from proxy.upstream.http1 import ResponseSink, UpstreamConnection

IDLE_SECONDS: Final = 60 * SECONDS
"""A connection without a stream is closed after so long."""


class StreamSink(ResponseSink, Protocol):
    """What a stream tells about the response, and asks about the request: an exchange."""

    request_trailers: Trailers
    """Of a request that has ended."""

    def http2_request(self) -> tuple[bytes, list[Field]]:
        """The path and the fields as they go to an HTTP/2 backend."""
        ...

    def response_end(self, trailers: Trailers = ()) -> None: ...


class StreamHome(Protocol):
    """Whom a connection belongs to: its upstream in the pool."""

    name: str

    def ended(self, stream: UpstreamStream) -> None:
        """The exchange has left the stream."""
        ...

    def streams_allowed(self, count: int) -> None:
        """The server takes so many streams on each connection."""
        ...

    def gone(self, connection: Http2UpstreamConnection) -> None:
        """The connection has ended."""
        ...


class Shared(Protocol):
    """What all upstream connections of a worker share."""

    @property
    def encoder(self) -> FieldEncoder: ...
    @property
    def clock(self) -> CoarseClock: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def read_buffer(self) -> memoryview: ...


class UpstreamStream:
    """One exchange's part of a connection; see ``UpstreamConnection`` for what the methods do."""

    __slots__ = (
        "_connection",
        "_head_only",
        "_id",
        "_paused",
        "_protocol",
        "_sink",
        "_touched",
        "_unacknowledged",
        "answered",
        "failed",
        "home",
        "name",
        "request_sent",
    )

    uses = 1
    multiplexed: Final = True

    def __init__(self, connection: Http2UpstreamConnection) -> None:
        self.home = connection.home
        self.name = connection.name
        self._connection = connection
        self._protocol = connection.protocol
        self._sink: StreamSink | None = None
        self._id = 0
        self._paused = False
        self._unacknowledged = 0
        self._touched = False
        self._head_only = False
        self.request_sent = False
        self.answered = False
        self.failed = False

    def __repr__(self) -> str:
        return f"<UpstreamStream {self._id} of {self.name}>"

    @property
    def connection(self) -> Http2UpstreamConnection:
        return self._connection

    # -- the exchange calls these --------------------------------------------------------------

    def request(self, sink: StreamSink) -> None:
        """Begin an exchange with a request that is complete."""
        self.begin(sink)
        self.end_body()

    def begin(self, sink: StreamSink) -> None:
        """Begin an exchange: send the request's head."""
        self._sink = sink
        head = sink.head
        self._head_only = head.method == b"HEAD"
        self.request_sent = head.fields.length == 0
        path, fields = sink.http2_request()
        self._id = self._protocol.send_request(
            head.method,
            # Of this hop: there is no TLS on it, and some servers insist that the two agree.
            b"http",
            head.fields.host,
            path,
            fields,
            end_stream=self.request_sent,
        )
        self._connection.begun(self, self._id)

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        if not self._protocol.send_data(self._id, data) and self._sink is not None:
            self._sink.upstream_writable(False)
        self._connection.flush_soon()

    def end_body(self) -> None:
        """The request is complete."""
        sink = self._sink
        if self.request_sent or sink is None:
            return
        self.request_sent = True
        if sink.request_trailers:
            self._protocol.send_trailers(self._id, list(sink.request_trailers))
        else:
            self._protocol.end(self._id)
        self._connection.flush_soon()

    def send(self, data: bytes) -> None:
        """Bytes through a tunnel; there is none on a stream."""
        raise RuntimeError(f"no tunnel on {self!r}")

    def send_eof(self) -> None:
        """The end of a tunnel; as for ``send``."""
        raise RuntimeError(f"no tunnel on {self!r}")

    def unsent(self) -> int:
        """Bytes of the request that the backend has not taken yet."""
        return self._protocol.buffered(self._id)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        count, self._unacknowledged = self._unacknowledged, 0
        if count:
            self._protocol.acknowledge(self._id, count)
            self._connection.flush_soon()

    def discard(self) -> None:
        """End the stream now; nothing more is told to the exchange."""
        if self._sink is not None:
            self._protocol.reset(self._id, ErrorCode.CANCEL)
            self._over()

    # -- the connection calls these ------------------------------------------------------------

    def informational(self, response: DecodedResponse) -> None:
        if self._sink is not None:
            self._sink.response_head(_head(response, None), None)

    def respond(self, response: DecodedResponse, end_stream: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        self._touched = True
        length = response.content_length
        if response_has_no_body(b"HEAD" if self._head_only else b"", response.status):
            # The length of what a GET would have brought (RFC 9110 §8.6), but 204 has none.
            if response.status == 204:
                length = None
        elif length is None:
            length = 0 if end_stream else CHUNKED
        head = _head(response, length)
        if end_stream:
            self._succeeded()
            sink.response_whole(head, length, b"")
        else:
            sink.response_head(head, length)

    def receive(self, data: bytes, end_stream: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        if data:
            sink.response_data(data)
            if self._paused:
                self._unacknowledged += len(data)
            else:
                self._protocol.acknowledge(self._id, len(data))
        if end_stream and self._sink is not None:
            self.end(())

    def end(self, trailers: Trailers) -> None:
        """The response is complete."""
        sink = self._sink
        if sink is not None:
            self._succeeded()
            sink.response_end(trailers)

    def writable(self) -> None:
        if self._sink is not None:
            self._sink.upstream_writable(True)

    def refused(self) -> None:
        """The server has not processed the request, and says so."""
        sink = self._sink
        if sink is not None:
            self._over()
            sink.upstream_failed(UpstreamRefusal("the upstream refused the stream"), untouched=True)

    def fail(self, error: UpstreamError | ProtocolError) -> None:
        """The stream was reset, or its connection has ended."""
        sink = self._sink
        if sink is not None:
            self.failed = True
            self._over()
            sink.upstream_failed(error, untouched=not self._touched)

    @property
    def sink(self) -> StreamSink | None:
        """None when the exchange is over."""
        return self._sink

    # -- inside --------------------------------------------------------------------------------

    def _succeeded(self) -> None:
        self.answered = True
        if not self.request_sent:
            # RFC 9113 §8.1: an early response; what is left of the request is of no use.
            self._protocol.reset(self._id, ErrorCode.NO_ERROR)
        self._over()

    def _over(self) -> None:
        self._sink = None
        self._connection.left(self._id)
        self.home.ended(self)


class Http2UpstreamConnection(asyncio.BufferedProtocol):
    """See the module; the handler of its protocol."""

    __slots__ = (
        "_blocked",
        "_buffer",
        "_clock",
        "_flushing",
        "_idle_since",
        "_lost",
        "_loop",
        "_most_streams",
        "_streams",
        "_touched",
        "_transport",
        "home",
        "name",
        "protocol",
        "ready",
    )

    def __init__(self, home: StreamHome, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self.name = home.name
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when the server's SETTINGS have come."""
        self._loop = loop
        self._clock = shared.clock
        self._buffer = shared.read_buffer
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, UpstreamStream] = {}
        self._touched: dict[int, StreamSink] = {}
        self._blocked = False
        self._flushing = False
        self._lost = False
        self._idle_since = shared.clock.now
        self._most_streams = -1
        self.protocol = ClientConnection(self, shared.clock, shared.limits, shared.encoder)

    def __repr__(self) -> str:
        return f"<Http2UpstreamConnection {self.name} {self.protocol!r}>"

    # -- its owner calls these -----------------------------------------------------------------

    @property
    def capacity(self) -> int:
        """How many more streams may be opened now."""
        return 0 if self._lost else self.protocol.capacity

    def new_stream(self) -> UpstreamStream:
        """A stream for one exchange; it counts once it begins."""
        return UpstreamStream(self)

    def close(self) -> None:
        """Close in order; exchanges on it fail."""
        if not self.protocol.closed:
            self.protocol.terminate(ErrorCode.NO_ERROR, "closing")
            self._flush()

    def sweep(self, now: float) -> None:
        """Compare the deadlines with the time."""
        if not self._streams and now - self._idle_since >= IDLE_SECONDS:
            self.close()
            return
        self.protocol.sweep()
        self._tell_touched()
        self._flush()

    # -- streams call these --------------------------------------------------------------------

    def begun(self, stream: UpstreamStream, stream_id: int) -> None:
        self._streams[stream_id] = stream
        self.flush_soon()

    def left(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        if not self._streams:
            self._idle_since = self._clock.now
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    # -- the event loop calls these ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        protocol = self.protocol
        protocol.receive(bytes(self._buffer[:nbytes]))
        if protocol.most_streams != self._most_streams:
            self._settled(protocol.most_streams)
        self._tell_touched()
        self._flush()

    def eof_received(self) -> bool:
        self._end(UpstreamUnavailable("the upstream closed the connection"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(UpstreamUnavailable("the connection to the upstream was lost"))
        self._transport = None

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._flush()

    # -- the protocol calls these (ClientHandler) ----------------------------------------------

    def on_informational(self, stream_id: int, response: DecodedResponse) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.informational(response)

    def on_response(self, stream_id: int, response: DecodedResponse, end_stream: bool) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.respond(response, end_stream)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.receive(data, end_stream)

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.end(fields)

    def on_writable(self, stream_id: int) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.writable()

    def on_reset(self, stream_id: int, code: int, reason: str) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.fail(BadResponse(f"the stream to the upstream was reset ({reason}, {code})"))

    def on_unprocessed(self, stream_id: int) -> None:
        stream = self._touch(stream_id)
        if stream is not None:
            stream.refused()

    def on_goaway(self, code: int) -> None:
        self.flush_soon()  # which closes, unless there are streams

    def on_connection_error(self, code: int, reason: str) -> None:
        self._end(BadResponse(f"the HTTP/2 connection to the upstream ended: {reason}"))

    # -- inside --------------------------------------------------------------------------------

    def _touch(self, stream_id: int) -> UpstreamStream | None:
        """The stream; its exchange will be flushed at the end of this event."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.sink is not None:
            self._touched[stream_id] = stream.sink
        return stream

    def _tell_touched(self) -> None:
        while self._touched:
            touched, self._touched = self._touched, {}
            for sink in touched.values():
                sink.flush()

    def _settled(self, most_streams: int) -> None:
        """The server's SETTINGS have come, or changed."""
        self._most_streams = most_streams
        self.home.streams_allowed(most_streams)
        if not self.ready.done():
            self.ready.set_result(None)

    def _flush(self) -> None:
        """Write all frames of this turn, for as long as the transport takes them."""
        self._flushing = False
        transport = self._transport
        protocol = self.protocol
        if transport is None or transport.is_closing():
            return
        while not self._blocked:
            data = protocol.data_to_send()
            if not data:
                break
            transport.write(data)
        self._tell_touched()
        if protocol.closed or (protocol.going_away and not self._streams):
            if self._blocked:
                transport.abort()  # who does not read is not waited for
            else:
                transport.close()
            self._end(UpstreamUnavailable("the connection to the upstream has ended"))

    def _end(self, error: UpstreamError | ProtocolError) -> None:
        """No more streams here; those that there are fail."""
        if self._lost:
            return
        self._lost = True
        if not self.ready.done():
            self.ready.set_exception(error)
        self.home.gone(self)
        streams, self._streams = self._streams, {}
        sinks = [stream.sink for stream in streams.values()]
        for stream in streams.values():
            stream.fail(error)
        for sink in sinks:
            if sink is not None:
                sink.flush()
        self.flush_soon()


UpstreamSide: TypeAlias = UpstreamConnection | UpstreamStream
"""What carries one exchange on the backend's side."""


def _head(response: DecodedResponse, length: int | None) -> ResponseHead:
    """The head of a response; remembered with it, one for each length that it is passed on with.

    The same section may come with and without a body behind it, to GET and to HEAD.
    """
    heads = response.extension
    if not isinstance(heads, dict):
        heads = response.extension = {}
    head: ResponseHead | None = heads.get(length)
    if head is None:
        fields = ResponseFields(list(response.fields))
        fields.length = length
        reason = reason_phrase(response.status).encode("ascii")
        head = heads[length] = ResponseHead(response.status, reason, HTTP_2, fields)
    return head
