"""The backends of a route, and the connections to them.

:class:`Pool` decides which upstream takes an exchange (``balance``, ``health``: pure) and gives
the exchange a connection: an idle one if there is one, else a new one. Idle connections are taken
last-in-first-out, so that those not needed grow old together, and are closed before the backend
would close them (Uvicorn keeps them 5 s; a request sent into a closing connection is lost).

When every upstream is at its connection limit, exchanges wait in a bounded queue; when that is
full, or the wait too long, they get a 503 with Retry-After. An exchange whose client has gone
withdraws.

An upstream that cannot be connected to is passed over for another one: nothing of the request had
been sent, so that is safe for any method.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from proxy.clock import CoarseClock
from proxy.config.addresses import TcpAddress, UpstreamAddress
from proxy.errors import ProtocolError, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from proxy.http.head import HeadReader, RequestHead
from proxy.limits import SECONDS, Limits
from proxy.upstream.balance import (
    DOWN,
    UNLIMITED,
    UP,
    Policy,
    UpstreamState,
    cookie_value,
    make_balancer,
)
from proxy.upstream.health import PassiveHealth, PassivePolicy, UpstreamHealth
from proxy.upstream.http1 import UpstreamConnection

logger = logging.getLogger(__name__)

MAX_IDLE_CONNECTIONS = 256
"""Per upstream and worker; more than a burst needs are closed as they come back."""


class Waiter(Protocol):
    """What asks for a connection: an exchange."""

    head: RequestHead
    done: bool

    def attach(self, upstream: UpstreamConnection) -> None: ...
    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None: ...
    def flush(self) -> None: ...
    def client_address(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How a route uses its upstreams.

    Attributes:
        policy: see ``balance``.
        hash_by: what ``hash`` looks at: the client's address, a header, a cookie...
        hash_name: ...of this lower-case name.
        weights: one per upstream, or empty for 1 each.
        connections: at most so many exchanges at once per upstream and worker; 0 is unlimited.
        queue: how many exchanges may wait for room, per worker.
        queue_timeout: and for how long, in seconds.
        passive: when failures suspend an upstream.
    """

    policy: Policy = "round_robin"
    hash_by: Literal["address", "header", "cookie"] = "address"
    hash_name: bytes = b""
    weights: tuple[int, ...] = ()
    connections: int = 0
    queue: int = 128
    queue_timeout: float = 10 * SECONDS
    passive: PassivePolicy = field(default_factory=PassivePolicy)


@dataclass(frozen=True, slots=True)
class PoolShared:
    """What all pools of a worker share.

    ``awake`` are the pools that the sweep must look at: of thousands of sites most are asleep.
    """

    reader: HeadReader
    limits: Limits
    clock: CoarseClock
    random: Callable[[], float]
    read_buffer: memoryview
    awake: set[Pool] = field(default_factory=set)


