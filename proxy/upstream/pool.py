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
from collections.abc import Coroutine
from functools import partial
from typing import Protocol

from proxy.config.addresses import H2cAddress, UpstreamAddress
from proxy.errors import ProtocolError, UpstreamError, UpstreamUnavailable
from proxy.http.head import RequestHead
from proxy.proxy_protocol import Endpoint, build_1, build_2
from proxy.upstream.balance import (
    DOWN,
    UpstreamState,
    cookie_value,
    make_balancer,
)
from proxy.upstream.checks import CheckHome, keep_checking
from proxy.upstream.dial import open_http1, open_http2
from proxy.upstream.http1 import Home, UpstreamConnection
from proxy.upstream.http2_stream import UpstreamSide, UpstreamStream
from proxy.upstream.options import PoolOptions, PoolShared
from proxy.upstream.upstream import Upstream

logger = logging.getLogger(__name__)

MAX_IDLE_CONNECTIONS = 256
"""Per upstream and worker; more than a burst needs are closed as they come back."""


class Client(Protocol):
    """Whom the waiter asks for."""

    address: str
    port: int
    local_port: int

    @property
    def local_address(self) -> str: ...


class Waiter(Protocol):
    """What asks for a connection: an exchange."""

    head: RequestHead
    done: bool

    @property
    def info(self) -> Client: ...

    def attach(self, upstream: UpstreamSide) -> None: ...
    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None: ...
    def flush(self) -> None: ...


