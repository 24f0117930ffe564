"""The connections to one backend that speaks HTTP/2: few, and each shared by many exchanges.

A new one is opened when no other has room for a stream. They are opened one at a time, so that
those who wait share the next one too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.errors import UpstreamUnavailable
from proxy.http.h2.client_connection import STREAMS
from proxy.upstream.balance import UNLIMITED
from proxy.upstream.http2 import Http2UpstreamConnection
from proxy.upstream.http2_stream import UpstreamStream

MOST_CONNECTIONS: Final = 16
"""Per upstream and worker; what they can carry together is the upstream's limit of exchanges."""


class SharedConnections:
    """See the module."""

    __slots__ = ("_connections", "_open", "_opening")

    def __init__(self, open_connection: Callable[[], Awaitable[Http2UpstreamConnection]]) -> None:
        self._open = open_connection
        self._connections: list[Http2UpstreamConnection] = []
        self._opening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SharedConnections {self._connections!r}>"

    def __bool__(self) -> bool:
        return bool(self._connections)

    def take(self) -> UpstreamStream | None:
        """A stream on a connection with room, if there is one."""
        for connection in self._connections:
            if connection.capacity:
                return connection.new_stream()
        return None

    async def open(self) -> UpstreamStream:
        """A stream, on a new connection if need be. Raises UpstreamError."""
        for _ in range(MOST_CONNECTIONS):
            stream = self.take()
            if stream is not None:
                return stream
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._add())
                self._opening.add_done_callback(self._added)
            # Shielded: that one of those who wait gives up is nothing to the others.
            await asyncio.shield(self._opening)
        raise UpstreamUnavailable("it takes no more streams", 503)

    def gone(self, connection: Http2UpstreamConnection) -> None:
        """The connection has ended."""
        if connection in self._connections:
            self._connections.remove(connection)

    def sweep(self, now: float) -> None:
        """Compare the deadlines with the time."""
        for connection in self._connections[:]:
            connection.sweep(now)

    def close(self) -> None:
        """Close all, and stop connecting."""
        if self._opening is not None:
            self._opening.cancel()
        for connection in self._connections[:]:
            connection.close()

    async def _add(self) -> None:
        connection = await self._open()
        if connection.capacity:
            self._connections.append(connection)
        else:
            connection.close()

    def _added(self, task: asyncio.Task[None]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody may be left to


def most_exchanges(configured: int, streams_each: int = STREAMS) -> int:
    """The limit of exchanges at once of an upstream whose connections take so many streams."""
    return min(configured or UNLIMITED, MOST_CONNECTIONS * streams_each)
