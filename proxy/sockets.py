"""The listening sockets, bound once by the parent and shared by all workers.

They are plain non-blocking listening sockets; every worker accepts on all of them, so a worker's
death loses no connection that still waits in the backlog.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from proxy.config.addresses import TcpAddress
from proxy.errors import StartupError
from proxy.port_holders import holder_of

logger = logging.getLogger(__name__)

BACKLOG = 4096
"""The kernel lowers it to net.core.somaxconn."""

_COUNTERPARTS = {"::": "0.0.0.0", "::1": "127.0.0.1"}
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


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


def bind(https: Sequence[TcpAddress], http: Sequence[TcpAddress]) -> BoundSockets:
    """Listen on all of them, or on none and raise StartupError."""
    bound: list[socket.socket | None] = []
    every = (*https, *http)
    with ExitStack() as undo:
        for address in every:
            listening = _listen(address, every)
            if listening is not None:
                undo.callback(listening.close)
            bound.append(listening)
        undo.pop_all()
    first, second = bound[: len(https)], bound[len(https) :]
    return BoundSockets(https=_present(first), http=_present(second))


def address_of(listening: socket.socket) -> TcpAddress:
    """Where a socket really listens: port 0 has become a port."""
    host, port = listening.getsockname()[:2]
    return TcpAddress(host, port)


def _present(sockets: Sequence[socket.socket | None]) -> tuple[socket.socket, ...]:
    return tuple(listening for listening in sockets if listening is not None)


def _listen(address: TcpAddress, every: Sequence[TcpAddress]) -> socket.socket | None:
    """A socket; None where IPv4 is listened on too and IPv6 does not exist here."""
    try:
        return _bound(address, every)
    except OSError as error:
        counterpart = _COUNTERPARTS.get(address.host)
        if counterpart is None or error.errno not in _NO_IPV6:
            raise StartupError(_reason(address, error)) from error
    fallback = TcpAddress(counterpart, address.port)
    if fallback in every:
        return None
    logger.warning("This machine has no IPv6: listening on %s instead of %s", fallback, address)
    try:
        return _bound(fallback, every)
    except OSError as error:
        raise StartupError(_reason(fallback, error)) from error


def _bound(address: TcpAddress, every: Sequence[TcpAddress]) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_ipv6:
            # One socket takes both, unless IPv4 has its own.
            apart = TcpAddress("0.0.0.0", address.port) in every
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(apart))
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _reason(address: TcpAddress, error: OSError) -> str:
    port = address.port
    match error.errno:
        case errno.EADDRINUSE:
            holder = holder_of(port)
            by = f" by {holder}" if holder else ""
            return f"Port {port} is in use{by}: cannot listen on {address}"
        case errno.EACCES:
            return (
                f"Not allowed to listen on port {port}: start as root with `user` set, "
                "or give the service AmbientCapabilities=CAP_NET_BIND_SERVICE (systemd), "
                f"or run `sysctl net.ipv4.ip_unprivileged_port_start={min(port, 80)}`, "
                "or `setcap cap_net_bind_service=+ep` on the Python binary, "
                "or choose ports from 1024 with --port and --http-port"
            )
        case errno.EADDRNOTAVAIL:
            return f"Cannot listen on {address}: no interface of this machine has that address"
    return f"Cannot listen on {address}: {error.strerror}"
