"""HTTP/1.1 on the client's side of a connection (RFC 9112).

One object per connection. It finds the head, has it checked and read, makes an exchange of it,
feeds that the body, and writes the response. A connection is in one of these states::

    IDLE      waits for a request            head complete     -> BODY or WAIT
    BODY      a request body is coming       body complete     -> WAIT
    WAIT      the response is not complete   response complete -> IDLE
    DRAIN     the response came early; what is left of the body is read and dropped -> IDLE
    TUNNEL    protocol switched; bytes pass through
    CLOSING   nothing more is read

A client that pipelines is answered in order: what it sends during WAIT is kept (a bounded part of
it; then reading pauses) until the response is complete.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from proxy.client import ClientInfo
from proxy.clock import NEVER
from proxy.errors import BadRequest
from proxy.exchange import Application, Exchange, Services
from proxy.http.chunked import ChunkedBody, ChunkedError
from proxy.http.error_pages import error_fields, error_page, reason_phrase
from proxy.http.grammar import HEAD_END
from proxy.http.head import CHUNKED, HTTP_1_1, HeadReader, RequestHead, ResponseHead
from proxy.http.headers import (
    UPGRADE_WEBSOCKET,
    Trailers,
    framing_field,
    response_forwardable,
    response_wire,
    status_line,
)
from proxy.limits import BUFFER_BYTES, DRAIN_BYTES, DRAIN_SECONDS

logger = logging.getLogger(__name__)

_IDLE, _BODY, _WAIT, _DRAIN, _TUNNEL, _CLOSING = range(6)
_STATE_NAMES: Final = ("idle", "body", "wait", "drain", "tunnel", "closing")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n"


class Channel(Protocol):
    """The connection below: plaintext in both directions, TLS or not."""

    info: ClientInfo

    def write(self, data: bytes | memoryview) -> None:
        """Send; goes out at the latest when the current event has been handled.

        A memoryview is only looked at until this returns."""
        ...

    def write_eof(self) -> None:
        """Half-close: nothing more will be written."""
        ...

    def close(self) -> None:
        """Send what was written, end the connection in order, and drop what still comes."""
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def unsent(self) -> int: ...


class Http1Connection:
    """See the module. The channel calls the first group of methods, the exchange the second."""

    __slots__ = (
        "_application",
        "_blocked",
        "_body",
        "_buffer",
        "_channel",
        "_chunking",
        "_deadline",
        "_dropped",
        "_exchange",
        "_held",
        "_http_1_0",
        "_keep_alive",
        "_out",
        "_paused",
        "_pumping",
        "_reader",
        "_recall",
        "_remaining",
        "_services",
        "_state",
        "_retired",
        "_stopping",
        "info",
    )

    def __init__(
        self, channel: Channel, services: Services, reader: HeadReader, application: Application
    ) -> None:
        self.info = channel.info
        self._channel = channel
        self._services = services
        self._reader = reader
        self._recall = reader.recall
        self._application = application
        self._state = _IDLE
        self._exchange: Exchange | None = None
        self._buffer = bytearray()  # an incomplete head
        self._held = bytearray()  # pipelined bytes, during WAIT
        self._remaining = 0
        self._body: ChunkedBody | None = None
        self._dropped = 0
        self._out: list[bytes | memoryview] = []
        self._chunking = False
        self._keep_alive = True
        self._http_1_0 = False
        self._paused = False
        self._pumping = False
        self._blocked = False
        self._retired = False  # the next response is the last one, and says so
        self._stopping = False
        self._deadline = services.clock.now + services.limits.header_timeout

    def __repr__(self) -> str:
        return f"<Http1Connection {self.info.address} {_STATE_NAMES[self._state]}>"

    # -- the channel calls these ---------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Plaintext from the client."""
        state = self._state
        if state == _IDLE:
            if self._blocked:
                self._hold(data)
            elif (head := self._recall(data)) is not None and not self._buffer:
                self._begin(head)
            else:
                self._pump(data)
        elif state in (_BODY, _DRAIN):
            rest = self._receive_body(data)
            if rest:
                self.receive(rest)
        elif state == _TUNNEL:
            assert self._exchange is not None
            self._exchange.tunnel_data(data)
        elif state == _WAIT:
            self._hold(data)

    def receive_eof(self) -> None:
        """The client will send no more."""
        exchange = self._exchange
        if self._state == _TUNNEL and exchange is not None:
            exchange.tunnel_end()
        else:
            # A client that waits for an answer keeps its side open; a closed one has gone.
            self.connection_lost()
            self._close()

    def connection_lost(self) -> None:
        """The connection is gone, for whatever reason."""
        exchange, self._exchange = self._exchange, None
        self._state = _CLOSING
        self._deadline = NEVER
        if exchange is not None:
            exchange.client_gone()

    def pause_writing(self) -> None:
        self._blocked = True
        if self._exchange is not None:
            self._exchange.client_writable(False)

    def resume_writing(self) -> None:
        self._blocked = False
        if self._exchange is not None:
            self._exchange.client_writable(True)
        elif self._state == _IDLE:
            self._take_held()
            self.flush()

    def sweep(self, now: float) -> None:
        """Compare the deadlines with the time."""
        exchange = self._exchange
        if exchange is not None:
            exchange.sweep(now)
        elif now >= self._deadline:
            if self._has_begun_a_head():
                # RFC 9110 §15.5.9: it began a request and did not finish it.
                self._refuse(BadRequest("the request head took too long", 408))
            else:
                self._close()

    def stop(self) -> None:
        """Finish what is in flight, then close."""
        self._stopping = True
        self._retired = True
        if self._state == _IDLE and not self._has_begun_a_head():
            self._close()
        elif self._exchange is not None:
            self._exchange.stop_tunnel()

    def retire(self) -> None:
        """Old enough: the next response says that it is the last one here (RFC 9112 §9.6).

        Not without saying so: a request could be on its way.
        """
        self._retired = True

    @property
    def is_idle(self) -> bool:
        """True between requests."""
        return self._exchange is None

    # -- the exchange calls these --------------------------------------------------------------

    def send_informational(self, head: ResponseHead) -> None:
        self._out += (status_line(head), response_forwardable(head.fields), b"\r\n")

    def send_continue(self) -> None:
        self._out.append(_CONTINUE)

    def send_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        if length is None or self._http_1_0 or self._retired or not self._keep_alive:
            self.send_head(head, length)
            if data:
                self._out.append(data)
            self.send_end()
            return
        self._exchange = None
        self._out.append((head.wire or response_wire(head, length)) + data)
        if self._state == _WAIT and not self._held and not self._paused:
            self._state = _IDLE
            services = self._services
            self._deadline = services.clock.now + services.limits.keep_alive_timeout
        else:
            self._next_request()

    def send_head(self, head: ResponseHead, length: int | None) -> None:
        self._settle_keep_alive()
        out = self._out
        out.append(status_line(head))
        out.append(response_forwardable(head.fields))
        if length == CHUNKED:
            if self._http_1_0:
                self._keep_alive = False  # the end of the connection is the end of the body
            elif self._expects_body():
                self._chunking = True
                out.append(framing_field(CHUNKED))
        elif length is not None:
            out.append(b"Content-Length: %d\r\n" % length)
        out.append(self._end_of_head())

    def send_data(self, data: bytes | memoryview) -> None:
        if self._chunking:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def send_end(self, trailers: Trailers = ()) -> None:
        self._exchange = None
        if self._state == _TUNNEL:
            self._close()
            return
        if self._chunking:
            self._chunking = False
            self._out.append(b"0\r\n\r\n")
        self._next_request()

    def send_local(
        self, status: int, reason: str, fields: list[tuple[bytes, bytes]], body: bytes, close: bool
    ) -> None:
        exchange, self._exchange = self._exchange, None
        if close:
            self._keep_alive = False
        self._settle_keep_alive()
        head_only = exchange is not None and exchange.head.method == b"HEAD"
        self._write_local(status, reason, fields, body, head_only)
        self._next_request()

    def send_upgrade(self, head: ResponseHead) -> None:
        self._out += (
            status_line(head),
            response_forwardable(head.fields),
            UPGRADE_WEBSOCKET,
            b"\r\n",
        )
        self._state = _TUNNEL
        self._resume()
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            assert self._exchange is not None
            self._exchange.tunnel_data(held)

    def send_tunnel_end(self) -> None:
        self.flush()
        self._channel.write_eof()

    def reset(self) -> None:
        self._exchange = None
        self._out.clear()
        self._state = _CLOSING
        self._channel.abort()

    def pause_request(self) -> None:
        self._pause()

    def resume_request(self) -> None:
        self._resume()

    def unsent(self) -> int:
        return self._channel.unsent()

    def flush(self) -> None:
        """Write what has gathered, as one piece."""
        out = self._out
        if out:
            data = out.pop() if len(out) == 1 else b"".join(out)
            out.clear()
            self._channel.write(data)

    # -- reading -------------------------------------------------------------------------------

    def _pump(self, data: bytes) -> None:
        """Read heads for as long as there are complete ones and nobody must wait.

        A loop and no recursion: a client may pipeline thousands of requests that are answered on
        the spot. One that does not read the answers is not read from either.
        """
        self._pumping = True
        while data and self._state == _IDLE and not self._blocked:
            data = self._receive_head(data)
            if data:
                if self._state in (_BODY, _DRAIN):
                    data = self._receive_body(data)
                self.flush()
        self._pumping = False
        if data and self._state in (_IDLE, _WAIT):
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= BUFFER_BYTES or self._blocked:
            self._pause()

    def _take_held(self) -> None:
        if self._paused:
            self._resume()
        if self._held and not self._pumping:
            held, self._held = bytes(self._held), bytearray()
            self._pump(held)

    def _receive_head(self, data: bytes) -> bytes:
        """Take one head off the front; the rest is returned."""
        buffer = self._buffer
        if buffer:
            searched = max(0, len(buffer) - 3)
            buffer += data
            end = buffer.find(HEAD_END, searched)
            if end < 0:
                self._check_partial(buffer, searched)
                return b""
            data = bytes(buffer)
            self._buffer = bytearray()
        else:
            end = data.find(HEAD_END)
            if end < 0:
                # Absolute, and not beyond what a new connection was given for its first request.
                header_deadline = self._services.clock.now + self._services.limits.header_timeout
                self._deadline = min(self._deadline, header_deadline)
                self._buffer = bytearray(data)
                self._check_partial(self._buffer, 0)
                return b""
        if data[0] == 0x0D and data.startswith(b"\r\n"):
            # RFC 9112 §2.2: one empty line before a request is forgiven; a second one ends a
            # head without a request line.
            data = data[2:]
            end -= 2
        try:
            if end < 0:
                raise BadRequest("empty lines instead of a request")
            if end + 4 > self._services.limits.header_bytes:
                raise self._too_large(data)
            head = self._reader.request(data[: end + 4])
        except BadRequest as error:
            self._refuse(error)
            return b""
        self._begin(head)
        return data[end + 4 :]

    def _begin(self, head: RequestHead) -> None:
        """Make an exchange of a head."""
        fields = head.fields
        length = fields.length
        self._deadline = NEVER
        if head.version == HTTP_1_1:
            self._http_1_0 = False
            self._keep_alive = not fields.close
        else:
            self._http_1_0 = True
            self._keep_alive = fields.keep_alive and not fields.close
        if length == 0:
            self._state = _WAIT
        else:
            self._state = _BODY
            self._remaining = length
            if length == CHUNKED:
                self._body = ChunkedBody(self._reader.engine.chunked_reader())
        exchange = self._exchange = Exchange(self._services, self, head)
        if self._blocked:
            exchange.client_blocked = True
        self._application(exchange)

    def _check_partial(self, buffer: bytearray, searched: int) -> None:
        """Refuse early what cannot become a good head."""
        limits = self._services.limits
        if len(buffer) > limits.header_bytes or (
            # The line's own CR may be the last byte; an empty line before it does not count.
            len(buffer) > limits.header_line_bytes + 3 and buffer.find(b"\r\n", 2) < 0
        ):
            self._refuse(self._too_large(buffer))
        else:
            # A bare LF can never end a line, so a head with one would only time out.
            newline = buffer.find(b"\n", searched)
            while newline >= 0:
                if newline == 0 or buffer[newline - 1] != 0x0D:
                    self._refuse(BadRequest("a bare LF in the request head"))
                    return
                newline = buffer.find(b"\n", newline + 1)

    def _too_large(self, head: bytes | bytearray) -> BadRequest:
        line = head.find(b"\r\n", 2)
        if line < 0 or line > self._services.limits.header_line_bytes:
            return BadRequest("the request line is too long", 414)
        return BadRequest("the request head is too large", 431)

    def _has_begun_a_head(self) -> bool:
        return len(self._buffer) > 2  # more than the empty line that may precede one

    def _receive_body(self, data: bytes) -> bytes:
        """Take body bytes off the front; what belongs to the next request is returned."""
        if self._body is not None:
            try:
                decoded, rest = self._body.receive(data)
            except ChunkedError as error:
                self._broken_body(BadRequest(str(error)))
                return b""
            complete = self._body.complete
        elif len(data) >= self._remaining:
            decoded, rest = data[: self._remaining], data[self._remaining :]
            self._remaining = 0
            complete = True
        else:
            decoded, rest = data, b""
            self._remaining -= len(data)
            complete = False
        exchange = self._exchange
        if exchange is None:
            self._drop(len(data), complete)
            return rest
        if complete:
            self._body = None
            self._state = _WAIT
        if decoded:
            exchange.request_data(decoded)
        if complete and self._exchange is exchange:
            exchange.request_end()
        return rest

    def _drop(self, size: int, complete: bool) -> None:
        self._dropped += size
        if complete:
            self._body = None
            self._go_idle()
        elif self._dropped > DRAIN_BYTES:
            self._close()

    def _broken_body(self, error: BadRequest) -> None:
        exchange = self._exchange
        if exchange is None:
            self._close()  # the response is complete; only what was to be dropped is broken
        elif exchange.response_started:
            self.connection_lost()
            self._channel.abort()
        else:
            exchange.abandon_request(error)

    # -- writing -------------------------------------------------------------------------------

    def _expects_body(self) -> bool:
        return self._exchange is not None and self._exchange.head.method != b"HEAD"

    def _settle_keep_alive(self) -> None:
        if self._retired:
            self._keep_alive = False

    def _end_of_head(self) -> bytes:
        if not self._keep_alive:
            return b"Connection: close\r\n\r\n"
        return b"Connection: keep-alive\r\n\r\n" if self._http_1_0 else b"\r\n"

    def _write_local(
        self,
        status: int,
        reason: str,
        fields: list[tuple[bytes, bytes]],
        body: bytes,
        head_only: bool,
    ) -> None:
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason.encode("ascii"))]
        lines += [b"%b: %b\r\n" % field for field in fields]
        lines.append(b"Content-Length: %d\r\n" % len(body))
        lines.append(self._end_of_head())
        if not head_only:
            lines.append(body)
        self._out.append(b"".join(lines))

    def _next_request(self) -> None:
        """The response is complete: on to the next request, or to the end of the connection."""
        state = self._state
        if not self._keep_alive or self._stopping:
            self._close()
        elif state == _WAIT:
            self._go_idle()
        elif state == _BODY:
            self._drain_body()

    def _drain_body(self) -> None:
        # Early response. The rest of a small body is worth reading to keep the connection.
        if self._remaining > DRAIN_BYTES:
            self._close()
            return
        self._state = _DRAIN
        self._dropped = 0
        self._deadline = self._services.clock.now + DRAIN_SECONDS
        self._resume()

    def _go_idle(self) -> None:
        self._state = _IDLE
        services = self._services
        self._deadline = services.clock.now + services.limits.keep_alive_timeout
        if self._stopping:
            self._close()
            return
        self._take_held()

    def _refuse(self, error: BadRequest) -> None:
        """Answer what became no exchange, and close."""
        logger.info("%s: %d: %s", self.info.address, error.status, error)
        self._buffer = bytearray()
        self._keep_alive = False
        content_type, body = error_page(error.status, False)
        fields = [
            (b"Date", self._services.date()),
            (b"Content-Type", content_type),
            *error_fields(error.status),
        ]
        self._write_local(error.status, reason_phrase(error.status), fields, body, False)
        self._close()

    def _close(self) -> None:
        self._state = _CLOSING
        self._deadline = NEVER
        self.flush()
        self._resume()
        self._channel.close()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._channel.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._channel.resume_reading()
