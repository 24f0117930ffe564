"""Tests of proxy.upstream.upstream: what one upstream does with its connections, without a pool."""

from __future__ import annotations

import pytest

from proxy.config.addresses import H2cAddress, TcpAddress
from proxy.upstream.balance import SUSPENDED, UP
from proxy.upstream.health import PassivePolicy
from proxy.upstream.http1 import UpstreamConnection
from proxy.upstream.options import PoolOptions
from proxy.upstream.upstream import Upstream
from tests.proxy.bench import FakeTransport, make_shared


class Owner:
    """Stands for the pool."""

    def __init__(self, options: PoolOptions | None = None) -> None:
        self.options = options or PoolOptions()
        self.shared = make_shared()
        self.most_idle = 2
        self.queue: list[str] = []
        self.served = 0
        self.left: list[Upstream] = []

    def serve_queue(self) -> None:
        self.served += 1

    def released(self, upstream: Upstream) -> None:
        self.left.append(upstream)

    def sweep(self, now: float) -> None: ...
    def close(self) -> None: ...


class Bench:
    """An upstream and its connections."""

    def __init__(self, options: PoolOptions | None = None) -> None:
        self.owner = Owner(options)
        self.upstream = Upstream(TcpAddress("backend", 80), self.owner, 1)

    def connection(self) -> UpstreamConnection:
        connection = UpstreamConnection(self.upstream, self.owner.shared)
        connection.connection_made(FakeTransport())
        return connection

    def kept(self) -> UpstreamConnection:
        connection = self.connection()
        self.upstream.keep(connection)
        return connection


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_connection_used_last_is_taken_first(bench: Bench) -> None:
    first, second = bench.kept(), bench.kept()
    assert bench.upstream.take(fresh=False) is second
    assert bench.upstream.take(fresh=True) is None, "both have been idle"
    assert bench.upstream.take(fresh=False) is first
    assert bench.upstream.take(fresh=False) is None


def test_a_pool_with_an_idle_connection_is_awake(bench: Bench) -> None:
    assert not bench.upstream.is_busy
    bench.kept()
    assert bench.owner.shared.awake == {bench.owner}
    assert bench.upstream.is_busy


def test_one_too_many_and_the_oldest_is_closed(bench: Bench) -> None:
    connections = [bench.kept() for _ in range(3)]
    assert [connection.is_open for connection in connections] == [False, True, True]
    assert bench.upstream.idle == connections[1:]


def test_when_the_youngest_is_too_old_all_are_closed(bench: Bench) -> None:
    connections = [bench.kept(), bench.kept()]
    shared = bench.owner.shared
    shared.clock.now += shared.limits.upstream_idle_timeout
    assert bench.upstream.take(fresh=False) is None
    assert not any(connection.is_open for connection in connections)
    assert bench.upstream.idle == []


def test_what_comes_back_makes_room_for_who_waits(bench: Bench) -> None:
    bench.upstream.state.active = 2
    bench.upstream.give_back(bench.connection())
    assert (bench.upstream.state.active, bench.owner.served) == (1, 0), "nobody waits"
    bench.owner.queue.append("somebody")
    bench.upstream.give_back(bench.connection())
    assert (bench.upstream.state.active, bench.owner.served) == (0, 1)


def test_a_connection_that_closes_has_left_only_when_it_was_in_use(bench: Bench) -> None:
    idle, used, unused = bench.kept(), bench.connection(), bench.connection()
    used.uses = 1
    for connection in (idle, unused, used):
        bench.upstream.forget(connection)
    assert bench.upstream.idle == []
    assert bench.owner.left == [bench.upstream]


def test_failures_suspend_it() -> None:
    bench = Bench(PoolOptions(passive=PassivePolicy(failures=2)))
    for condition in (UP, SUSPENDED):
        connection = bench.connection()
        connection.failed = True
        bench.upstream.health.request_started()
        bench.upstream.ended(connection)
        assert bench.upstream.state.condition == condition
    assert bench.owner.left == [bench.upstream] * 2


def test_a_backend_says_how_many_streams_it_takes() -> None:
    owner = Owner()
    upstream = Upstream(H2cAddress(TcpAddress("backend", 80)), owner, 1)
    unlimited = upstream.state.limit
    upstream.streams_allowed(1)
    assert 0 < upstream.state.limit < unlimited
    assert owner.served == 1
    assert upstream.take(fresh=False) is None, "there is no connection yet"
