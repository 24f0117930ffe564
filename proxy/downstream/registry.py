"""The open connections of a worker: looked at by the sweep, waited for by the stop."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class Registry(Generic[Connection]):
    """A set that can be waited for to become empty."""

    __slots__ = ("_connections", "_waiting")

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._waiting: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._connections

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)

    def discard(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._waiting is not None and not self._connections:
            self._waiting.set()

    def snapshot(self) -> list[Connection]:
        """Those open now, as a list: what is done with them may close them."""
        return list(self._connections)

    async def wait_until_empty(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; False when some are still open then."""
        if self._connections:
            self._waiting = asyncio.Event()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiting.wait()
            except TimeoutError:
                return False
        return True
