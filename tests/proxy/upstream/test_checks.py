"""Tests of proxy.upstream.checks, over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from proxy.clock import CoarseClock
from proxy.config.addresses import TcpAddress
from proxy.http.engine import make_engine
from proxy.http.head import HeadReader
from proxy.limits import READ_BYTES, Limits
from proxy.upstream.balance import DOWN, UP
from proxy.upstream.health import ActivePolicy, StatusRanges
from proxy.upstream.options import PoolOptions, PoolShared
from proxy.upstream.pool import Pool

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILING = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


class Backend:
    """Answers every request with the bytes it was told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer = OK
        self.asked: list[bytes] = []
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            async with self.changed:
                self.asked.append(head)
                self.changed.notify_all()
        finally:
            writer.close()

    async def next_check(self) -> None:
        seen = len(self.asked)
        await self.until(lambda: len(self.asked) > seen)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(condition)


@asynccontextmanager
async def checking(policy: ActivePolicy) -> AsyncIterator[tuple[Backend, Pool]]:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limits = Limits()
    clock = CoarseClock(asyncio.get_running_loop().time())
    reader = HeadReader(make_engine("httptools", limits.header_bytes), limits)
    buffer = memoryview(bytearray(READ_BYTES))
    shared = PoolShared(reader, limits, clock, random.random, buffer)
    pool = Pool((TcpAddress("127.0.0.1", port),), shared, PoolOptions(active=policy))
    tasks = [asyncio.ensure_future(check) for check in pool.start_checks()]
    try:
        yield backend, pool
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        await server.wait_closed()


def condition_of(pool: Pool) -> int:
    return pool._states[0].condition


async def test_a_good_backend_is_asked_politely() -> None:
    policy = ActivePolicy(path="/health", host="api.test", interval=0.01)
    async with checking(policy) as (backend, pool):
        await backend.until(lambda: len(backend.asked) >= 2)
        assert backend.asked[0].startswith(b"GET /health HTTP/1.1\r\nHost: api.test\r\n")
        assert condition_of(pool) == UP


@pytest.mark.parametrize(
    "answer", [FAILING, b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"]
)
async def test_a_bad_one_goes_out_and_comes_back(answer: bytes) -> None:
    policy = ActivePolicy(interval=0.01, rise=2, fall=2, timeout=5)
    async with checking(policy) as (backend, pool):
        backend.answer = answer
        async with asyncio.timeout(20):
            while condition_of(pool) != DOWN:
                await backend.next_check()
        backend.answer = OK
        async with asyncio.timeout(20):
            while condition_of(pool) != UP:
                await backend.next_check()


async def test_other_statuses_may_be_expected() -> None:
    policy = ActivePolicy(interval=0.01, expected=StatusRanges.parse("500"))
    async with checking(policy) as (backend, pool):
        backend.answer = FAILING
        await backend.until(lambda: len(backend.asked) >= 3)
        assert condition_of(pool) == UP


async def test_a_check_is_not_counted_as_a_request() -> None:
    policy = ActivePolicy(interval=0.01)
    async with checking(policy) as (backend, pool):
        await backend.until(lambda: len(backend.asked) >= 3)
        assert pool._states[0].active == 0
