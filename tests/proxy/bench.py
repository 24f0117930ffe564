"""The data plane on a bench: a client, a proxy connection and backends, without sockets.

Everything between the client's plaintext and the backend's bytes is the real thing; only what
touches the loop is not: :class:`FakeChannel` stands for the client's connection,
:class:`FakeTransport` for a backend's socket, :class:`FakePool` for the pool. Time is a number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Literal, cast

from proxy.client import ClientInfo
from proxy.clock import CoarseClock
from proxy.downstream.http1 import Http1Connection
from proxy.errors import UpstreamError
from proxy.exchange import Exchange, Services
from proxy.forwarding import Forwarding
from proxy.http.engine import EngineName, make_engine
from proxy.http.head import HeadReader
from proxy.limits import READ_BYTES, Limits
from proxy.routing import Route, SiteRoutes
from proxy.upstream.http1 import UpstreamConnection
from proxy.upstream.http2_stream import UpstreamSide
from proxy.upstream.options import PoolShared
from proxy.upstream.pool import Pool, Waiter

ENGINES: Final[tuple[EngineName, ...]] = ("h11", "httptools")
How = Literal["whole", "bytes"]
HOWS: Final[tuple[How, ...]] = ("whole", "bytes")


def pieces(data: bytes, how: How) -> Iterator[bytes]:
    """The data in reads as large as they can be, or byte by byte."""
    size = READ_BYTES if how == "whole" else 1
    for position in range(0, len(data), size):
        yield data[position : position + size]


class FakeChannel:
    """The client's connection: notes what is done to it."""

    def __init__(self, info: ClientInfo) -> None:
        self.info = info
        self.written = bytearray()
        self.writes = 0
        self.eof = False
        self.closed = False
        self.aborted = False
        self.paused = False
        self.waiting = 0

    def write(self, data: bytes | memoryview) -> None:
        assert not self.closed, "written after the end"
        assert not self.eof, "written after EOF"
        if not self.aborted:
            self.written += data
            self.writes += 1

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def is_paused(self) -> bool:
        return self.paused

    def unsent(self) -> int:
        return self.waiting

    @property
    def is_open(self) -> bool:
        return not (self.closed or self.aborted)


class FakeTransport(asyncio.Transport):
    """A socket: a backend's, or a client's."""

    def __init__(self, extra: dict[str, object] | None = None) -> None:
        super().__init__(extra)
        self.written = bytearray()
        self.waiting = 0
        self.eof = False
        self.closed = False
        self.aborted = False
        self.paused = False
        self.on_write: Callable[[], None] = lambda: None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof, "written after EOF"
        self.written += data
        self.on_write()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def is_paused(self) -> bool:
        return self.paused

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def make_shared(limits: Limits | None = None) -> PoolShared:
    """What pools share, for those that need no engine or time of their own."""
    limits = limits or Limits()
    reader = HeadReader(make_engine("httptools", limits.header_bytes), limits)
    buffer = memoryview(bytearray(READ_BYTES))
    return PoolShared(reader, limits, CoarseClock(1000.0), lambda: 0.5, buffer)


class Backend:
    """One connection to a backend: what it got, and what it says."""

    def __init__(self, home: FakePool, shared: PoolShared) -> None:
        self.transport = FakeTransport()
        self.connection = UpstreamConnection(home, shared)
        self.connection.connection_made(self.transport)
        self._buffer = shared.read_buffer

    @property
    def got(self) -> bytes:
        return bytes(self.transport.written)

    @property
    def is_open(self) -> bool:
        return not self.transport.is_closing()

    def says(self, data: bytes, how: How = "whole") -> None:
        for piece in pieces(data, how):
            if not self.is_open:
                return
            memory = self.connection.get_buffer(-1)
            memory[: len(piece)] = piece
            self.connection.buffer_updated(len(piece))
            memory[: len(piece)] = b"\xee" * len(piece)  # nobody may look at it later

    def closes(self) -> None:
        if self.is_open and not self.connection.eof_received():
            self.connection.connection_lost(None)

    def resets(self) -> None:
        self.connection.connection_lost(ConnectionResetError("reset by the backend"))


