"""The pool: reuse, limits, queue, fail-over; with transports of ours, then with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from proxy.client import ClientInfo
from proxy.config.addresses import TcpAddress, UnixAddress, UpstreamAddress
from proxy.errors import ProtocolError, UpstreamError, UpstreamUnavailable
from proxy.http.head import RequestHead, ResponseHead
from proxy.limits import Limits
from proxy.upstream import pool as pool_module
from proxy.upstream.balance import DOWN, SUSPENDED, UP
from proxy.upstream.health import PassivePolicy
from proxy.upstream.http1 import Home, UpstreamConnection
from proxy.upstream.http2_stream import UpstreamSide
from proxy.upstream.options import PoolOptions
from proxy.upstream.pool import Pool
from proxy.upstream.upstream import Upstream
from tests.proxy.bench import FakeTransport, make_shared

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LONG = 20.0  # seconds until a test that waits for nothing gives up
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Waiter:
    """Stands for an exchange."""

    tunnel = False

    def __init__(self, pool: Pool, *lines: bytes, address: str = "1.2.3.4") -> None:
        self.pool = pool
        block = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n"
        self.head: RequestHead = pool.shared.reader.request(block)
        self.info = ClientInfo(address, 5678, "https", "10.0.0.1", 443)
        self.request_head = REQUEST
        self.done = False
        self.connection: UpstreamConnection | None = None
        self.error: UpstreamError | ProtocolError | None = None
        self.answer: int | None = None
        self.settled = asyncio.Event()
        self.on_attach: Callable[[], None] = lambda: None

    def attach(self, upstream: UpstreamSide) -> None:
        assert not self.done
        assert self.connection is None
        assert isinstance(upstream, UpstreamConnection)
        self.connection = upstream
        upstream.request(self)
        self.settled.set()
        self.on_attach()

    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None:
        self.error = error
        self.done = True
        self.settled.set()

    def response_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        self.answer = head.status
        self.done = True
        self.settled.set()

    def response_head(self, head: ResponseHead, length: int | None) -> None: ...
    def response_upgrade(self, head: ResponseHead) -> None: ...
    def response_data(self, data: bytes | memoryview) -> None: ...
    def response_end(self) -> None: ...
    def response_tunnel_end(self) -> None: ...
    def tunnel_closed(self) -> None: ...
    def tunnel_received(self, data: bytes | memoryview) -> None: ...
    def upstream_writable(self, writable: bool) -> None: ...
    def flush(self) -> None: ...

    @property
    def state(self) -> str:
        if self.error is not None:
            return f"refused {getattr(self.error, 'status', 502)}"
        if self.answer is not None:
            return f"answered {self.answer}"
        return "attached" if self.connection else "waiting"

    def leave(self) -> None:
        """The client goes."""
        if self.connection is not None:
            self.connection.discard()
        else:
            self.pool.withdraw(self)
        self.done = True


class BenchPool(Pool):
    """Opens transports of ours; ``broken`` upstreams refuse; ``gate`` holds all connecting."""

    def __init__(
        self, count: int, options: PoolOptions | None = None, limits: Limits | None = None
    ) -> None:
        addresses = tuple(TcpAddress("backend", port) for port in range(1, count + 1))
        super().__init__(addresses, make_shared(limits), options)
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: set[str] = set()
        self.tried: list[str] = []

    async def _open(self, upstream: Upstream, home: Home) -> UpstreamConnection:
        self.tried.append(upstream.name)
        await self.gate.wait()
        if upstream.name in self.broken:
            raise UpstreamUnavailable("refused")
        connection = UpstreamConnection(home, self.shared)
        connection.connection_made(FakeTransport())
        return connection

    def waiter(self, *lines: bytes, address: str = "1.2.3.4") -> Waiter:
        waiter = Waiter(self, *lines, address=address)
        self.acquire(waiter)
        return waiter

    async def attached(self, *lines: bytes, address: str = "1.2.3.4") -> Waiter:
        waiter = self.waiter(*lines, address=address)
        async with asyncio.timeout(LONG):
            await waiter.settled.wait()
        return waiter

    @property
    def active(self) -> list[int]:
        return [upstream.state.active for upstream in self._upstreams]

    @property
    def idle(self) -> list[int]:
        return [len(upstream.idle) for upstream in self._upstreams]

    def upstream(self, number: int = 0) -> Upstream:
        return self._upstreams[number]


def answer(waiter: Waiter, response: bytes = OK) -> None:
    connection = waiter.connection
    assert connection is not None
    waiter.settled.clear()
    connection.get_buffer(-1)[: len(response)] = response
    connection.buffer_updated(len(response))
    assert waiter.settled.is_set()


def condition(pool: BenchPool) -> int:
    return pool.upstream().state.condition


def transport_of(connection: UpstreamConnection | None) -> FakeTransport:
    assert connection is not None
    assert isinstance(connection._transport, FakeTransport)
    return connection._transport


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


# -- reuse -------------------------------------------------------------------------------------


async def test_a_connection_is_kept_and_used_again() -> None:
    pool = BenchPool(1)
    first = await pool.attached()
    assert (pool.active, pool.idle) == ([1], [0])
    answer(first)
    assert (pool.active, pool.idle) == ([0], [1])
    second = pool.waiter()
    assert second.connection is first.connection
    assert (pool.active, pool.idle) == ([1], [0])
    assert len(pool.tried) == 1


async def test_the_connection_used_last_is_taken_first() -> None:
    pool = BenchPool(1)
    waiters = [await pool.attached() for _ in range(3)]
    for waiter in waiters:
        answer(waiter)
    assert pool.waiter().connection is waiters[2].connection
    assert pool.waiter().connection is waiters[1].connection


@pytest.mark.parametrize("count", [1, 2])
async def test_idle_connections_are_closed_before_the_backend_would(count: int) -> None:
    pool = BenchPool(count)
    old = await pool.attached()
    answer(old)
    pool.shared.clock.now += 3.9
    pool.sweep(pool.shared.clock.now)
    assert sum(pool.idle) == 1
    pool.shared.clock.now += 0.2
    pool.sweep(pool.shared.clock.now)
    assert sum(pool.idle) == 0
    assert transport_of(old.connection).closed
    assert pool not in pool.shared.awake


async def test_too_old_connections_are_not_taken_even_before_the_sweep() -> None:
    pool = BenchPool(2)
    waiters = [await pool.attached() for _ in range(4)]
    for waiter in waiters:
        answer(waiter)
    pool.shared.clock.now += 4.1
    await pool.attached()
    await pool.attached()
    assert sum(pool.idle) == 0
    assert len(pool.tried) == 6


async def test_the_number_of_idle_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_IDLE_CONNECTIONS", 2)
    pool = BenchPool(1)
    waiters = [await pool.attached() for _ in range(5)]
    for waiter in waiters:
        answer(waiter)
    assert pool.idle == [2]
    assert pool.active == [0], "each exchange is counted out once"
    closed = [transport_of(waiter.connection).closed for waiter in waiters]
    assert closed == [True, True, True, False, False]


async def test_an_idle_connection_that_ends_is_forgotten_once() -> None:
    pool = BenchPool(1)
    waiter = await pool.attached()
    answer(waiter)
    assert waiter.connection is not None
    waiter.connection.eof_received()
    waiter.connection.connection_lost(None)
    assert (pool.active, pool.idle) == ([0], [0])
    assert pool.upstream().state.condition == UP


# -- limits and the queue ----------------------------------------------------------------------


async def test_who_finds_no_room_waits_in_turn() -> None:
    pool = BenchPool(1, PoolOptions(connections=1))
    first = await pool.attached()
    second, third = pool.waiter(), pool.waiter()
    assert [second.state, third.state] == ["waiting"] * 2
    answer(first)
    assert [second.state, third.state] == ["attached", "waiting"]
    assert second.connection is first.connection
    answer(second)
    assert third.state == "attached"
    answer(third)
    assert (pool.active, pool.idle) == ([0], [1])


async def test_the_queue_is_bounded() -> None:
    pool = BenchPool(1, PoolOptions(connections=1, queue=2))
    await pool.attached()
    waiters = [pool.waiter() for _ in range(3)]
    assert [waiter.state for waiter in waiters] == ["waiting", "waiting", "refused 503"]


async def test_waiting_has_a_limit() -> None:
    pool = BenchPool(1, PoolOptions(connections=1, queue_timeout=10))
    await pool.attached()
    early = pool.waiter()
    pool.shared.clock.now += 5
    late = pool.waiter()
    pool.shared.clock.now += 5
    pool.sweep(pool.shared.clock.now)
    assert [early.state, late.state] == ["refused 503", "waiting"]
    assert pool in pool.shared.awake


async def test_who_leaves_the_queue_is_passed_over() -> None:
    pool = BenchPool(1, PoolOptions(connections=1))
    first = await pool.attached()
    gone, other, stays = pool.waiter(), pool.waiter(), pool.waiter()
    gone.leave()
    other.done = True
    answer(first)
    assert [gone.state, other.state, stays.state] == ["waiting", "waiting", "attached"]


async def test_a_client_that_leaves_while_connecting_hands_the_connection_on() -> None:
    pool = BenchPool(1, PoolOptions(connections=1))
    pool.gate.clear()
    gone, waiting = pool.waiter(), pool.waiter()
    await settle()
    gone.leave()
    pool.gate.set()
    await settle()
    assert waiting.state == "attached", "the queue must not wait for a release that never comes"
    assert (pool.active, pool.idle) == ([1], [0])
    assert len(pool.tried) == 1


async def test_a_client_that_leaves_while_its_upstream_fails_tries_no_other() -> None:
    pool = BenchPool(2)
    pool.broken = {"backend:1", "backend:2"}
    pool.gate.clear()
    gone = pool.waiter()
    await settle()
    gone.leave()
    pool.gate.set()
    await settle()
    assert len(pool.tried) == 1
    assert pool.active == [0, 0]


async def test_leaving_in_use_frees_the_room() -> None:
    pool = BenchPool(1, PoolOptions(connections=1))
    first = await pool.attached()
    second = pool.waiter()
    first.leave()
    await settle()
    assert second.state == "attached"
    assert second.connection is not first.connection
    assert pool.active == [1]


async def test_the_queue_moves_when_an_upstream_comes_back_with_nobody_on_it() -> None:
    pool = BenchPool(1, PoolOptions(connections=1))
    first = await pool.attached()
    second = pool.waiter()
    pool.upstream().state.condition = DOWN
    answer(first)
    assert second.state == "waiting"
    pool.upstream().state.condition = UP
    pool.sweep(pool.shared.clock.now)
    await settle()
    assert second.state == "attached"


async def test_starting_one_waiter_may_free_room_for_the_next() -> None:
    pool = BenchPool(1, PoolOptions(connections=1))
    first = await pool.attached()
    second, third = pool.waiter(), pool.waiter()
    second.on_attach = second.leave
    answer(first)
    await settle()
    assert third.state == "attached"
    assert pool.active == [1]


async def test_all_upstreams_down_is_503_at_once() -> None:
    pool = BenchPool(2)
    for number in range(2):
        pool.upstream(number).state.condition = DOWN
    assert pool.waiter().state == "refused 503"


# -- fail-over ---------------------------------------------------------------------------------


async def test_an_upstream_that_refuses_is_passed_over() -> None:
    pool = BenchPool(3)
    pool.broken = {"backend:1", "backend:2"}
    waiters = [await pool.attached() for _ in range(3)]
    assert [waiter.state for waiter in waiters] == ["attached"] * 3
    assert pool.active == [0, 0, 3]


async def test_each_upstream_is_tried_once() -> None:
    for options in (None, PoolOptions(policy="hash"), PoolOptions(policy="least_connections")):
        pool = BenchPool(4, options)
        pool.broken = {f"backend:{number}" for number in range(1, 5)}
        waiter = await pool.attached()
        assert waiter.state == "refused 502"
        assert sorted(pool.tried) == sorted(pool.broken)
        assert pool.active == [0] * 4


async def test_failures_suspend_an_upstream_and_time_brings_it_back() -> None:
    pool = BenchPool(1, PoolOptions(passive=PassivePolicy(failures=2, within=10, out_for=10)))
    pool.broken = {"backend:1"}
    for _ in range(2):
        assert (await pool.attached()).state == "refused 502"
    assert pool.upstream().state.condition == SUSPENDED
    assert pool in pool.shared.awake
    pool.broken.clear()
    pool.shared.clock.now += 10
    pool.sweep(pool.shared.clock.now)
    assert pool.upstream().state.condition == UP
    answer(await pool.attached())
    assert pool.upstream().health.quiet


async def test_a_try_that_ends_without_a_verdict_is_given_to_the_next() -> None:
    """The half-open upstream got its one try, and that client left while we connected."""
    pool = BenchPool(2, PoolOptions(passive=PassivePolicy(failures=1, within=10, out_for=10)))
    pool.upstream().failed()
    pool.shared.clock.now += 10
    pool.sweep(pool.shared.clock.now)
    pool.upstream(1).state.condition = DOWN
    pool.gate.clear()
    gone = pool.waiter()
    await settle()
    assert condition(pool) == SUSPENDED, "the try is taken"
    gone.leave()
    pool.gate.set()
    await settle()
    assert condition(pool) == UP, "and free again"


async def test_a_failed_idle_connection_says_nothing_against_the_backend() -> None:
    pool = BenchPool(1, PoolOptions(passive=PassivePolicy(failures=1, within=10, out_for=10)))
    answer(await pool.attached())
    waiter = pool.waiter()
    assert waiter.connection is not None
    waiter.connection.connection_lost(ConnectionResetError())
    assert pool.upstream().state.condition == UP
    assert pool.active == [0]


async def test_a_repeated_request_gets_a_new_connection_to_another_upstream() -> None:
    pool = BenchPool(2)
    waiters = [await pool.attached() for _ in range(4)]
    for waiter in waiters:
        answer(waiter)
    assert pool.idle == [2, 2]
    for _ in range(4):
        failed = waiters[0].connection
        assert failed is not None
        again = Waiter(pool)
        pool.acquire(again, failed)
        assert again.state == "waiting", "no idle one: they may be as dead"
        await again.settled.wait()
        assert again.connection is not None
        assert again.connection.home is not failed.home


async def test_a_repeated_request_gets_the_only_upstream_again() -> None:
    pool = BenchPool(1)
    waiters = [await pool.attached() for _ in range(2)]
    for waiter in waiters:
        answer(waiter)
    again = Waiter(pool)
    pool.acquire(again, waiters[0].connection)
    await again.settled.wait()
    assert again.connection not in (waiters[0].connection, waiters[1].connection)


# -- balancing ---------------------------------------------------------------------------------


async def test_upstreams_take_turns() -> None:
    pool = BenchPool(3)
    for _ in range(9):
        await pool.attached()
    assert pool.active == [3, 3, 3]


@pytest.mark.parametrize("by", ["address", "header", "cookie"])
async def test_hashing_sends_the_same_key_to_the_same_upstream(by: str) -> None:
    name = {"address": b"", "header": b"x-user", "cookie": b"user"}[by]
    options = PoolOptions(policy="hash", hash_by=by, hash_name=name)  # type: ignore[arg-type]
    pool = BenchPool(5, options)
    homes = set()
    for number in range(40):
        key = b"%d" % (number % 8)
        lines = (b"X-User: " + key, b"Cookie: a=b; user=" + key)
        waiter = await pool.attached(*lines, address=f"10.0.0.{number % 8}")
        assert waiter.connection is not None
        homes.add((number % 8, waiter.connection.name))
    assert len(homes) == 8
    assert len({home for _, home in homes}) > 1


# -- the end -----------------------------------------------------------------------------------


async def test_closing_tells_everyone_who_waits() -> None:
    pool = BenchPool(1, PoolOptions(connections=2))
    idle = await pool.attached()
    busy = await pool.attached()
    answer(idle)
    pool.gate.clear()
    pool.upstream().idle[0].close_idle()
    connecting = pool.waiter()
    queued = pool.waiter()
    await settle()
    pool.close()
    await settle()
    assert [connecting.state, queued.state] == ["refused 503"] * 2
    assert busy.state == "attached"
    assert pool.active == [1]


async def test_closing_closes_idle_connections() -> None:
    pool = BenchPool(1)
    waiter = await pool.attached()
    answer(waiter)
    pool.close()
    assert transport_of(waiter.connection).closed
    assert pool.idle == [0]


async def test_repr() -> None:
    pool = BenchPool(1)
    assert repr(pool) == (
        "<Pool [<Upstream <UpstreamState backend:1 up, active 0, weight 1> idle=0>] queued=0>"
    )


# -- real sockets ------------------------------------------------------------------------------

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
    except asyncio.IncompleteReadError:
        writer.close()


@asynccontextmanager
async def backend(handler: Handler = answering) -> AsyncIterator[TcpAddress]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])


async def closed_port() -> TcpAddress:
    async with backend() as address:
        return address


async def ask(pool: Pool) -> Waiter:
    waiter = Waiter(pool)
    pool.acquire(waiter)
    async with asyncio.timeout(LONG):
        await waiter.settled.wait()
        waiter.settled.clear()
        if waiter.connection is not None:
            await waiter.settled.wait()
    return waiter


async def test_over_tcp() -> None:
    async with backend() as address:
        pool = Pool((address,), make_shared())
        for _ in range(3):
            assert (await ask(pool)).state == "answered 200"
        pool.close()
        await settle()


async def test_over_a_unix_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    pool = Pool((UnixAddress(path),), make_shared())
    assert (await ask(pool)).state == "refused 502", "not there yet"
    server = await asyncio.start_unix_server(answering, path)
    async with server:
        assert (await ask(pool)).state == "answered 200"
        pool.close()
        await settle()


async def test_a_dead_upstream_is_passed_over() -> None:
    dead: UpstreamAddress = await closed_port()
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(backend())
        pool = Pool((dead, live), make_shared())
        for _ in range(4):
            assert (await ask(pool)).state == "answered 200"
        pool.close()
        await settle()


async def test_a_backend_that_closes_at_once() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with backend(closing) as address:
        pool = Pool((address,), make_shared())
        assert (await ask(pool)).state == "refused 502"
        assert pool._states[0].active == 0


async def test_connecting_has_a_limit() -> None:
    class Silent(Pool):
        async def _open(self, upstream: Upstream, home: Home) -> UpstreamConnection:
            loop = asyncio.get_running_loop()

            async def never(*args: object, **kwargs: object) -> None:
                await asyncio.Event().wait()

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "create_connection", never)
                return await super()._open(upstream, home)

    pool = Silent((TcpAddress("127.0.0.1", 1),), make_shared(Limits(upstream_connect_timeout=0.01)))
    assert (await ask(pool)).state == "refused 504"
