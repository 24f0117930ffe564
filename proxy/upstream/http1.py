"""One HTTP/1.1 connection to a backend, over TCP or a unix socket.

It carries one exchange at a time and never pipelines. What comes back passes the same strict
check as what clients send. The connection is given back to its pool only when both messages were
complete and in order; after anything else (an early response, a short body, bytes too many, an
error) it is closed, because what the next response on it would belong to is not certain
(threat: response queue poisoning).
"""

from __future__ import annotations

import asyncio
import re
from typing import Final, Protocol, cast

from proxy.errors import BadResponse, ProtocolError, UpstreamError, UpstreamUnavailable
from proxy.http.chunked import ChunkedBody, ChunkedError
from proxy.http.grammar import HEAD_END
from proxy.http.head import CHUNKED, HTTP_1_1, HeadReader, RequestHead, ResponseHead
from proxy.http.headers import response_has_no_body
from proxy.limits import BUFFER_BYTES, INFORMATIONAL_RESPONSES, Limits

_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL, _CLOSED = range(7)
_STATE_NAMES: Final = ("idle", "head", "length", "chunked", "until-close", "tunnel", "closed")
_STATUS_START: Final = b"HTTP/1."
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class ResponseSink(Protocol):
    """What an upstream connection tells about the response: an exchange."""

    head: RequestHead
    tunnel: bool
    request_head: bytes
    """The head as it goes to an HTTP/1.1 backend, with its empty line."""

    def response_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None: ...
    def response_head(self, head: ResponseHead, length: int | None) -> None: ...
    def response_upgrade(self, head: ResponseHead) -> None: ...
    def response_data(self, data: bytes | memoryview) -> None: ...
    def response_end(self) -> None: ...
    def tunnel_received(self, data: bytes | memoryview) -> None: ...
    def response_tunnel_end(self) -> None: ...
    def tunnel_closed(self) -> None: ...
    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None: ...
    def upstream_writable(self, writable: bool) -> None: ...
    def flush(self) -> None: ...


class Home(Protocol):
    """Where a connection goes back to: its upstream in the pool."""

    name: str

    def give_back(self, connection: UpstreamConnection) -> None: ...
    def forget(self, connection: UpstreamConnection) -> None: ...


class Shared(Protocol):
    """What all upstream connections of a worker share."""

    @property
    def reader(self) -> HeadReader: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def read_buffer(self) -> memoryview: ...