class FakePool:
    """Hands out backends at once, or when it is told to; is their home too."""

    name = "backend:80"

    def __init__(self, shared: PoolShared) -> None:
        self.shared = shared
        self.backends: list[Backend] = []
        self.idle: list[Backend] = []
        self.waiters: list[Waiter] = []
        self.calls: list[str] = []
        self.holds = False
        self.on_new: Callable[[Backend], None] = lambda backend: None

    @property
    def last(self) -> Backend:
        return self.backends[-1]

    def ready(self) -> UpstreamConnection | None:
        if self.holds or not self.idle:
            return None
        self.calls.append("acquire")
        return self.idle.pop().connection

    def acquire(self, waiter: Waiter, failed: UpstreamSide | None = None) -> None:
        self.calls.append("again" if failed else "acquire")
        self.waiters.append(waiter)
        if not self.holds:
            self.serve()

    def serve(self) -> None:
        """Give a connection to who waits."""
        waiter = self.waiters.pop(0)
        if self.idle and self.calls[-1] == "acquire":
            backend = self.idle.pop()
        else:
            backend = Backend(self, self.shared)
            self.backends.append(backend)
            self.on_new(backend)
        waiter.attach(backend.connection)

    def refuse(self, error: UpstreamError) -> None:
        """Tell who waits that there is no connection."""
        waiter = self.waiters.pop(0)
        waiter.upstream_failed(error, untouched=True)
        waiter.flush()

    def withdraw(self, waiter: Waiter) -> None:
        self.calls.append("withdraw")
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def give_back(self, connection: UpstreamConnection) -> None:
        self.calls.append("give back")
        self.idle += [backend for backend in self.backends if backend.connection is connection]

    def forget(self, connection: UpstreamConnection) -> None:
        self.calls.append("failed" if connection.failed else "forget")
        self.idle = [backend for backend in self.idle if backend.connection is not connection]


class AtOnce:
    """The turns of a loop, taken at once, one after the other."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._running = False

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)
        if self._running:
            return
        self._running = True
        while self._waiting:
            self._waiting.pop(0)()
        self._running = False


class Bench:
    """A proxy with one client connection and one route."""

    def __init__(
        self,
        *,
        engine: EngineName = "httptools",
        limits: Limits | None = None,
        route_body_bytes: int = 0,
        prefix: bytes = b"",
        strip: bool = False,
        application: Callable[[Exchange], None] | None = None,
        call_soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.clock = CoarseClock(1000.0)
        self.reader = HeadReader(make_engine(engine, self.limits.header_bytes), self.limits)
        self.shared = PoolShared(
            self.reader, self.limits, self.clock, lambda: 0.5, memoryview(bytearray(READ_BYTES))
        )
        self.pool = FakePool(self.shared)
        self.finished: list[Exchange] = []
        self.services = Services(
            limits=self.limits,
            clock=self.clock,
            time=lambda: self.clock.now,
            access_log=self._finished,
            wall=lambda: 0.0,
            call_soon=call_soon or AtOnce().call_soon,
        )
        route = Route(prefix, cast(Pool, self.pool), strip, route_body_bytes)
        self.site = SiteRoutes(("front.test",), [route])
        self.route = route
        self._application = application or self._forward
        self.connect()

    def connect(self) -> None:
        """A new client connection."""
        self.channel = FakeChannel(ClientInfo("1.2.3.4", 5678, "https", "10.0.0.1", 443))
        self.http = Http1Connection(self.channel, self.services, self.reader, self._application)

    def _finished(self, exchange: Exchange) -> None:
        self.finished.append(exchange)

    def _forward(self, exchange: Exchange) -> None:
        head = exchange.head
        if head.fields.host_name != "front.test":
            exchange.refuse(421)
        elif head.method in (b"TRACE", b"CONNECT"):
            exchange.refuse(405)
        else:
            exchange.forward(Forwarding(self, head, self.site, self.route))

    @property
    def backend(self) -> Backend:
        return self.pool.last

    @property
    def got(self) -> bytes:
        """What the client got so far."""
        return bytes(self.channel.written)

    def client(self, data: bytes, how: How = "whole") -> None:
        """The client sends."""
        for piece in pieces(data, how):
            if not self.channel.is_open:
                return
            self.http.receive(piece)
            self.http.flush()

    def client_closes(self) -> None:
        self.http.receive_eof()
        self.http.flush()

    def client_vanishes(self) -> None:
        """As when a reset came: no more writing."""
        self.channel.aborted = True
        self.http.connection_lost()

    def client_stops_reading(self, unsent: int = 100_000) -> None:
        self.channel.waiting = unsent
        self.http.pause_writing()

    def client_reads(self) -> None:
        self.channel.waiting = 0
        self.http.resume_writing()

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        if self.channel.is_open:
            self.http.sweep(self.clock.now)

    def take(self) -> bytes:
        """What the client got since the last time."""
        data = bytes(self.channel.written)
        self.channel.written.clear()
        return data
