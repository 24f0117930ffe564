"""The listening sockets, bound once by the parent and shared by all workers.

They are plain non-blocking listening sockets; every worker accepts on all of them, so a worker's
death loses no connection that still waits in the backlog.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.config.addresses import TcpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSockets:
    """What the parent bound: HTTPS, and plain HTTP for challenges and redirects."""

    https: tuple[socket.socket, ...]
    http: tuple[socket.socket, ...]

    def __iter__(self) -> Iterator[socket.socket]:
        yield from self.https
        yield from self.http

    def close(self) -> None:
        for listening in self:
            listening.close()


def address_of(listening: socket.socket) -> TcpAddress:
    """Where a socket really listens: port 0 has become a port."""
    host, port = listening.getsockname()[:2]
    return TcpAddress(host, port)
