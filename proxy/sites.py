"""The sites of a configuration at work in one worker: routes, pools, certificates.

:class:`ServedSite` joins what the TLS side needs of a site (its context) with what the HTTP side
needs (its routes). :class:`SiteFront` chooses one by the ClientHello. Certificates come in as
PEM pairs from whoever has them; nothing here knows of stores or files.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Literal, Protocol, TypeVar

from proxy.config.addresses import UnixAddress, UpstreamAddress
from proxy.config.fields import is_ip
from proxy.config.model import Config, HealthCheck, Site
from proxy.config.model import Route as RouteTable
from proxy.errors import CertificateFileError, ClientHelloError
from proxy.http.header_rules import header_rules
from proxy.limits import SECONDS
from proxy.routing import Route, Router, SiteRoutes
from proxy.tls.alerts import Alert
from proxy.tls.client_hello import ACME_TLS_1, ClientHello, select_alpn
from proxy.tls.contexts import SiteContext, TlsOptions, load_pair_into, make_context
from proxy.tls.index import CertificateIndex
from proxy.tls.pem_pair import PemPair
from proxy.tls.session import TlsSession
from proxy.upstream.health import ActivePolicy, PassivePolicy, StatusRanges
from proxy.upstream.options import PoolOptions, PoolShared
from proxy.upstream.pool import Pool

logger = logging.getLogger(__name__)

ALPN: Final = ("h2", "http/1.1", "http/1.0")
"""What is spoken to clients, in order of preference; ``curl --http1.0`` offers nothing but that."""

EAGER_CONTEXTS: Final = 1000
"""So many sites share their ticket keys among workers; an empty context takes 0.13 ms and 12 KiB,
and thousands of them would hold up the start."""

MAX_LOOKUPS: Final = 32
"""Certificates being fetched for waiting handshakes at once."""
LOOKUP_SECONDS: Final = 5 * SECONDS

_HASH_BY: Final[dict[str, Literal["address", "header", "cookie"]]] = {
    "address": "address",
    "header": "header",
    "cookie": "cookie",
}
_PROXY_PROTOCOL: Final[dict[str, Literal[0, 1, 2]]] = {"off": 0, "v1": 1, "v2": 2}

_ROOT: Final = RouteTable(path="/")

T = TypeVar("T")

FetchPairs = Callable[[], Awaitable[Sequence[PemPair]]]
FetchChallenge = Callable[[str], Awaitable[PemPair | None]]


def make_site_contexts(config: Config) -> list[SiteContext]:
    """One empty context per site, in their order; made before the fork."""
    return [
        SiteContext(tls_options(site), lazily=position >= EAGER_CONTEXTS)
        for position, site in enumerate(config.sites)
    ]


def tls_options(site: Site) -> TlsOptions:
    """What the site's contexts are made of."""
    clients = site.client_certificates
    if clients is None:
        return TlsOptions(alpn=ALPN)
    return TlsOptions(alpn=ALPN, client_certificate=clients.mode, client_ca=clients.ca)


def make_site_routes(
    config: Config, site: Site, app: UnixAddress | None, shared: PoolShared
) -> SiteRoutes[Pool]:
    """The routes of a site, each with its pool; routes that use the same upstreams share one.

    Args:
        config: the whole.
        site: one of its sites.
        app: where the site's app listens, when it has one.
        shared: what all pools share.
    """
    own: tuple[UpstreamAddress, ...] = site.upstreams if app is None else (app,)
    pools: dict[tuple[tuple[UpstreamAddress, ...], PoolOptions], Pool] = {}

    def make(route: RouteTable) -> Route[Pool]:
        addresses = route.upstreams or own
        options = pool_options(site, route)
        pool = pools.get((addresses, options))
        if pool is None:
            pool = pools[addresses, options] = Pool(addresses, shared, options)
        body_bytes = config.limits.body_bytes if route.body_bytes is None else route.body_bytes
        headers = route.headers or site.headers
        return Route(
            prefix=b"" if route.path == "/" else route.path.encode("ascii"),
            pool=pool,
            strip=route.strip_prefix,
            body_bytes=body_bytes,
            request_rules=header_rules(headers.request_set, headers.request_remove),
            response_rules=header_rules(headers.response_set, headers.response_remove),
        )

    routes = [make(route) for route in site.routes]
    if own and all(route.prefix for route in routes):
        routes.append(make(_ROOT))
    return SiteRoutes(site.names, routes)