class Pool:
    """The upstreams of a route; see the module."""

    __slots__ = (
        "_balancer",
        "_connecting",
        "_only",
        "_states",
        "_upstream_of",
        "_upstreams",
        "most_idle",
        "name",
        "options",
        "queue",
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
        # What has announced one client cannot serve another.
        self.most_idle = 0 if self.options.proxy_protocol else MAX_IDLE_CONNECTIONS
        self.name = ", ".join(map(str, addresses))
        weights = self.options.weights or (1,) * len(addresses)
        self._upstreams = [
            Upstream(address, self, weight)
            for address, weight in zip(addresses, weights, strict=True)
        ]
        self._only = self._upstreams[0] if len(self._upstreams) == 1 else None
        self._states = [upstream.state for upstream in self._upstreams]
        self._upstream_of = {upstream.state: upstream for upstream in self._upstreams}
        self._balancer = make_balancer(self.options.policy, shared.random)
        self.queue: deque[tuple[Waiter, float]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Pool {self._upstreams!r} queued={len(self.queue)}>"

    # -- an exchange calls these ---------------------------------------------------------------

    def ready(self) -> UpstreamConnection | None:
        """An idle connection, when there is nothing to decide: one upstream, and it is well."""
        only = self._only
        if only is None or not only.idle or self.queue or not only.health.quiet:
            return None
        state = only.state
        if state.active >= state.limit:
            return None
        state.active += 1
        return only.idle.pop()

    def acquire(self, waiter: Waiter, failed: UpstreamSide | None = None) -> None:
        """Give the waiter a connection, now or later, or tell it that there is none.

        Args:
            waiter: who asks.
            failed: what closed under its request just now. The next one is new
                (other idle ones may be as dead), and to another upstream if there is one.
        """
        self.shared.awake.add(self)
        if self.queue:
            self._enqueue(waiter)
        elif not self._start(waiter, failed):
            if all(state.condition == DOWN for state in self._states):
                error = UpstreamUnavailable("all upstreams fail their health checks", 503)
                waiter.upstream_failed(error, untouched=True)
            else:
                self._enqueue(waiter)

    def withdraw(self, waiter: Waiter) -> None:
        """The waiter's client has gone. A connection under way is kept for the next one."""
        if self.queue:
            self.queue = deque(entry for entry in self.queue if entry[0] is not waiter)

    # -- upstreams and the worker call these ---------------------------------------------------

    def released(self, upstream: Upstream) -> None:
        """An exchange has left the upstream."""
        upstream.state.active -= 1
        self.serve_queue()

    def start_checks(self) -> list[Coroutine[object, object, None]]:
        """The active checks of this pool, to be run for as long as the worker serves."""
        time = asyncio.get_running_loop().time

        async def open_for_check(upstream: Upstream) -> UpstreamSide:
            home = CheckHome(upstream.name)
            if isinstance(upstream.address, H2cAddress):
                return (await open_http2(upstream.address, home, self.shared)).new_stream()
            connection = await self._open(upstream, home)
            if self.options.proxy_protocol:
                connection.send(self._announcement(None))
            return connection

        return [
            keep_checking(upstream.name, upstream.health, partial(open_for_check, upstream), time)
            for upstream in self._upstreams
            if upstream.health.active is not None
        ]

    def sweep(self, now: float) -> None:
        """Close idle connections in time, and end waits that took too long."""
        oldest = now - self.shared.limits.upstream_idle_timeout
        for upstream in self._upstreams:
            idle = upstream.idle
            while idle and idle[0].idle_since <= oldest:
                idle[0].close_idle()
            if upstream.shared is not None:
                upstream.shared.sweep(now)
            upstream.health.time_passed(now)
        while self.queue and self.queue[0][1] <= now:
            waiter, _ = self.queue.popleft()
            if not waiter.done:
                self._refuse(waiter, "no upstream had room in time")
        self.serve_queue()  # an upstream may have come back with nobody on it
        if not self.queue and not any(upstream.is_busy for upstream in self._upstreams):
            self.shared.awake.discard(self)

    def close(self) -> None:
        """Close all idle connections and stop connecting; who waits gets a 503."""
        for task in self._connecting:
            task.cancel()
        while self.queue:
            waiter, _ = self.queue.popleft()
            if not waiter.done:
                self._refuse(waiter, "the proxy is stopping")
        for upstream in self._upstreams:
            for connection in upstream.idle[:]:
                connection.close_idle()
            if upstream.shared is not None:
                upstream.shared.close()

    # -- inside --------------------------------------------------------------------------------

    def serve_queue(self) -> None:
        """Start those who wait, for as long as there is room."""
        while self.queue:
            entry = self.queue.popleft()  # first: what starting it leads to may come back here
            if not entry[0].done and not self._start(entry[0]):
                self.queue.appendleft(entry)
                return

    def _start(self, waiter: Waiter, failed: UpstreamSide | None = None) -> bool:
        """Put the waiter on an upstream; False when none has room."""
        key = self._key(waiter)
        avoid = self._state_of(failed) if failed is not None else None
        state = self._balancer.choose(self._states, key, avoid)
        if state is None:
            return False
        upstream = self._upstream_of[state]
        state.active += 1
        upstream.health.request_started()
        connection = upstream.take(fresh=failed is not None)
        if connection is not None:
            waiter.attach(connection)
        else:
            task = asyncio.get_running_loop().create_task(self._connect(upstream, waiter))
            self._connecting.add(task)
            task.add_done_callback(partial(self._connect_done, waiter))
        return True

    def _connect_done(self, waiter: Waiter, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours; but whoever waits must not wait for ever.
            logger.critical("connecting failed in a way that it should not", exc_info=error)
            if not waiter.done:
                failure = UpstreamUnavailable("an internal error")
                waiter.upstream_failed(failure, untouched=False)
                waiter.flush()

    async def _connect(self, upstream: Upstream, waiter: Waiter) -> None:
        untried = self._states
        while True:
            try:
                connection: UpstreamSide = (
                    await self._open(upstream, upstream)
                    if upstream.shared is None
                    else await upstream.shared.open()
                )
            except UpstreamError as error:
                upstream.failed()
                self.released(upstream)
                if waiter.done:
                    return
                untried = [state for state in untried if state is not upstream.state]
                state = self._balancer.choose(untried, self._key(waiter)) if untried else None
                if state is None:
                    waiter.upstream_failed(error, untouched=True)
                    waiter.flush()
                    return
                state.active += 1
                upstream = self._upstream_of[state]
                upstream.health.request_started()
            except asyncio.CancelledError:
                upstream.health.request_abandoned()
                upstream.state.active -= 1
                if not waiter.done:
                    self._refuse(waiter, "the proxy is stopping")
                raise
            else:
                self._connected(upstream, connection, waiter)
                return

    def _connected(self, upstream: Upstream, connection: UpstreamSide, waiter: Waiter) -> None:
        if waiter.done:
            # Its client left while we connected; the connection serves the next one.
            if not isinstance(connection, UpstreamStream):
                upstream.keep(connection)
            upstream.health.request_abandoned()
            self.released(upstream)
        else:
            if self.options.proxy_protocol:
                connection.send(self._announcement(waiter.info))
            waiter.attach(connection)

    def _announcement(self, client: Client | None) -> bytes:
        """The PROXY protocol header; without a client we speak for ourselves."""
        build = build_1 if self.options.proxy_protocol == 1 else build_2
        if client is None or not client.local_address:
            return build(None, None)
        return build(
            Endpoint(client.address, client.port),
            Endpoint(client.local_address, client.local_port),
        )

    def _state_of(self, connection: UpstreamSide) -> UpstreamState | None:
        for upstream in self._upstreams:
            if upstream is connection.home:
                return upstream.state
        return None

    async def _open(self, upstream: Upstream, home: Home) -> UpstreamConnection:
        assert not isinstance(upstream.address, H2cAddress)
        return await open_http1(upstream.address, home, self.shared)

    def _key(self, waiter: Waiter) -> bytes:
        options = self.options
        if options.policy != "hash":
            return b""
        if options.hash_by == "address":
            return waiter.info.address.encode("ascii")
        if options.hash_by == "header":
            return waiter.head.fields.get(options.hash_name) or b""
        return cookie_value(waiter.head.fields.get(b"cookie") or b"", options.hash_name)

    def _enqueue(self, waiter: Waiter) -> None:
        if len(self.queue) >= self.options.queue:
            self._refuse(waiter, "all upstreams are full and so is the queue")
        else:
            self.queue.append((waiter, self.shared.clock.now + self.options.queue_timeout))

    def _refuse(self, waiter: Waiter, why: str) -> None:
        waiter.upstream_failed(UpstreamUnavailable(why, 503), untouched=True)
        waiter.flush()
