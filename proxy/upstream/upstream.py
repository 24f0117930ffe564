"""One upstream of a pool: its state for balancing, its health, its connections.

Compiled, and apart from the pool for that reason: each request takes and gives back a connection.
"""

from __future__ import annotations

import logging
from collections.abc import Sized
from functools import partial
from typing import Protocol

from proxy.config.addresses import H2cAddress, UpstreamAddress
from proxy.upstream.balance import UNLIMITED, UP, UpstreamState
from proxy.upstream.dial import open_http2
from proxy.upstream.health import ActiveHealth, PassiveHealth, UpstreamHealth
from proxy.upstream.http1 import UpstreamConnection
from proxy.upstream.http2 import Http2UpstreamConnection
from proxy.upstream.http2_stream import UpstreamSide
from proxy.upstream.options import Awake, PoolOptions, PoolShared
from proxy.upstream.sharing import SharedConnections, most_exchanges

logger = logging.getLogger(__name__)


class Owner(Awake, Protocol):
    """The pool it belongs to."""

    options: PoolOptions
    shared: PoolShared
    most_idle: int

    @property
    def queue(self) -> Sized: ...

    def serve_queue(self) -> None: ...
    def released(self, upstream: Upstream) -> None: ...


class Upstream:
    """See the module."""

    __slots__ = ("_pool", "address", "health", "idle", "name", "shared", "state")

    def __init__(self, address: UpstreamAddress, pool: Owner, weight: int) -> None:
        options = pool.options
        self.address = address
        self.name = str(address)
        self._pool = pool
        self.state = UpstreamState(self.name, weight=weight, limit=options.connections or UNLIMITED)
        self.shared: SharedConnections | None = None
        """The connections of a backend that speaks HTTP/2; ``idle`` are those of all others."""
        if isinstance(address, H2cAddress):
            self.state.limit = most_exchanges(options.connections)
            self.shared = SharedConnections(partial(open_http2, address, self, pool.shared))
        shared = pool.shared
        active = None
        if options.active is not None:
            active = ActiveHealth(options.active, shared.clock.now, shared.random)
        self.health = UpstreamHealth(self.state, PassiveHealth(options.passive), active)
        self.idle: list[UpstreamConnection] = []

    def __repr__(self) -> str:
        return f"<Upstream {self.state!r} idle={len(self.idle)}>"

    @property
    def is_busy(self) -> bool:
        """Whether time changes anything here: connections grow old, an outage ends."""
        return bool(self.idle) or bool(self.shared) or self.state.condition != UP

    def give_back(self, connection: UpstreamConnection) -> None:
        """The exchange on it is over and the connection is as good as new."""
        self.keep(connection)
        self.state.active -= 1
        if not self.health.quiet:
            self.health.request_succeeded()
        if self._pool.queue:
            self._pool.serve_queue()

    def keep(self, connection: UpstreamConnection) -> None:
        """Let it wait for the next exchange."""
        pool = self._pool
        connection.idle_since = pool.shared.clock.now
        idle = self.idle
        idle.append(connection)
        if len(idle) > pool.most_idle:
            idle[0].close_idle()
        elif len(idle) == 1:
            pool.shared.awake.add(pool)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is closed, in use or idle."""
        if connection in self.idle:
            self.idle.remove(connection)
            return
        if connection.uses:
            self.ended(connection)

    def ended(self, side: UpstreamSide) -> None:
        """An exchange has left; what carried it is not kept for the next one."""
        if side.failed:
            self.failed()
        elif side.answered:
            self.health.request_succeeded()
        else:
            self.health.request_abandoned()
        self._pool.released(self)

    def streams_allowed(self, count: int) -> None:
        """The backend takes so many streams on each connection."""
        self.state.limit = most_exchanges(self._pool.options.connections, count)
        self._pool.serve_queue()

    def gone(self, connection: Http2UpstreamConnection) -> None:
        """A shared connection has ended."""
        if self.shared is not None:
            self.shared.gone(connection)
            if not self.shared:
                # What it said about streams has gone with it. Had it said 0, and that stayed the
                # limit, no exchange would ever open the next one.
                self.state.limit = most_exchanges(self._pool.options.connections)

    def failed(self) -> None:
        """It gave no response; a few of these suspend it."""
        if self.health.request_failed(self._pool.shared.clock.now):
            logger.warning("upstream %s is failing and will be avoided for a while", self.name)

    def take(self, *, fresh: bool) -> UpstreamSide | None:
        """What can carry an exchange at once; not a connection that has been idle, if ``fresh``."""
        if self.shared is not None:
            return self.shared.take()
        return None if fresh else self.take_idle()

    def take_idle(self) -> UpstreamConnection | None:
        """The idle connection used last, if any is still open and young enough."""
        shared = self._pool.shared
        oldest = shared.clock.now - shared.limits.upstream_idle_timeout
        idle = self.idle
        if idle:
            connection = idle[-1]
            if connection.idle_since > oldest:
                return idle.pop()
            # The youngest is too old, so all are; each takes itself out of the list.
            for connection in idle[:]:
                connection.close_idle()
        return None
