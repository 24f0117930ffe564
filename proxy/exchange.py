"""One request and its response: where the client's side and the backend's side meet.

::

    downstream (HTTP/1.1 or HTTP/2)                         upstream connection
        request head   ->  Exchange.start -> application -> pool -> attach
        request_data   ->  Exchange       ->                send
        request_end    ->  Exchange       ->                send
        send_head      <-  Exchange       <-                response_head
        send_data      <-  Exchange       <-                response_data
        send_end       <-  Exchange       <-                response_end

Both sides call plain methods; there is no task and no future per request. Whoever is called by
the event loop flushes the client's side before it returns (``flush``), so that all that one event
produced becomes one write.

What an exchange guarantees:

* the client gets exactly one final response, or its connection (stream) is reset when the
  response had already begun and cannot be completed;
* a request is sent a second time only when no byte of a response had come, and either nothing of
  it had been sent, or its body had not begun and its method is idempotent (RFC 9110 §9.2.2) or
  the backend says that it has not processed it (RFC 9113 §8.7);
* back-pressure: whichever side is slower pauses the other one, in both directions;
* when the client goes, the backend's connection is closed (its stream reset): work that nobody
  waits for ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from proxy.client import Downstream
from proxy.clock import NEVER, CoarseClock
from proxy.errors import (
    BadRequest,
    BadResponse,
    ProtocolError,
    UpstreamError,
    UpstreamRefusal,
    UpstreamTimeout,
)
from proxy.forwarding import Forwarding
from proxy.http.dates import http_date
from proxy.http.error_pages import error_fields, error_page, grpc_error, reason_phrase
from proxy.http.head import HTTP_1_1, HTTP_2, RequestHead, ResponseHead
from proxy.http.headers import Field, Trailers, with_date
from proxy.http.websocket import GOING_AWAY, FrameTracker
from proxy.limits import BUFFER_BYTES, Limits
from proxy.turns import Turns
from proxy.upstream.http2_stream import UpstreamSide

logger = logging.getLogger(__name__)

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_MAX_ATTEMPTS: Final = 2

_GRPC: Final = b"application/grpc"
_AFTER_GRPC: Final = (b"", b"+", b";")
"""But not application/grpc-web, which is for HTTP/1.1 clients and has other trailers."""


class AccessLog(Protocol):
    """Takes note of a finished exchange."""

    def __call__(self, exchange: Exchange) -> None: ...


def _in_the_next_turn(callback: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_soon(callback)


class Services:
    """What all exchanges of a worker share."""

    __slots__ = ("_wall", "access_log", "call_soon", "clock", "limits", "time", "turns")

    def __init__(
        self,
        *,
        limits: Limits,
        clock: CoarseClock,
        time: Callable[[], float],
        access_log: AccessLog | None,
        wall: Callable[[], float] = time.time,
        call_soon: Callable[[Callable[[], None]], object] = _in_the_next_turn,
    ) -> None:
        """Take what is shared.

        Args:
            limits: what one client may cost.
            clock: for deadlines.
            time: precise and monotonic, for the access log.
            access_log: None when nobody wants it.
            wall: seconds since the epoch, for the Date of our own answers.
            call_soon: has something done in the next turn of the loop; for what is more than
                one turn's work there is ``turns``.
        """
        self.limits = limits
        self.clock = clock
        self.time = time
        self.access_log = access_log
        self.call_soon = call_soon
        self.turns = Turns(call_soon)
        self._wall = wall

    def date(self) -> bytes:
        """The time as a Date header says it."""
        return http_date(int(self._wall()))


Application = Callable[["Exchange"], None]
"""Decides what becomes of an exchange: forwards it, or answers it."""


class Exchange:
    """See the module. Its downstream and its upstream connection call the methods below."""

    # Class attributes are what most exchanges never change: an exchange is made for every request,
    # and each attribute set in __init__ is paid for by every one of them.
    _plan: Forwarding | None = None
    _pending: list[bytes] | None = None
    _moved = 0
    request_head = b""
    request_trailers: Trailers = ()
    response_started = False
    tunnel = False
    _frames: FrameTracker
    _leaving = False
    _said_goodbye = False
    _tunnel_ended = False
    done = False
    attempts = 0
    client_blocked = False
    upstream_blocked = False
    deadline = NEVER
    received = 0
    sent = 0
    status = 0
    upstream_name = ""
    started = 0.0

    def __init__(self, services: Services, client: Downstream, head: RequestHead) -> None:
        self._services = services
        self.client = client
        self.head = head
        self.info = client.info
        self._upstream: UpstreamSide | None = None
        self.request_ended = head.fields.length == 0
        self._moved_at = services.clock.now
        if services.access_log is not None:
            self.started = services.time()

    def __repr__(self) -> str:
        state = "done" if self.done else "responding" if self.response_started else "waiting"
        return f"<Exchange {self.head!r} {state}>"

    # -- what an application may do ------------------------------------------------------------

    def respond(
        self,
        status: int,
        fields: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        close: bool = False,
        noted: int | None = None,
    ) -> None:
        """Answer without a backend; ``noted`` is the status to take note of, if another one."""
        if self.done or self.response_started:
            return
        self.status = noted or status
        self.sent = 0 if self.head.method == b"HEAD" else len(body)
        # RFC 9110 §10.1.1: after a final status instead of 100 the body may or may not come.
        close = close or (self.head.fields.expects_continue and not self.request_ended)
        self._finish()
        fields = [(b"Date", self._services.date()), *fields]
        self.client.send_local(status, reason_phrase(status), fields, body, close)

    def refuse(self, status: int, detail: str | None = None, *, close: bool = False) -> None:
        """Answer with an error page; a gRPC client with what it takes for one."""
        if self._is_grpc():
            self.respond(200, grpc_error(status, detail), b"", close=close, noted=status)
            return
        content_type, body = error_page(status, self.head.fields.wants_json, detail)
        fields = [(b"Content-Type", content_type), *error_fields(status)]
        self.respond(status, fields, body, close=close)

    def forward(self, plan: Forwarding) -> None:
        """Hand the request to the pool of the plan's route."""
        self._plan = plan
        if plan.too_large:
            self.refuse(413, close=True)
            return
        self.tunnel = plan.tunnel
        if self.info.trusted is not None:
            self.info = self.info.behind_proxy(self.head.fields)
        self.request_head = plan.head + self.info.forwarded
        direct = self.request_ended and not self.client_blocked
        connection = plan.route.pool.ready() if direct else None
        if connection is None:
            self._acquire()
            return
        self.attempts = 1
        self._upstream = connection
        self.upstream_name = connection.name
        connection.request(self)
        services = self._services
        self.deadline = services.clock.now + services.limits.upstream_response_timeout

    # -- the client's side calls these ---------------------------------------------------------

    def request_data(self, data: bytes) -> None:
        """A piece of the request body, decoded."""
        self.received += len(data)
        # After what ended the request (a declined upgrade): behind it, it would be another request.
        if self.done or (self.request_ended and not self.tunnel):
            return
        plan = self._plan
        if plan is not None and 0 < plan.route.body_bytes < self.received:
            self._drop_upstream()
            if self.response_started:
                self._reset_client()
            else:
                self.refuse(413, close=True)
            return
        upstream = self._upstream
        # A backend that has not switched protocols would read what is meant for the tunnel as
        # another request, so it is held until the 101 (HTTP/2 clients need not wait for it).
        if upstream is None or self.tunnel:
            if self._pending is None:
                self._pending = []
            self._pending.append(data)
            if self.received >= BUFFER_BYTES:
                self.client.pause_request()
        else:
            upstream.send_body(data)

    def request_end(self, trailers: Trailers = ()) -> None:
        """The request is complete. HTTP/1.1 backends get no trailers."""
        self.request_ended = True
        if trailers:
            self.request_trailers = trailers
        upstream = self._upstream
        if upstream is not None and not self.done:
            self._end_body(upstream)

    def abandon_request(self, error: BadRequest) -> None:
        """The request's body turned out to be malformed."""
        self._drop_upstream()
        if not self.done:
            logger.info("%s: %d: %s", self._what(), error.status, error)
            self.refuse(error.status, close=True)

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the client after the protocol was switched."""
        self.received += len(data)
        if self._upstream is not None:
            self._upstream.send(data)

    def stop_tunnel(self) -> None:
        """The proxy stops: say so between two frames, and let the client end the connection."""
        if not self.tunnel:
            return
        self._leaving = True
        if not self.response_started:
            return  # said behind the 101, when that comes
        if self._frames.between_frames and not self._said_goodbye:
            # The client answers with a Close of its own, which ends it for the backend too.
            self._said_goodbye = True
            self.client.send_data(GOING_AWAY)
            self.client.flush()

    def tunnel_end(self) -> None:
        """The client sends no more through the tunnel; the other direction may go on."""
        if not self.response_started:
            self._tunnel_ended = True  # not before the 101, as for its bytes
        elif self._upstream is not None:
            self._upstream.send_eof()

    def client_gone(self) -> None:
        """The client reset, closed or broke off: nobody waits for this any more."""
        if not self.done:
            if not self.status:
                self.status = 499
            self._drop_upstream()
            self._finish()

    def client_writable(self, writable: bool) -> None:
        """The client reads too slowly, or reads again."""
        self.client_blocked = not writable
        upstream = self._upstream
        if upstream is not None:
            if writable:
                upstream.resume_reading()
            else:
                upstream.pause_reading()

    def sweep(self, now: float) -> None:
        """Compare the deadlines with the time."""
        if self.done:
            return
        if now >= self.deadline:
            if self._is_grpc_stream():
                self.deadline = NEVER
                return
            self.upstream_failed(
                UpstreamTimeout("the upstream sent no response in time"), untouched=False
            )
            self.client.flush()
            return
        moved = self.received + self.sent
        if self.client_blocked:
            moved -= self.client.unsent()
        if self.upstream_blocked and self._upstream is not None:
            moved -= self._upstream.unsent()
        if moved != self._moved:
            self._moved = moved
            self._moved_at = now
            return
        self._check_stall(now - self._moved_at)

    def _check_stall(self, idle: float) -> None:
        limits = self._services.limits
        if self.tunnel and self.response_started:
            if idle > limits.tunnel_idle_timeout:
                self._drop_upstream()
                self._reset_client()
        elif idle <= limits.stall_timeout:
            return
        elif self.client_blocked:
            self._drop_upstream()
            self._reset_client()
        elif self.upstream_blocked:
            self.upstream_failed(
                UpstreamTimeout("the upstream stopped reading the request"), untouched=False
            )
        elif not self.request_ended and self._upstream is not None and not self._is_grpc_stream():
            self._drop_upstream()
            if self.response_started:
                self._reset_client()
            else:
                self.refuse(408, close=True)
        self.client.flush()

    # -- the upstream side calls these ---------------------------------------------------------

    def http2_request(self) -> tuple[bytes, list[Field]]:
        """The path and the fields as they go to a backend that speaks HTTP/2."""
        assert self._plan is not None
        path, fields = self._plan.http2(self.head)
        return path, fields + self.info.forwarded_fields()

    def attach(self, upstream: UpstreamSide) -> None:
        """A connection is there: send what there is of the request."""
        self._upstream = upstream
        self.upstream_name = upstream.name
        upstream.begin(self)
        if self.client_blocked:
            upstream.pause_reading()
        if self.tunnel or (self.request_ended and not self._pending):
            self._end_body(upstream)
            return
        if self.head.fields.expects_continue and self._is_waited_for():
            self.client.send_continue()
            self.client.flush()
        pending, self._pending = self._pending, None
        for piece in pending or ():
            upstream.send_body(piece)
        if self.request_ended:
            self.request_end()
        elif not self.upstream_blocked:
            self.client.resume_request()

    def response_head(self, head: ResponseHead, length: int | None) -> None:
        """The response's head; 1xx may come before the final one.

        Raises:
            BadResponse: it cannot be passed on.
        """
        if head.status < 200:
            if head.status != 100 and self.head.version >= HTTP_1_1:
                self.client.send_informational(head)
            return
        if self.tunnel:
            self._check_refusal(head)
        self.deadline = NEVER
        self.response_started = True
        self.status = head.status
        self.client.send_head(self._to_client(head), length)

    def response_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        """A whole final response; the connection has already been given back."""
        self._upstream = None
        if self.tunnel:
            try:
                self._check_refusal(head)
            except BadResponse as error:
                self.upstream_failed(error, untouched=False)
                self.client.flush()
                return
        self.response_started = True
        self.status = head.status
        self.sent = len(data)
        self.done = True
        services = self._services
        if services.access_log is not None:
            services.access_log(self)
        client = self.client
        client.send_whole(self._to_client(head), length, data)
        client.flush()

    def response_upgrade(self, head: ResponseHead) -> None:
        """The backend switched protocols, as it was asked to (RFC 9110 §7.8)."""
        self.deadline = NEVER
        self.response_started = True
        self.status = 101
        self._frames = FrameTracker()
        self.client.send_upgrade(head)
        upstream = self._upstream
        if upstream is None:
            return
        pending, self._pending = self._pending, None
        if pending:
            for piece in pending:
                upstream.send(piece)
            if not self.upstream_blocked:
                self.client.resume_request()
        if self._tunnel_ended:
            upstream.send_eof()
        if self._leaving:
            self.stop_tunnel()

    def response_data(self, data: bytes | memoryview) -> None:
        """A piece of the response body, decoded; or bytes through the tunnel."""
        self.sent += len(data)
        self.client.send_data(data)

    def response_end(self, trailers: Trailers = ()) -> None:
        """The response is complete; the connection has already been given back."""
        self._upstream = None
        self._finish()
        self.client.send_end(trailers)

    def tunnel_received(self, data: bytes | memoryview) -> None:
        """Bytes from the backend after the protocol was switched."""
        self.sent += len(data)
        if self._said_goodbye:
            return
        self._frames.follow(data)
        self.client.send_data(data)
        if self._leaving:
            self.stop_tunnel()

    def response_tunnel_end(self) -> None:
        """The backend sends no more through the tunnel."""
        self._said_goodbye = True  # nothing may follow the end
        self.client.send_tunnel_end()

    def tunnel_closed(self) -> None:
        """Both directions of the tunnel have ended, or one of them broke."""
        self._upstream = None
        if not self.done:
            self._finish()
            self.client.send_end()

    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None:
        """No response can be had, or the one that began cannot be completed.

        Args:
            error: why; UpstreamError carries the status, anything else is a 502.
            untouched: no byte of a response had come when it failed.
        """
        upstream = self._upstream
        if upstream is not None:
            upstream.failed = True
        self._drop_upstream()
        if self.done:
            return
        if self.response_started:
            logger.warning(
                "%s: %s: response cut short: %s", self._what(), self.upstream_name, error
            )
            self._reset_client()
            return
        if untouched and upstream is not None and self._may_repeat(error):
            self._acquire(upstream)
            return
        status = error.status if isinstance(error, UpstreamError) else 502
        logger.warning("%s: %d: %s: %s", self._what(), status, self._target_name(), error)
        self.refuse(status, close=not self.request_ended)

    def upstream_writable(self, writable: bool) -> None:
        """The backend takes the request too slowly, or takes it again."""
        self.upstream_blocked = not writable
        if self.request_ended and not self.tunnel:
            return
        if writable:
            self.client.resume_request()
        else:
            self.client.pause_request()

    def flush(self) -> None:
        """End of what one event of the upstream connection brought."""
        self.client.flush()

    # -- inside --------------------------------------------------------------------------------

    def _check_refusal(self, head: ResponseHead) -> None:
        """The answer to an upgrade is no 101. Raises BadResponse when it cannot be passed on."""
        self.tunnel = False
        self._pending = None
        if self.head.version == HTTP_2 and head.status < 300:
            # RFC 8441 §5: any 2xx would say that there is a tunnel.
            raise BadResponse(f"the upstream answered a WebSocket with {head.status}")

    def _to_client(self, head: ResponseHead) -> ResponseHead:
        """The backend's head as it goes on."""
        plan = self._plan
        if plan is not None and plan.changes_response:
            head = plan.route.response_rules.apply(head)
        return head if head.fields.dated else with_date(head, self._services.date())

    def _acquire(self, failed: UpstreamSide | None = None) -> None:
        assert self._plan is not None
        self.attempts += 1
        self._plan.route.pool.acquire(self, failed)

    def _end_body(self, upstream: UpstreamSide) -> None:
        upstream.end_body()
        if not self.response_started:
            services = self._services
            self.deadline = services.clock.now + services.limits.upstream_response_timeout

    def _is_waited_for(self) -> bool:
        # RFC 9110 §10.1.1: not when the body is coming already, and never to HTTP/1.0.
        return not self.received and self.attempts == 1 and self.head.version >= HTTP_1_1

    def _is_grpc(self) -> bool:
        if self.head.version != HTTP_2:
            return False
        content_type = self.head.fields.get(b"content-type") or b""
        return content_type.startswith(_GRPC) and content_type[len(_GRPC) :][:1] in _AFTER_GRPC

    def _is_grpc_stream(self) -> bool:
        """A call that may be quiet for as long as both sides like: they have deadlines.

        The backend's connection is asked for a sign of life meanwhile, and so is the client's.
        Beside HTTP/1.1 backends a stream would hold up a whole connection.
        """
        return self._upstream is not None and self._upstream.multiplexed and self._is_grpc()

    def _may_repeat(self, error: UpstreamError | ProtocolError) -> bool:
        return (
            self.attempts < _MAX_ATTEMPTS
            and (self.head.method in _IDEMPOTENT or isinstance(error, UpstreamRefusal))
            and not self.received
            and not self.tunnel
        )

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self.upstream_blocked = False
            upstream.discard()
        elif self._plan is not None:
            self._plan.route.pool.withdraw(self)

    def _reset_client(self) -> None:
        self._finish()
        self.client.reset()

    def _finish(self) -> None:
        self.done = True
        self._pending = None
        access_log = self._services.access_log
        if access_log is not None:
            access_log(self)

    def _target_name(self) -> str:
        return self.upstream_name or (self._plan.route.pool.name if self._plan else "")

    def _what(self) -> str:
        target = self.head.target.partition(b"?")[0].decode("ascii", "replace")
        return f"{self.head.method.decode('ascii')} {self.head.fields.host_name}{target}"