class UpstreamConnection:
    """See the module. An ``asyncio.BufferedProtocol`` as ``ClientConnection`` is one."""

    multiplexed: Final = False
    """It serves one exchange at a time."""

    __slots__ = (
        "_body",
        "_chunking",
        "_eof_received",
        "_eof_sent",
        "_informational",
        "_partial",
        "_read_buffer",
        "_recall",
        "_paused",
        "_remaining",
        "_reusable",
        "_shared",
        "_sink",
        "_state",
        "_touched",
        "_transport",
        "_writing_paused",
        "answered",
        "failed",
        "home",
        "idle_since",
        "name",
        "request_sent",
        "uses",
    )

    def __init__(self, home: Home, shared: Shared) -> None:
        self.home = home
        self._shared = shared
        self._recall = shared.reader.recall_response
        self._read_buffer = shared.read_buffer
        self.name = home.name
        self._transport: asyncio.Transport | None = None
        self._sink: ResponseSink | None = None
        self._state = _IDLE
        self._partial = bytearray()
        self._remaining = 0
        self._body: ChunkedBody | None = None
        self._chunking = False
        self._informational = 0
        self._reusable = False
        self._touched = False
        self._paused = False
        self._writing_paused = False
        self._eof_sent = False
        self._eof_received = False
        self.request_sent = False
        self.idle_since = 0.0
        self.answered = False
        self.failed = False
        self.uses = 0

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.name} {_STATE_NAMES[self._state]} uses={self.uses}>"

    @property
    def is_open(self) -> bool:
        return self._state != _CLOSED and self._transport is not None

    # -- the exchange calls these --------------------------------------------------------------

    def request(self, sink: ResponseSink) -> None:
        """Begin an exchange with a request that is complete, as most are: all in one step."""
        self._sink = sink
        self._state = _HEAD
        self._informational = 0
        self._touched = False
        self.answered = False
        self.request_sent = True
        self.uses += 1
        assert self._transport is not None
        self._transport.write(sink.request_head)

    def begin(self, sink: ResponseSink) -> None:
        """Begin an exchange: send the request's head."""
        self._sink = sink
        self._state = _HEAD
        self._informational = 0
        self._touched = False
        self.answered = False
        self.request_sent = False
        self.uses += 1
        self._chunking = sink.head.fields.length == CHUNKED
        self.send(sink.request_head)

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunking else data)

    def end_body(self) -> None:
        """The request is complete."""
        if self._chunking:
            self.send(b"0\r\n\r\n")
        self.request_sent = True

    def send(self, data: bytes) -> None:
        """Send bytes as they are: in a tunnel, or before the first request."""
        assert self._transport is not None
        self._transport.write(data)

    def send_eof(self) -> None:
        """Half-close, in a tunnel."""
        if self._transport is not None and not self._eof_sent:
            self._eof_sent = True
            if self._eof_received:
                self._transport.close()  # both directions are over
            else:
                self._transport.write_eof()

    def unsent(self) -> int:
        """Bytes of the request that the backend has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self._paused and self._transport is not None and self._state != _CLOSED:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self._transport is not None and self._state != _CLOSED:
            self._paused = False
            self._transport.resume_reading()

    def discard(self) -> None:
        """Close now; nothing more is told to the exchange."""
        self._sink = None
        if self._state != _CLOSED:
            self._state = _CLOSED
            self.home.forget(self)
            if self._transport is not None:
                self._transport.abort()

    def close_idle(self) -> None:
        """Close while no exchange uses it."""
        if self._state != _CLOSED:
            self._state = _CLOSED
            self.home.forget(self)
            if self._transport is not None:
                self._transport.close()

    # -- the event loop calls these ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        sink = self._sink
        if sink is None:
            # Bytes nobody asked for: an answer to no request.
            self.close_idle()
            return
        data = self._read_buffer[:nbytes]
        if self._state == _HEAD and self.request_sent and not self._partial and not self._paused:
            # The usual response: whole in one piece, with a head that was seen before.
            response = bytes(data)
            end = response.find(HEAD_END) + 4
            head = self._recall(response[:end])
            if (
                head is not None
                and head.plain_length == nbytes - end
                and sink.head.method != b"HEAD"
                and not self._writing_paused  # an early one, as in _release
            ):
                self._sink = None
                self._state = _IDLE
                self.answered = True
                self.home.give_back(self)
                sink.response_whole(head, head.plain_length, response[end:])
                return
        self._receive(sink, data)

    def _receive(self, sink: ResponseSink, data: memoryview) -> None:
        """Anything else."""
        state = self._state
        try:
            if state == _HEAD:
                self._receive_head(sink, bytes(data))
            elif state == _LENGTH:
                self._receive_length(sink, data)
            elif state == _CHUNKED:
                self._receive_chunked(sink, bytes(data))
            elif state == _TUNNEL:
                sink.tunnel_received(data)
            elif state == _UNTIL_CLOSE:
                sink.response_data(data)
        except ProtocolError as error:
            sink.upstream_failed(error, untouched=False)
        sink.flush()

    def eof_received(self) -> bool:
        sink = self._sink
        if sink is None:
            self.close_idle()
            return False
        if self._state == _TUNNEL:
            self._eof_received = True
            sink.response_tunnel_end()
            sink.flush()
            return not self._eof_sent
        self._ended(sink, None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        sink = self._sink
        if sink is not None:
            self._ended(sink, exc)
        elif self._state != _CLOSED:
            self._state = _CLOSED
            self.home.forget(self)
        self._transport = None

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._sink is not None:
            self._sink.upstream_writable(False)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._sink is not None:
            self._sink.upstream_writable(True)

    # -- inside --------------------------------------------------------------------------------

    def _receive_head(self, sink: ResponseSink, data: bytes) -> None:
        self._touched = True
        partial = self._partial
        if partial:
            searched = max(0, len(partial) - 3)
            partial += data
            if partial.find(HEAD_END, searched) < 0:
                self._check_partial(partial, searched)
                return
            data = bytes(partial)
            self._partial = bytearray()
        header_bytes = self._shared.limits.header_bytes
        while True:
            end = data.find(HEAD_END)
            if end < 0:
                self._partial = bytearray(data)
                self._check_partial(self._partial, 0)
                return
            if end + 4 > header_bytes:
                raise BadResponse("the upstream's response head is too large")
            head = self._shared.reader.response(data[: end + 4])
            data = data[end + 4 :]
            if head.status >= 200:
                self._final_head(sink, head, data)
                return
            if head.status == 101:
                self._switch(sink, head, data)
                return
            self._informational += 1
            if self._informational > INFORMATIONAL_RESPONSES:
                raise BadResponse("the upstream sent too many 1xx responses")
            sink.response_head(head, None)
            if not data:
                return

    def _check_partial(self, partial: bytearray, searched: int) -> None:
        """Refuse early what cannot become a good head."""
        if len(partial) > self._shared.limits.header_bytes:
            raise BadResponse("the upstream's response head is too large")
        if not partial.startswith(_STATUS_START[: len(partial)]):
            raise BadResponse("the upstream answered with something other than HTTP/1.1")
        if _BARE_LF.search(partial, searched):
            raise BadResponse("the upstream sent a bare LF in its response head")

    def _final_head(self, sink: ResponseSink, head: ResponseHead, data: bytes) -> None:
        fields = head.fields
        length = fields.length
        self._reusable = (
            not fields.close if head.version == HTTP_1_1 else fields.keep_alive and not fields.close
        )
        if response_has_no_body(sink.head.method, head.status):
            # The length of what a GET would have brought (RFC 9110 §8.6), except that 204 has none.
            keeps_length = length is not None and length >= 0 and head.status != 204
            if head.status == 204 and length:
                self._reusable = False  # it announces a body that must not be there
            self._release(data)
            sink.response_whole(head, length if keeps_length else None, b"")
        elif length == len(data):
            self._release(b"")
            sink.response_whole(head, length, data)
        elif length is None:
            self._reusable = False
            self._state = _UNTIL_CLOSE
            sink.response_head(head, CHUNKED)
            if data:
                sink.response_data(data)
        elif length == CHUNKED:
            self._state = _CHUNKED
            self._body = ChunkedBody(self._shared.reader.engine.chunked_reader())
            sink.response_head(head, CHUNKED)
            if data:
                self._receive_chunked(sink, data)
        elif len(data) > length:
            self._release(data[length:])
            sink.response_whole(head, length, data[:length])
        else:
            sink.response_head(head, length)
            self._state = _LENGTH
            self._remaining = length - len(data)
            if data:
                sink.response_data(data)

    def _switch(self, sink: ResponseSink, head: ResponseHead, data: bytes) -> None:
        if not sink.tunnel or head.fields.upgrade != b"websocket":
            raise BadResponse("the upstream switched protocols without being asked")
        self._reusable = False
        self._state = _TUNNEL
        sink.response_upgrade(head)
        if data:
            sink.tunnel_received(data)

    def _receive_length(self, sink: ResponseSink, data: memoryview) -> None:
        remaining = self._remaining - len(data)
        if remaining > 0:
            self._remaining = remaining
            sink.response_data(data)
            return
        wanted = self._remaining
        self._remaining = 0
        sink.response_data(data[:wanted])
        self._complete(sink, data[wanted:])

    def _receive_chunked(self, sink: ResponseSink, data: bytes) -> None:
        body = self._body
        assert body is not None
        try:
            decoded, rest = body.receive(data)
        except ChunkedError as error:
            raise BadResponse(f"the upstream sent {error}") from error
        if decoded:
            sink.response_data(decoded)
        if body.complete:
            self._body = None
            self._complete(sink, rest)

    def _complete(self, sink: ResponseSink, rest: bytes | memoryview) -> None:
        self._release(rest)
        sink.response_end()

    def _release(self, rest: bytes | memoryview) -> None:
        """Give the connection back before the exchange ends: the next one may want it."""
        self._sink = None
        self.answered = True
        # An early response may find much of the request still here, not taken by the backend.
        whole = self.request_sent and not rest and not self._eof_sent
        if self._reusable and whole and not self._writing_paused:
            if self._paused:
                self.resume_reading()
            self._state = _IDLE
            self.home.give_back(self)
        else:
            self.discard()

    def _ended(self, sink: ResponseSink, exc: Exception | None) -> None:
        state = self._state
        self._sink = None
        self._state = _CLOSED
        # A tunnel was the answer, however it ends: a client's bad frame makes backends reset it,
        # and must not make them look broken.
        self.answered = state == _TUNNEL or (state == _UNTIL_CLOSE and exc is None)
        # An idle connection that closes just as it is used says nothing against the backend.
        self.failed = not self.answered and (self._touched or self.uses == 1)
        self.home.forget(self)
        if state == _TUNNEL:
            sink.tunnel_closed()
        elif state == _UNTIL_CLOSE and exc is None:
            sink.response_end()
        elif state == _HEAD:
            sink.upstream_failed(
                UpstreamUnavailable("the upstream closed the connection without an answer"),
                untouched=not self._touched,
            )
        else:
            sink.upstream_failed(
                BadResponse("the upstream closed the connection in mid-response"), untouched=False
            )
        sink.flush()