def pool_options(site: Site, route: RouteTable) -> PoolOptions:
    """What the tables ``balancing`` and ``health_check`` say, the route's before the site's."""
    balancing = route.balancing or site.balancing
    check = route.health_check or site.health_check
    kind, _, name = balancing.hash_by.partition(":")
    # A route with upstreams of its own cannot use weights that were given for the site's.
    weights = balancing.weights if route.balancing or not route.upstreams else ()
    return PoolOptions(
        policy=balancing.policy,
        hash_by=_HASH_BY[kind],
        hash_name=(name if kind == "cookie" else name.lower()).encode("ascii"),
        weights=weights,
        connections=balancing.connections,
        queue=balancing.queue,
        queue_timeout=balancing.queue_timeout,
        passive=PassivePolicy(
            failures=balancing.failures, within=balancing.within, out_for=balancing.out_for
        ),
        active=None if check is None else active_policy(site, check),
        proxy_protocol=_PROXY_PROTOCOL[balancing.proxy_protocol],
    )


def active_policy(site: Site, check: HealthCheck) -> ActivePolicy:
    """What the table ``health_check`` says."""
    return ActivePolicy(
        path=check.path,
        host=check.host or site.names[0].removeprefix("*."),
        interval=check.interval,
        timeout=check.timeout,
        expected=StatusRanges.parse(check.expected),
        rise=check.rise,
        fall=check.fall,
    )


class ServedSite:
    """One site: what a connection to it is shown, and where its requests go.

    It is what a ClientHello leads to (``TlsChoice``).
    """

    __slots__ = ("_fetch", "_loading", "context", "site")

    def __init__(
        self, context: SiteContext, routes: SiteRoutes[Pool], fetch: FetchPairs | None
    ) -> None:
        self.context = context
        self.site: SiteRoutes[Pool] | None = routes
        self._fetch = fetch
        self._loading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ServedSite {self.site!r} {self.context!r}>"

    @property
    def name(self) -> str:
        return self.site.names[0] if self.site is not None else ""

    def new_session(self) -> TlsSession:
        context = self.context.current
        assert context is not None, "chosen only when ready"
        return TlsSession(context)

    async def load(self) -> None:
        """Fetch and install the certificate; several who wait share one fetch."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
        await asyncio.shield(self._loading)

    async def reload(self) -> None:
        """Load what is there by now: a fetch under way may have looked too early."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        await self.load()

    async def _load(self) -> None:
        try:
            if self._fetch is not None:
                pairs = await self._fetch()
                if pairs:
                    self.context.install(pairs)
        except CertificateFileError as error:
            logger.error("%s: the certificate in use stays: %s", self.name, error)
        finally:
            self._loading = None


class OnDemandSites(Protocol):
    """Sites for names that are not configured."""

    def served(self, name: str) -> ServedSite | None:
        """The site of a name that is served already."""

    async def bring(self, name: str) -> ServedSite:
        """The site of another name, within bounds of its own. Raises ClientHelloError."""
        ...


class _Lookups:
    """What is being fetched for handshakes that wait: bounded in number and in time."""

    __slots__ = ("_under_way",)

    def __init__(self) -> None:
        self._under_way = 0

    async def bounded(self, lookup: Callable[[], Awaitable[T]]) -> T:
        """What ``lookup`` gives. Raises ClientHelloError when it is one too many, or too slow."""
        if self._under_way >= MAX_LOOKUPS:
            raise ClientHelloError("too many certificates are being fetched", Alert.INTERNAL_ERROR)
        self._under_way += 1
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await lookup()
        except TimeoutError as error:
            raise ClientHelloError("the store did not answer", Alert.INTERNAL_ERROR) from error
        finally:
            self._under_way -= 1


