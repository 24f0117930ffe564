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
from typing import Final, Protocol, cast

from proxy.clock import CoarseClock
from proxy.errors import BadResponse, ProtocolError, UpstreamError, UpstreamUnavailable
from proxy.http.h2.client_connection import ClientConnection
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.request_fields import DecodedResponse
from proxy.http.headers import Field
from proxy.limits import BUFFER_BYTES, SECONDS, Limits
from proxy.upstream.http2_stream import StreamHome, StreamSink, UpstreamStream

IDLE_SECONDS: Final = 60 * SECONDS
"""A connection without a stream is closed after so long."""


class ConnectionHome(StreamHome, Protocol):
    """Whom a connection belongs to: its upstream in the pool."""

    name: str

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


class Http2UpstreamConnection:
    """See the module; the handler of its protocol.

    An ``asyncio.BufferedProtocol`` as ``ClientConnection`` is one.
    """

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

    def __init__(
        self, home: ConnectionHome, shared: Shared, loop: asyncio.AbstractEventLoop
    ) -> None:
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
            stream.reset(BadResponse(f"the stream to the upstream was reset ({reason}, {code})"))

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
