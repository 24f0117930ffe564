"""One worker: the data plane, put together from the configuration.

:func:`run_worker` is all that the parent calls. It makes the parts, opens the shared listening
sockets for accepting, tells the parent that it is ready, and runs until it is told to stop (or the
parent is gone); then it lets requests in flight finish and returns.

A worker reads certificates from the store and never writes there. A notice says that something
has changed; a slow timer looks anyway, so a lost notice costs a minute and not a certificate.
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
from datetime import UTC, datetime
from functools import partial
from typing import Final

import uvloop

from acme_client import CertificateRequest, RequestError, Store, StoreError, open_store
from proxy.access_log import AccessLog
from proxy.applications import ForwardToSites, RedirectToHttps
from proxy.certificate_requests import certificate_request, on_demand_request, on_demand_site
from proxy.channel import ChannelEnd, Notice
from proxy.clock import CoarseClock
from proxy.config.addresses import UnixAddress
from proxy.config.model import Config
from proxy.downstream.admission import Admission
from proxy.downstream.connection import ClientConnection, Front
from proxy.downstream.registry import Registry
from proxy.errors import CertificateFileError
from proxy.exchange import Application, Services
from proxy.forwarded import TrustedProxies
from proxy.http.engine import make_engine
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.head import HeadReader
from proxy.limits import MINUTES, READ_BYTES, SWEEP_SECONDS
from proxy.on_demand import Candidate, NamesOnDemand
from proxy.sites import (
    FetchPairs,
    ServedSite,
    SiteFront,
    make_index,
    make_router,
    make_site_routes,
    tls_options,
)
from proxy.sockets import BACKLOG, BoundSockets, address_of
from proxy.tls.contexts import SiteContext
from proxy.tls.pem_files import PairFollower, follow
from proxy.tls.pem_pair import PemPair, parse_pair
from proxy.upstream.pool import PoolShared

logger = logging.getLogger(__name__)

STORE_POLL_SECONDS: Final = 1 * MINUTES
FILES_APART: Final = 48
"""Open files that are no connections: listening sockets, logs, the store, the loop's own."""
WARM_UP_SITES: Final = 256
"""So many certificates are loaded at start; the rest when first asked for."""


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
        self._store = open_store(config.storage)
        self._followers: dict[PairFollower, ServedSite] = {}
        self._followed: list[PairFollower] = []  # those whose files have been read
        self._served = [
            self._serve_site(position, context, app_sockets.get(position))
            for position, context in enumerate(contexts)
        ]
        self._by_certificate = {
            certificate_id: served
            for site, served in zip(config.sites, self._served, strict=True)
            if site.certificate is None and not site.on_demand
            for certificate_id in certificate_request(config, site).certificate_ids
        }
        self._installed: dict[str, str] = {}
        self._router = make_router(
            [
                served
                for site, served in zip(config.sites, self._served, strict=True)
                if not site.on_demand
            ]
        )
        self._on_demand = self._make_on_demand()

    async def run(self) -> None:
        """Serve until stopped."""
        loop = self._loop
        for number in (signal.SIGTERM, signal.SIGINT):
            # Ctrl+C reaches every process of the terminal; the parent decides what it means.
            handler = self._stop.set if number == signal.SIGTERM else _ignore
            loop.add_signal_handler(number, handler)
        self._channel.attach(loop, self._on_notice, self._stop.set)
        try:
            self._load_own_files()
            await self._listen()
            self._channel.send(Notice("ready"))
            self._spawn(self._sweep())
            self._spawn(self._warm_up())
            self._spawn(self._poll_store())
            for served in self._served:
                for pool in served.site.pools if served.site is not None else ():
                    for checking in pool.start_checks():
                        self._spawn(checking)
            await self._stop.wait()
            await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._on_demand is not None:
                self._on_demand.close()
            for pool in self._pools.awake.copy():
                pool.close()
            self._channel.detach()

    # -- listening -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        index = make_index(self._config, self._served)
        fetch_challenge = self._challenge_pair if self._config.obtains else None
        front = SiteFront(index, fetch_challenge, self._on_demand)
        listen = self._config.listen
        trusted = TrustedProxies(self._config.trusted_proxies)
        for sockets, addresses, application, tls in (
            (self._sockets.https, listen.https, ForwardToSites(self._router), front),
            (self._sockets.http, listen.http, self._redirect(), None),
        ):
            for listening, address in zip(sockets, addresses, strict=True):
                announced = address in listen.proxy_protocol
                shared = self._front(application, tls, trusted, proxy_protocol=announced)
                server = await self._loop.create_server(
                    partial(ClientConnection, shared), sock=listening, backlog=BACKLOG
                )
                self._servers.append(server)

    def _front(
        self,
        application: Application,
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
            tls=tls,
            trusted=trusted,
            proxy_protocol=proxy_protocol,
        )

    def _redirect(self) -> RedirectToHttps:
        # Here a site on demand has all the names it stands for: who is one of them, and gets a
        # certificate, is decided over HTTPS.
        router = make_router(self._served)
        https_port = address_of(self._sockets.https[0]).port
        return RedirectToHttps(router, https_port, self._challenge_answer)

    async def _sweep(self) -> None:
        """The one timer of the hot path: see ``proxy.clock``."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._clock.now = self._loop.time()
            for connection in self._connections.snapshot():
                connection.sweep(now)
            for pool in list(self._pools.awake):
                pool.sweep(now)

    async def _drain(self) -> None:
        """Stop accepting, let requests in flight finish, then end what is left."""
        for server in self._servers:
            server.close()
        for connection in self._connections.snapshot():
            connection.stop()
        if not await self._connections.wait_until_empty(self._config.limits.shutdown_timeout):
            logger.warning("%d connections were cut off at the stop", len(self._connections))
            for connection in self._connections.snapshot():
                connection.abort()
            await asyncio.sleep(0)

    # -- certificates --------------------------------------------------------------------------

    def _load_own_files(self) -> None:
        """Before the first handshake: a file that cannot be used has been refused by the parent.

        With many sites the rest are loaded when they are first asked for.
        """
        for follower, served in list(self._followers.items())[:WARM_UP_SITES]:
            try:
                served.context.install([follower.load()])
            except CertificateFileError as error:
                logger.error("%s: %s", served.name, error)
            self._followed.append(follower)
        if self._followers:
            self._spawn(follow(self._followed, self._install_own))

    async def _own_pair(self, follower: PairFollower) -> list[PemPair]:
        pair = await asyncio.to_thread(follower.load)
        if follower not in self._followed:
            self._followed.append(follower)
        return [pair]

    async def _install_own(self, follower: PairFollower, pair: PemPair) -> None:
        served = self._followers[follower]
        served.context.install([pair])
        until = pair.not_after.date()
        logger.info("%s: new certificate from its files, until %s", served.name, until)

    def _serve_site(
        self, position: int, context: SiteContext, app: UnixAddress | None
    ) -> ServedSite:
        """One site at work; its certificate comes later."""
        site = self._config.sites[position]
        routes = make_site_routes(self._config, site, app, self._pools)
        if site.certificate is None:
            if site.on_demand:
                return ServedSite(context, routes, None)
            request = certificate_request(self._config, site)
            fetch: FetchPairs = partial(self._stored_pairs, request)
            return ServedSite(context, routes, fetch)
        follower = PairFollower(site.certificate.chain, site.certificate.key, _utc_now)
        served = ServedSite(context, routes, partial(self._own_pair, follower))
        self._followers[follower] = served
        return served

    async def _stored_pairs(self, request: CertificateRequest) -> list[PemPair]:
        try:
            return await asyncio.to_thread(read_pairs, self._store, request, self._installed)
        except StoreError as error:
            raise CertificateFileError(f"the store cannot be read: {error}") from error

    def _on_notice(self, notice: Notice) -> None:
        on_demand = self._on_demand
        if notice.kind == "installed":
            served = self._by_certificate.get(notice.name)
            if on_demand is not None:
                served = on_demand.installed(notice.name) or served
            if served is not None:
                self._spawn(served.load())
        elif on_demand is not None:
            if notice.kind == "refused":
                on_demand.refused(notice.name)
            elif notice.kind == "withdrawn":
                on_demand.withdrawn(notice.name)

    def _make_on_demand(self) -> NamesOnDemand | None:
        table = self._config.on_demand
        if table is None:
            return None
        return NamesOnDemand(
            make=self._candidate,
            want=lambda name: self._channel.send(Notice("wanted", name)),
            wait=table.wait,
            waiting=table.waiting,
            now=self._loop.time,
            today=_utc_now,
            added=self._add_on_demand,
            removed=self._remove_on_demand,
        )

    def _candidate(self, name: str) -> Candidate | None:
        """What would serve a name on demand: its site's routes, a certificate of its own."""
        site = on_demand_site(self._config, name)
        if site is None:
            return None
        try:
            request = on_demand_request(self._config, site, name)
        except RequestError as error:
            logger.debug("%s", error)
            return None
        routes = self._served[self._config.sites.index(site)].site
        assert routes is not None  # only challenges have none

        async def fetch() -> list[PemPair]:
            pairs = await self._stored_pairs(request)
            candidate.not_after = min((pair.not_after for pair in pairs), default=None)
            return pairs

        context = SiteContext(tls_options(site), lazily=True)
        served = ServedSite(context, routes.under(name), fetch)
        candidate = Candidate(served, request.certificate_ids)
        return candidate

    def _add_on_demand(self, candidate: Candidate) -> None:
        assert candidate.served.site is not None
        self._router.add(candidate.served.site)
        for certificate_id in candidate.certificate_ids:
            self._by_certificate[certificate_id] = candidate.served

    def _remove_on_demand(self, candidate: Candidate) -> None:
        assert candidate.served.site is not None
        self._router.remove(candidate.served.site)
        for certificate_id in candidate.certificate_ids:
            self._by_certificate.pop(certificate_id, None)
            self._installed.pop(certificate_id, None)

    async def _warm_up(self) -> None:
        """Load certificates before they are asked for, so that faults show in the log at start."""
        for served in list(self._by_certificate.values())[:WARM_UP_SITES]:
            await served.load()

    async def _poll_store(self) -> None:
        while True:
            await asyncio.sleep(STORE_POLL_SECONDS)
            for certificate_id, served in list(self._by_certificate.items()):
                if served.context.ready and await self._has_changed(certificate_id):
                    await served.load()

    async def _has_changed(self, certificate_id: str) -> bool:
        try:
            stored = await asyncio.to_thread(self._store.load_certificate, certificate_id)
        except StoreError as error:
            logger.error("the store cannot be read: %s", error)
            return False
        return stored is not None and stored.fingerprint != self._installed.get(certificate_id)

    # -- challenges ----------------------------------------------------------------------------

    async def _challenge_answer(self, token: str) -> str | None:
        try:
            return await asyncio.to_thread(self._store.get_challenge, "http-01", token)
        except StoreError as error:
            raise OSError(str(error)) from error

    async def _challenge_pair(self, name: str) -> PemPair | None:
        try:
            pem = await asyncio.to_thread(self._store.get_challenge, "tls-alpn-01", name)
        except StoreError as error:
            logger.error("the store cannot be read: %s", error)
            return None
        return parse_pair(pem.encode(), pem.encode()) if pem else None

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


def read_pairs(
    store: Store, request: CertificateRequest, installed: dict[str, str]
) -> list[PemPair]:
    """The pairs that the store has for a request; in a thread, for it reads and parses."""
    pairs: dict[str, PemPair] = {}
    for certificate_id in request.certificate_ids:
        stored = store.load_certificate(certificate_id)
        if stored is not None:
            installed[certificate_id] = stored.fingerprint
            pair = parse_pair(stored.chain_pem.encode(), stored.key_pem.encode())
            # After a change of key_types both ids may, for a while, hold one type.
            pairs.setdefault(pair.key_type, pair)
    return list(pairs.values())


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _ignore() -> None:
    """A signal that is the parent's to act on."""