class SiteFront:
    """Chooses by the ClientHello; see ``TlsFront``."""

    __slots__ = ("_certificates", "_challenges", "_fetch_challenge", "_index", "_on_demand")

    def __init__(
        self,
        index: CertificateIndex[ServedSite],
        fetch_challenge: FetchChallenge | None,
        on_demand: OnDemandSites | None = None,
    ) -> None:
        self._index = index
        self._fetch_challenge = fetch_challenge
        self._on_demand = on_demand
        self._certificates = _Lookups()
        # Apart: anybody can ask for answers to challenges, and shall not keep sites from loading.
        self._challenges = _Lookups()

    def choose(self, hello: ClientHello) -> ServedSite | Awaitable[ServedSite | ChallengeSession]:
        """The site for a hello, at once or later. Raises ClientHelloError."""
        if self._fetch_challenge is not None and ACME_TLS_1.encode() in hello.alpn:
            return self._challenge(hello, self._fetch_challenge)
        select_alpn(hello, ALPN)
        served = self._index.lookup(hello.server_name)
        if served is None:
            if self._on_demand is not None and hello.server_name is not None:
                found = self._on_demand.served(hello.server_name)
                return found or self._on_demand.bring(hello.server_name)
            name = hello.server_name or "no server name"
            raise ClientHelloError(f"no site for {name}", Alert.UNRECOGNIZED_NAME)
        if served.context.current is not None:
            return served
        return self._wait_for(served)

    async def _wait_for(self, served: ServedSite) -> ServedSite:
        await self._certificates.bounded(served.load)
        if served.context.current is None:
            raise ClientHelloError(f"no certificate for {served.name} yet", Alert.UNRECOGNIZED_NAME)
        return served

    async def _challenge(self, hello: ClientHello, fetch: FetchChallenge) -> ChallengeSession:
        # RFC 8737 §3: this protocol alone, and a name.
        if hello.alpn != (ACME_TLS_1.encode(),) or hello.server_name is None:
            raise ClientHelloError("an odd TLS-ALPN-01 hello", Alert.NO_APPLICATION_PROTOCOL)
        pair = await self._challenges.bounded(partial(fetch, hello.server_name))
        if pair is None:
            raise ClientHelloError(
                f"no challenge pending for {hello.server_name}", Alert.NO_APPLICATION_PROTOCOL
            )
        return ChallengeSession(pair)


class ChallengeSession:
    """The answer to a TLS-ALPN-01 validation (RFC 8737): a certificate that proves control."""

    __slots__ = ("_pair", "site")

    def __init__(self, pair: PemPair) -> None:
        self._pair = pair
        self.site: SiteRoutes[Pool] | None = None

    def new_session(self) -> TlsSession:
        context: ssl.SSLContext = make_context(TlsOptions(alpn=(ACME_TLS_1,)))
        load_pair_into(context, self._pair)
        return TlsSession(context)


def make_index(config: Config, served: Sequence[ServedSite]) -> CertificateIndex[ServedSite]:
    """All names of all sites; ``default_site`` is for clients that send none.

    Without it that is the only site with an IP address for a name, if there is just one: who
    connects to an address sends no server name (RFC 6066 §3).

    The names of a site on demand stand for others, each with a certificate of its own.
    """
    index: CertificateIndex[ServedSite] = CertificateIndex()
    for site, entry in zip(config.sites, served, strict=True):
        if site.on_demand:
            continue
        index.set(site.names, entry)
        if config.default_site in site.names:
            index.default = entry
    if config.default_site is None:
        by_address = [
            entry
            for site, entry in zip(config.sites, served, strict=True)
            if any(map(is_ip, site.names))
        ]
        index.default = by_address[0] if len(by_address) == 1 else None
    return index


def make_router(served: Sequence[ServedSite]) -> Router[Pool]:
    """All sites by host name."""
    return Router([entry.site for entry in served if entry.site is not None])
