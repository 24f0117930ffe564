"""The certificates of one worker: what each site shows, where it comes from, and when it changes.

A site's certificate is in the store (the manager put it there), or in files of another tool, which
are followed; names on demand come and go. A notice says that something has changed in the store; a
slow timer looks anyway, so a lost notice costs a minute and not a certificate.

Nothing is ever written here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from acme_client import CertificateRequest, RequestError, Store, StoreError, open_store
from proxy.certificate_requests import certificate_request, on_demand_request, on_demand_site
from proxy.channel import ChannelEnd, Notice
from proxy.config.model import Config, Site
from proxy.errors import CertificateFileError
from proxy.limits import MINUTES
from proxy.on_demand import Candidate, NamesOnDemand
from proxy.routing import SiteRoutes
from proxy.sites import FetchPairs, ServedSite, SiteFront, make_index, make_router, tls_options
from proxy.tls.contexts import SiteContext
from proxy.tls.pem_files import PairFollower, follow
from proxy.tls.pem_pair import PemPair, parse_pair
from proxy.upstream.pool import Pool

logger = logging.getLogger(__name__)

STORE_POLL_SECONDS: Final = 1 * MINUTES
WARM_UP_SITES: Final = 256
"""So many certificates are loaded at start; the rest when first asked for."""

Spawn = Callable[[Coroutine[object, object, None]], None]


class Certificates:
    """See the module's docstring.

    Args:
        config: checked.
        contexts: one per site, in order, made by the parent.
        routes: of each site, in the same order.
        channel: to the parent.
        spawn: begins a task that lasts as long as the worker.
    """

    def __init__(
        self,
        config: Config,
        contexts: Sequence[SiteContext],
        routes: Sequence[SiteRoutes[Pool]],
        channel: ChannelEnd,
        spawn: Spawn,
    ) -> None:
        self._config = config
        self._channel = channel
        self._spawn = spawn
        self._store = open_store(config.storage)
        self._followers: dict[PairFollower, ServedSite] = {}
        self._followed: list[PairFollower] = []  # those whose files have been read
        self.served = [
            self._serve_site(*parts) for parts in zip(config.sites, contexts, routes, strict=True)
        ]
        """In the order of the configuration; one on demand only lends its routes."""
        steady = [
            (site, served)
            for site, served in zip(config.sites, self.served, strict=True)
            if not site.on_demand
        ]
        self._by_certificate = {
            certificate_id: served
            for site, served in steady
            if site.certificate is None
            for certificate_id in certificate_request(config, site).certificate_ids
        }
        self._installed: dict[str, str] = {}
        self.router = make_router([served for _, served in steady])
        """Of what is served over HTTPS now: names on demand come and go."""
        self._on_demand = self._make_on_demand()

    def front(self) -> SiteFront:
        """What chooses by the ClientHello."""
        index = make_index(self._config, self.served)
        fetch_challenge = self._challenge_pair if self._config.obtains else None
        return SiteFront(index, fetch_challenge, self._on_demand)

    def start(self) -> None:
        self._spawn(self._warm_up())
        self._spawn(self._poll_store())

    def close(self) -> None:
        if self._on_demand is not None:
            self._on_demand.close()

    def load_own_files(self) -> None:
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

    def _serve_site(self, site: Site, context: SiteContext, routes: SiteRoutes[Pool]) -> ServedSite:
        """One site at work; its certificate comes later."""
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

    def on_notice(self, notice: Notice) -> None:
        on_demand = self._on_demand
        if notice.kind == "installed":
            served = self._by_certificate.get(notice.name)
            if on_demand is not None:
                served = on_demand.installed(notice.name) or served
            if served is not None:
                self._spawn(served.reload())
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
            now=time.monotonic,
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
        routes = self.served[self._config.sites.index(site)].site
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
        self.router.add(candidate.served.site)
        for certificate_id in candidate.certificate_ids:
            self._by_certificate[certificate_id] = candidate.served

    def _remove_on_demand(self, candidate: Candidate) -> None:
        assert candidate.served.site is not None
        self.router.remove(candidate.served.site)
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
                if served.context.current is not None and await self._has_changed(certificate_id):
                    await served.load()

    async def _has_changed(self, certificate_id: str) -> bool:
        try:
            stored = await asyncio.to_thread(self._store.load_certificate, certificate_id)
        except StoreError as error:
            logger.error("the store cannot be read: %s", error)
            return False
        return stored is not None and stored.fingerprint != self._installed.get(certificate_id)

    async def challenge_answer(self, token: str) -> str | None:
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
