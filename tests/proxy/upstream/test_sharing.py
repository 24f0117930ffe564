"""Shared connections: few, opened one at a time, by whoever needs room first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from proxy.errors import UpstreamError, UpstreamUnavailable
from proxy.upstream.balance import UNLIMITED
from proxy.upstream.http2 import Http2UpstreamConnection
from proxy.upstream.http2_stream import UpstreamStream
from proxy.upstream.sharing import MOST_CONNECTIONS, SharedConnections, most_exchanges

pytestmark = pytest.mark.anyio


class Connection:
    """Stands for a connection with room for so many streams."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.closed = False
        self.swept: list[float] = []

    def new_stream(self) -> UpstreamStream:
        assert self.capacity
        self.capacity -= 1
        return cast(UpstreamStream, self)

    def close(self) -> None:
        self.closed = True

    def sweep(self, now: float) -> None:
        self.swept.append(now)


class Opener:
    """Opens connections when it is let."""

    def __init__(self, make: Callable[[], Connection] = lambda: Connection(2)) -> None:
        self.make = make
        self.made: list[Connection] = []
        self.asked = 0
        self.gate = asyncio.Event()
        self.shared = SharedConnections(self.open)

    async def open(self) -> Http2UpstreamConnection:
        self.asked += 1
        await self.gate.wait()
        connection = self.make()
        self.made.append(connection)
        return cast(Http2UpstreamConnection, connection)


async def settle() -> None:
    """Let the loop run what is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_wait_share_one_connect() -> None:
    opener = Opener()
    assert opener.shared.take() is None
    assert not opener.shared
    waiting = [asyncio.ensure_future(opener.shared.open()) for _ in range(5)]
    await settle()
    assert opener.asked == 1
    opener.gate.set()
    streams = await asyncio.gather(*waiting)
    assert opener.asked == 3
    counts = [streams.count(cast(UpstreamStream, connection)) for connection in opener.made]
    assert counts == [2, 2, 1]
    assert opener.shared.take() is cast(UpstreamStream, opener.made[2])
    assert "SharedConnections" in repr(opener.shared)


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    opener = Opener()
    gone, other = (asyncio.ensure_future(opener.shared.open()) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    opener.gate.set()
    assert await other is cast(UpstreamStream, opener.made[0])
    assert gone.cancelled()
    assert opener.shared


async def test_a_failure_is_told_to_all_and_the_next_one_tries_again() -> None:
    def fail() -> Connection:
        raise UpstreamUnavailable("refused")

    opener = Opener(fail)
    opener.gate.set()
    results = await asyncio.gather(
        *(opener.shared.open() for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, UpstreamUnavailable) for result in results)
    assert opener.asked == 1
    opener.make = lambda: Connection(1)
    await opener.shared.open()


async def test_a_failure_that_nobody_waits_for_is_not_lost_on_the_loop() -> None:
    def fail() -> Connection:
        raise UpstreamUnavailable("refused")

    opener = Opener(fail)
    alone = asyncio.ensure_future(opener.shared.open())
    await settle()
    alone.cancel()
    opener.gate.set()
    await settle()
    assert opener.asked == 1


async def test_a_server_that_takes_no_streams_is_given_up() -> None:
    opener = Opener(lambda: Connection(0))
    opener.gate.set()
    with pytest.raises(UpstreamError, match="no more streams"):
        await opener.shared.open()
    assert opener.asked == MOST_CONNECTIONS
    assert all(connection.closed for connection in opener.made)
    assert not opener.shared


async def test_gone_swept_and_closed() -> None:
    opener = Opener()
    opener.gate.set()
    for _ in range(3):
        await opener.shared.open()
    one, other = opener.made
    opener.shared.sweep(7.0)
    assert one.swept == other.swept == [7.0]
    for _ in range(2):
        opener.shared.gone(cast(Http2UpstreamConnection, one))
    opener.gate.clear()
    waiting = [asyncio.ensure_future(opener.shared.open()) for _ in range(2)]
    await settle()
    opener.shared.close()
    assert (one.closed, other.closed) == (False, True)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)


def test_what_an_upstream_carries() -> None:
    assert most_exchanges(0) == MOST_CONNECTIONS * 100 < UNLIMITED
    assert most_exchanges(5) == 5
    assert most_exchanges(0, 1) == MOST_CONNECTIONS
    assert most_exchanges(7, 0) == 0
