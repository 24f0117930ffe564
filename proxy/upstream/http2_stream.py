"""One exchange's part of an HTTP/2 connection to a backend: one stream.

An exchange uses it as it uses a whole HTTP/1.1 connection (``UpstreamConnection`` says what the
methods do). It is there for one exchange: it begins, ends, and is never given back.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

from proxy.errors import ProtocolError, UpstreamError, UpstreamRefusal
from proxy.http.error_pages import reason_phrase
from proxy.http.h2.client_connection import ClientConnection
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.request_fields import DecodedResponse
from proxy.http.head import CHUNKED, HTTP_2, ResponseFields, ResponseHead
from proxy.http.headers import Field, Trailers, response_has_no_body
from proxy.upstream.http1 import ResponseSink, UpstreamConnection


class StreamSink(ResponseSink, Protocol):
    """What a stream tells about the response, and asks about the request: an exchange."""

    request_trailers: Trailers
    """Of a request that has ended."""

    def http2_request(self) -> tuple[bytes, list[Field]]:
        """The path and the fields as they go to an HTTP/2 backend."""
        ...

    def response_end(self, trailers: Trailers = ()) -> None: ...


class StreamHome(Protocol):
    """Whom the stream's connection belongs to."""

    def ended(self, stream: UpstreamStream) -> None:
        """The exchange has left the stream."""
        ...


class StreamConnection(Protocol):
    """The connection of a stream."""

    name: str
    protocol: ClientConnection

    @property
    def home(self) -> StreamHome: ...

    def begun(self, stream: UpstreamStream, stream_id: int) -> None:
        """The stream is there from now on."""
        ...

    def left(self, stream_id: int) -> None:
        """The exchange has left the stream."""
        ...

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop."""
        ...

    def close(self) -> None: ...


class UpstreamStream:
    """See the module. The exchange calls the first group of methods, the connection the second.

    Attributes:
        connection: what it is a stream of.
        home: the connection's.
        sink: hears of the response; None before and after the exchange.
        request_sent, answered, failed: as for ``UpstreamConnection``.
    """

    __slots__ = (
        "_head_only",
        "_id",
        "_paused",
        "_protocol",
        "_touched",
        "_unacknowledged",
        "answered",
        "connection",
        "failed",
        "home",
        "name",
        "request_sent",
        "sink",
    )

    uses = 1
    multiplexed: Final = True

    def __init__(self, connection: StreamConnection) -> None:
        self.home = connection.home
        self.name = connection.name
        self.connection = connection
        self._protocol = connection.protocol
        self.sink: StreamSink | None = None
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

    # -- the exchange calls these --------------------------------------------------------------

    def request(self, sink: StreamSink) -> None:
        """Begin an exchange with a request that is complete."""
        self.begin(sink)
        self.end_body()

    def begin(self, sink: StreamSink) -> None:
        """Begin an exchange: send the request's head."""
        self.sink = sink
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
        self.connection.begun(self, self._id)

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        if not self._protocol.send_data(self._id, data) and self.sink is not None:
            self.sink.upstream_writable(False)
        self.connection.flush_soon()

    def end_body(self) -> None:
        """The request is complete."""
        sink = self.sink
        if self.request_sent or sink is None:
            return
        self.request_sent = True
        if sink.request_trailers:
            self._protocol.send_trailers(self._id, list(sink.request_trailers))
        else:
            self._protocol.end(self._id)
        self.connection.flush_soon()

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
            self.connection.flush_soon()

    def discard(self) -> None:
        """End the stream now; nothing more is told to the exchange."""
        if self.sink is not None:
            self._protocol.reset(self._id, ErrorCode.CANCEL)
            self._over()

    # -- the connection calls these ------------------------------------------------------------

    def informational(self, response: DecodedResponse) -> None:
        if self.sink is not None:
            self.sink.response_head(_head(response, None), None)

    def respond(self, response: DecodedResponse, end_stream: bool) -> None:
        sink = self.sink
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
            try:
                sink.response_head(head, length)
            except ProtocolError as error:
                self._protocol.reset(self._id, ErrorCode.CANCEL)
                self.reset(error)

    def receive(self, data: bytes, end_stream: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        if data:
            sink.response_data(data)
            if self._paused:
                self._unacknowledged += len(data)
            else:
                self._protocol.acknowledge(self._id, len(data))
        if end_stream and self.sink is not None:
            self.end(())

    def end(self, trailers: Trailers) -> None:
        """The response is complete."""
        sink = self.sink
        if sink is not None:
            self._succeeded()
            sink.response_end(trailers)

    def writable(self) -> None:
        if self.sink is not None:
            self.sink.upstream_writable(True)

    def refused(self) -> None:
        """The server has not processed the request, and says so."""
        sink = self.sink
        if sink is not None:
            self._over()
            sink.upstream_failed(UpstreamRefusal("the upstream refused the stream"), untouched=True)

    def reset(self, error: ProtocolError) -> None:
        """The server has reset the stream, or broken the rules on it.

        After the head that is the answer, as far as the server's health is concerned: what a
        client says can make it reset a stream.
        """
        self.answered = self._touched
        self.fail(error)

    def fail(self, error: UpstreamError | ProtocolError) -> None:
        """No response, or not the whole of it."""
        sink = self.sink
        if sink is not None:
            self.failed = not self.answered
            self._over()
            sink.upstream_failed(error, untouched=not self._touched)

    # -- inside --------------------------------------------------------------------------------

    def _succeeded(self) -> None:
        self.answered = True
        if not self.request_sent:
            # RFC 9113 §8.1: an early response; what is left of the request is of no use.
            self._protocol.reset(self._id, ErrorCode.NO_ERROR)
        self._over()

    def _over(self) -> None:
        self.sink = None
        self.connection.left(self._id)
        self.home.ended(self)


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