class Upstream:
    """One backend: its state for balancing, its health, its connections."""

    __slots__ = ("_pool", "address", "health", "idle", "name", "state")

    def __init__(self, address: UpstreamAddress, pool: Pool, weight: int) -> None:
        options = pool.options
        self.address = address
        self.name = str(address)
        self._pool = pool
        self.state = UpstreamState(self.name, weight=weight, limit=options.connections or UNLIMITED)
        self.health = UpstreamHealth(self.state, PassiveHealth(options.passive))
        self.idle: list[UpstreamConnection] = []

    def __repr__(self) -> str:
        return f"<Upstream {self.state!r} idle={len(self.idle)}>"

    @property
    def is_busy(self) -> bool:
        """Whether time changes anything here: connections grow old, an outage ends."""
        return bool(self.idle) or self.state.condition != UP

    def give_back(self, connection: UpstreamConnection) -> None:
        """The exchange on it is over and the connection is as good as new."""
        self._pool.shared.awake.add(self._pool)
        if len(self.idle) < MAX_IDLE_CONNECTIONS:
            connection.idle_since = self._pool.shared.clock.now
            self.idle.append(connection)
        else:
            connection.close_idle()
        self.health.request_succeeded()
        self._pool.released(self)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is closed, in use or idle."""
        if connection in self.idle:
            self.idle.remove(connection)
            return
        if connection.uses:
            if connection.failed:
                self.failed()
            elif connection.answered:
                self.health.request_succeeded()
            else:
                self.health.request_abandoned()
            self._pool.released(self)

    def failed(self) -> None:
        """It gave no response; a few of these suspend it."""
        if self.health.request_failed(self._pool.shared.clock.now):
            logger.warning("upstream %s is failing and will be avoided for a while", self.name)

    def take_idle(self) -> UpstreamConnection | None:
        """The idle connection used last, if any is still open and young enough."""
        shared = self._pool.shared
        oldest = shared.clock.now - shared.limits.upstream_idle_timeout
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            idle.append(connection)
            connection.close_idle()  # takes itself out of the list
        return None


class Pool:
    """The upstreams of a route; see the module."""

    __slots__ = (
        "_balancer",
        "_connecting",
        "_queue",
        "_states",
        "_upstream_of",
        "_upstreams",
        "name",
        "options",
        "shared",
    )

    def __init__(
        self,
        addresses: tuple[UpstreamAddress, ...],
        shared: PoolShared,
        options: PoolOptions | None = None,
    ) -> None:
        self.options = options or PoolOptions()
        self.shared = shared
        self.name = ", ".join(map(str, addresses))
        weights = self.options.weights or (1,) * len(addresses)
        self._upstreams = [
            Upstream(address, self, weight)
            for address, weight in zip(addresses, weights, strict=True)
        ]
        self._states = [upstream.state for upstream in self._upstreams]
        self._upstream_of = {upstream.state: upstream for upstream in self._upstreams}
        self._balancer = make_balancer(self.options.policy, shared.random)
        self._queue: deque[tuple[Waiter, float]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Pool {self._upstreams!r} queued={len(self._queue)}>"

    # -- an exchange calls these ---------------------------------------------------------------

    def acquire(self, waiter: Waiter) -> None:
        """Give the waiter a connection, now or later, or tell it that there is none."""
        self.shared.awake.add(self)
        if self._queue:
            self._enqueue(waiter)
        elif not self._start(waiter):
            if all(state.condition == DOWN for state in self._states):
                error = UpstreamUnavailable("all upstreams fail their health checks", 503)
                waiter.upstream_failed(error, untouched=True)
            else:
                self._enqueue(waiter)

    def withdraw(self, waiter: Waiter) -> None:
        """The waiter's client has gone. A connection under way is kept for the next one."""
        if self._queue:
            self._queue = deque(entry for entry in self._queue if entry[0] is not waiter)

    # -- upstreams and the worker call these ---------------------------------------------------

    def released(self, upstream: Upstream) -> None:
        """An exchange has left the upstream."""
        upstream.state.active -= 1
        while self._queue:
            waiter = self._queue[0][0]
            if not waiter.done and not self._start(waiter):
                return
            self._queue.popleft()

    def sweep(self, now: float) -> None:
        """Close idle connections in time, and end waits that took too long."""
        oldest = now - self.shared.limits.upstream_idle_timeout
        for upstream in self._upstreams:
            idle = upstream.idle
            while idle and idle[0].idle_since <= oldest:
                idle[0].close_idle()
            upstream.health.time_passed(now)
        while self._queue and self._queue[0][1] <= now:
            waiter, _ = self._queue.popleft()
            if not waiter.done:
                self._refuse(waiter, "no upstream had room in time")
        if not self._queue and not any(upstream.is_busy for upstream in self._upstreams):
            self.shared.awake.discard(self)

    def close(self) -> None:
        """Close all idle connections and stop connecting."""
        for task in self._connecting:
            task.cancel()
        for upstream in self._upstreams:
            for connection in upstream.idle[:]:
                connection.close_idle()

    # -- inside --------------------------------------------------------------------------------

    def _start(self, waiter: Waiter, avoid: Upstream | None = None) -> bool:
        """Put the waiter on an upstream; False when none has room."""
        key = self._key(waiter) if self.options.policy == "hash" else b""
        state = self._balancer.choose(self._states, key, avoid.state if avoid else None)
        if state is None:
            return False
        upstream = self._upstream_of[state]
        state.active += 1
        upstream.health.request_started()
        connection = upstream.take_idle()
        if connection is not None:
            waiter.attach(connection)
        else:
            task = asyncio.get_running_loop().create_task(self._connect(upstream, waiter))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        return True

    async def _connect(self, upstream: Upstream, waiter: Waiter) -> None:
        tried = 0
        while True:
            tried += 1
            try:
                connection = await self._open(upstream)
            except UpstreamError as error:
                upstream.failed()
                self.released(upstream)
                if waiter.done:
                    return
                other = self._other(upstream) if tried < len(self._upstreams) else None
                if other is None:
                    waiter.upstream_failed(error, untouched=True)
                    waiter.flush()
                    return
                upstream = other
                continue
            if waiter.done:
                # Its client left while we connected; the connection serves the next one.
                upstream.state.active -= 1
                connection.idle_since = self.shared.clock.now
                upstream.idle.append(connection)
            else:
                waiter.attach(connection)
            return

    def _other(self, failed: Upstream) -> Upstream | None:
        state = self._balancer.choose(self._states, b"", failed.state)
        if state is None or state is failed.state:
            return None
        state.active += 1
        upstream = self._upstream_of[state]
        upstream.health.request_started()
        return upstream

    async def _open(self, upstream: Upstream) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        address = upstream.address
        timeout = self.shared.limits.upstream_connect_timeout

        def make() -> UpstreamConnection:
            return UpstreamConnection(upstream, self.shared)

        try:
            async with asyncio.timeout(timeout):
                if isinstance(address, TcpAddress):
                    # A host name is resolved anew for each connection, so DNS changes are followed.
                    _, connection = await loop.create_connection(make, address.host, address.port)
                else:
                    _, connection = await loop.create_unix_connection(make, address.path)
        except TimeoutError as error:
            raise UpstreamTimeout(f"no connection within {timeout:g} s") from error
        except OSError as error:
            raise UpstreamUnavailable(f"cannot connect: {error.strerror or error}") from error
        return connection

    def _key(self, waiter: Waiter) -> bytes:
        options = self.options
        if options.hash_by == "address":
            return waiter.client_address().encode("ascii")
        if options.hash_by == "header":
            return waiter.head.fields.get(options.hash_name) or b""
        return cookie_value(waiter.head.fields.get(b"cookie") or b"", options.hash_name)

    def _enqueue(self, waiter: Waiter) -> None:
        if len(self._queue) >= self.options.queue:
            self._refuse(waiter, "all upstreams are full and so is the queue")
        else:
            self._queue.append((waiter, self.shared.clock.now + self.options.queue_timeout))

    def _refuse(self, waiter: Waiter, why: str) -> None:
        waiter.upstream_failed(UpstreamUnavailable(why, 503), untouched=True)
        waiter.flush()
