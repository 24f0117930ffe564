"""One worker: the data plane, put together from the configuration.

:func:`run_worker` is all that the parent calls. It makes the parts, opens the shared listening
sockets for accepting, tells the parent that it is ready, and runs until it is told to stop (or the
parent is gone); then it lets requests in flight finish and returns.

Its certificates are in ``worker_certificates``; what is here makes them known to the listeners.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Final, cast

import uvloop

from proxy.access_log import AccessLog
from proxy.applications import ForwardToSites, RedirectToHttps
from proxy.channel import ChannelEnd, Notice
from proxy.clock import CoarseClock
from proxy.config.addresses import UnixAddress
from proxy.config.model import Config
from proxy.downstream.admission import Admission
from proxy.downstream.connection import ClientConnection, Front
from proxy.downstream.registry import Registry
from proxy.exchange import Application, Services
from proxy.forwarded import TrustedProxies
from proxy.http.engine import make_engine
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.head import HeadReader
from proxy.limits import READ_BYTES, SWEEP_SECONDS, SWEPT_AT_ONCE
from proxy.sites import (
    SiteFront,
    make_router,
    make_site_routes,
)
from proxy.sockets import BACKLOG, BoundSockets, address_of
from proxy.tls.contexts import SiteContext
from proxy.upstream.options import PoolShared
from proxy.worker_certificates import Certificates

logger = logging.getLogger(__name__)

FILES_APART: Final = 48
"""Open files that are no connections: listening sockets, logs, the store, the loop's own."""


def run_worker(
    *,
    config: Config,
    sockets: BoundSockets,
    contexts: Sequence[SiteContext],
    app_sockets: Mapping[int, UnixAddress],
    channel: ChannelEnd,
    write_access_line: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM, a stop, or the parent's end; returns when drained.

    Args:
        config: checked.
        sockets: bound by the parent, shared with the other workers.
        contexts: one per site, in order, made by the parent.
        app_sockets: where the apps listen, by the site's position.
        channel: to the parent.
        write_access_line: takes one line per request; None for no access log.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        worker = Worker(
            config, sockets, contexts, app_sockets, channel, write_access_line, runner.get_loop()
        )
        runner.run(worker.run())


class Worker:
    """The parts of one worker and their life."""

    def __init__(
        self,
        config: Config,
        sockets: BoundSockets,
        contexts: Sequence[SiteContext],
        app_sockets: Mapping[int, UnixAddress],
        channel: ChannelEnd,
        write_access_line: Callable[[str], None] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._channel = channel
        self._loop = loop
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._connections: Registry[ClientConnection] = Registry()
        limits = config.limits
        self._clock = CoarseClock(loop.time())
        self._read_buffer = memoryview(bytearray(READ_BYTES))
        self._reader = HeadReader(make_engine(config.http, limits.header_bytes), limits)
        self._pools = PoolShared(
            self._reader, limits, self._clock, random.random, self._read_buffer
        )
        access_log = AccessLog(write_access_line, time.perf_counter) if write_access_line else None
        self._services = Services(
            limits=limits, clock=self._clock, time=time.perf_counter, access_log=access_log
        )
        self._encoder = FieldEncoder()
        connections = min(limits.connections, connections_for_files())
        if connections < limits.connections // 2:
            logger.warning("The open file limit allows %d connections per worker", connections)
        self._admission = Admission(connections, limits.connections_per_address)
        self._certificates = Certificates(
            config,
            contexts,
            [
                make_site_routes(config, site, app_sockets.get(position), self._pools)
                for position, site in enumerate(config.sites)
            ],
            channel,
            self._spawn,
        )

    async def run(self) -> None:
        """Serve until stopped."""
        loop = self._loop
        for number in (signal.SIGTERM, signal.SIGINT):
            # Ctrl+C reaches every process of the terminal; the parent decides what it means.
            handler = self._stop.set if number == signal.SIGTERM else _ignore
            loop.add_signal_handler(number, handler)
        self._channel.attach(loop, self._certificates.on_notice, self._stop.set)
        try:
            self._certificates.load_own_files()
            await self._listen()
            self._channel.send(Notice("ready"))
            self._spawn(self._sweep())
            self._certificates.start()
            for served in self._certificates.served:
                for pool in served.site.pools if served.site is not None else ():
                    for checking in pool.start_checks():
                        self._spawn(checking)
            await self._stop.wait()
            await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._certificates.close()
            for awake in self._pools.awake.copy():
                awake.close()
            self._channel.detach()

    # -- listening -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        front = self._certificates.front()
        listen = self._config.listen
        trusted = TrustedProxies(self._config.trusted_proxies)
        for sockets, addresses, application, tls in (
            (self._sockets.https, listen.https, ForwardToSites(self._certificates.router), front),
            (self._sockets.http, listen.http, self._redirect(), None),
        ):
            for listening, address in zip(sockets, addresses, strict=True):
                announced = address in listen.proxy_protocol
                port = address_of(listening).port
                shared = self._front(application, port, tls, trusted, proxy_protocol=announced)
                accept = cast(Callable[[], asyncio.BaseProtocol], partial(ClientConnection, shared))
                server = await self._loop.create_server(accept, sock=listening, backlog=BACKLOG)
                self._servers.append(server)

    def _front(
        self,
        application: Application,
        port: int,
        tls: SiteFront | None,
        trusted: TrustedProxies,
        *,
        proxy_protocol: bool,
    ) -> Front:
        return Front(
            services=self._services,
            reader=self._reader,
            application=application,
            admission=self._admission,
            connections=self._connections,
            encoder=self._encoder,
            read_buffer=self._read_buffer,
            port=port,
            tls=tls,
            trusted=trusted,
            proxy_protocol=proxy_protocol,
        )

    def _redirect(self) -> RedirectToHttps:
        # Here a site on demand has all the names it stands for: who is one of them, and gets a
        # certificate, is decided over HTTPS.
        router = make_router(self._certificates.served)
        https_port = address_of(self._sockets.https[0]).port
        return RedirectToHttps(router, https_port, self._certificates.challenge_answer)

    async def _sweep(self) -> None:
        """The one timer of the hot path: see ``proxy.clock``."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            # Deadlines were set by a clock that may have been a sweep old; compared with the one
            # before this, none is met early.
            before = self._clock.now
            self._clock.now = self._loop.time()
            for number, connection in enumerate(self._connections.snapshot(), 1):
                if connection in self._connections:
                    connection.sweep(before)
                if not number % SWEPT_AT_ONCE:
                    await asyncio.sleep(0)
            for pool in list(self._pools.awake):
                pool.sweep(before)

    async def _drain(self) -> None:
        """Stop accepting, let requests in flight finish, then end what is left."""
        for server in self._servers:
            server.close()
        for connection in self._connections.snapshot():
            connection.stop()
        if not await self._connections.wait_until_empty(self._config.limits.shutdown_timeout):
            count = len(self._connections)
            what = "connection was" if count == 1 else "connections were"
            logger.warning("%d %s cut off at the stop", count, what)
            for connection in self._connections.snapshot():
                connection.abort()
            await asyncio.sleep(0)

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # None of them ends on its own but by a fault of ours: a worker that goes on without
            # its sweep or its certificates is worse than one that is started anew.
            logger.critical("a task of the worker failed", exc_info=error)
            self._stop.set()


def connections_for_files() -> int:
    """How many clients the open file limit allows: each may need a second file for its backend."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (files - FILES_APART) // 2)


def _ignore() -> None:
    """A signal that is the parent's to act on."""
