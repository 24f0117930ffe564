"""Opening connections to a backend that is there, is not there, says nothing, or nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.clock import CoarseClock
from proxy.config.addresses import H2cAddress, TcpAddress, UnixAddress
from proxy.errors import UpstreamTimeout, UpstreamUnavailable
from proxy.http.engine import make_engine
from proxy.http.head import HeadReader
from proxy.limits import READ_BYTES, Limits
from proxy.upstream.checks import CheckHome
from proxy.upstream.dial import open_http1, open_http2
from proxy.upstream.options import PoolShared
from tests.proxy.http.h2 import conversation as h2

pytestmark = pytest.mark.anyio

HOME = CheckHome("backend")


def shared(connect_timeout: float = 20.0) -> PoolShared:
    limits = Limits(upstream_connect_timeout=connect_timeout)
    reader = HeadReader(make_engine("h11", limits.header_bytes), limits)
    buffer = memoryview(bytearray(READ_BYTES))
    return PoolShared(reader, limits, CoarseClock(0.0), lambda: 0.5, buffer)


@asynccontextmanager
async def backend(says: bytes = b"") -> AsyncIterator[TcpAddress]:
    """Says this at once, and then waits for the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        while await reader.read(65536):
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])


async def closed_port() -> TcpAddress:
    async with backend() as address:
        return address


async def test_over_tcp_and_unix_sockets(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    path = str(tmp_path / "app.sock")
    async with backend() as address, await asyncio.start_unix_server(serve, path):
        for where in (address, UnixAddress(path)):
            connection = await open_http1(where, HOME, shared())
            assert connection.is_open
            connection.close_idle()


async def test_nobody_is_there(tmp_path: Path) -> None:
    address = await closed_port()
    with pytest.raises(UpstreamUnavailable, match="cannot connect: "):
        await open_http1(address, HOME, shared())
    with pytest.raises(UpstreamUnavailable, match="cannot connect: "):
        await open_http1(UnixAddress(str(tmp_path / "none.sock")), HOME, shared())
    with pytest.raises(UpstreamUnavailable, match="cannot connect: "):
        await open_http2(H2cAddress(address), HOME, shared())


async def test_http_2_is_ready_when_the_backend_has_said_its_settings() -> None:
    async with backend(h2.settings()) as address:
        connection = await open_http2(H2cAddress(address), HOME, shared())
        assert connection.capacity > 0
        connection.close()


async def test_a_backend_that_does_not_speak_http_2() -> None:
    async with backend(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        with pytest.raises(UpstreamUnavailable, match="it does not speak HTTP/2"):
            await open_http2(H2cAddress(address), HOME, shared())


async def test_a_backend_that_says_nothing_is_not_waited_for_long() -> None:
    async with backend() as address:
        with pytest.raises(UpstreamTimeout, match=r"no connection within 0\.01 s"):
            await open_http2(H2cAddress(address), HOME, shared(0.01))
