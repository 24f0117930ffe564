"""Opening connections to a backend: over TCP or a unix socket, HTTP/1.1 or HTTP/2, in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, cast

from proxy.config.addresses import H2cAddress, TcpAddress, UnixAddress
from proxy.errors import ProtocolError, UpstreamTimeout, UpstreamUnavailable
from proxy.upstream.http1 import Home, UpstreamConnection
from proxy.upstream.http1 import Shared as Http1Shared
from proxy.upstream.http2 import ConnectionHome, Http2UpstreamConnection
from proxy.upstream.http2 import Shared as Http2Shared


class Shared(Http1Shared, Http2Shared, Protocol):
    """What all upstream connections of a worker share."""


@asynccontextmanager
async def _connecting(timeout: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise UpstreamTimeout(f"no connection within {timeout:g} s") from error
    except OSError as error:
        raise UpstreamUnavailable(f"cannot connect: {error.strerror or error}") from error


def _protocol(connection: object) -> Callable[[], asyncio.BaseProtocol]:
    """The connection as the loop wants it: a protocol by its methods, not by derivation."""
    return lambda: cast(asyncio.BaseProtocol, connection)


async def open_http1(
    address: TcpAddress | UnixAddress, home: Home, shared: Http1Shared
) -> UpstreamConnection:
    """A connection that is ready for an exchange. Raises UpstreamError."""
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(home, shared)
    make = _protocol(connection)
    async with _connecting(shared.limits.upstream_connect_timeout):
        if isinstance(address, TcpAddress):
            # A host name is resolved anew for each connection, so DNS changes are followed.
            await loop.create_connection(make, address.host, address.port)
        else:
            await loop.create_unix_connection(make, address.path)
    if not connection.is_open:
        raise UpstreamUnavailable("the connection was closed at once")
    return connection


async def open_http2(
    address: H2cAddress, home: ConnectionHome, shared: Http2Shared
) -> Http2UpstreamConnection:
    """A connection that is ready for streams. Raises UpstreamError."""
    loop = asyncio.get_running_loop()
    connection = Http2UpstreamConnection(home, shared, loop)
    tcp = address.tcp
    async with _connecting(shared.limits.upstream_connect_timeout):
        await loop.create_connection(_protocol(connection), tcp.host, tcp.port)
        try:
            await connection.ready
        except ProtocolError as error:
            raise UpstreamUnavailable(f"it does not speak HTTP/2: {error}") from error
        except asyncio.CancelledError:
            connection.close()
            raise
    return connection
