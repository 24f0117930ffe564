"""From the tables of a configuration to routes and pools; by a ClientHello to a site."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.clock import CoarseClock
from proxy.config.addresses import UnixAddress
from proxy.config.model import Config, Site
from proxy.errors import CertificateFileError, ClientHelloError
from proxy.http.engine import make_engine
from proxy.http.head import HeadReader
from proxy.limits import READ_BYTES
from proxy.routing import SiteRoutes
from proxy.sites import (
    ALPN,
    MAX_LOOKUPS,
    ChallengeSession,
    ServedSite,
    SiteFront,
    make_index,
    make_router,
    make_site_contexts,
    make_site_routes,
    pool_options,
    tls_options,
)
from proxy.tls.alerts import Alert
from proxy.tls.client_hello import ClientHello
from proxy.tls.contexts import SiteContext
from proxy.tls.index import CertificateIndex
from proxy.tls.pem_pair import PemPair
from proxy.upstream.options import PoolShared
from proxy.upstream.pool import Pool
from tests.proxy.tls.certificates import Authority

SITE = {"names": ["a.example"], "upstreams": ["127.0.0.1:1", "127.0.0.1:2"]}
FILES = {"chain": "/c.pem", "key": "/k.pem"}


def config(*sites: dict[str, Any], **more: Any) -> Config:
    tables = {"acme": {"directory": "internal"}, "sites": [{**SITE, **site} for site in sites]}
    return Config.model_validate({**tables, **more})


def routes_of(found: Config, app: UnixAddress | None = None) -> SiteRoutes[Pool]:
    limits = found.limits
    reader = HeadReader(make_engine("h11", limits.header_bytes), limits)
    buffer = memoryview(bytearray(READ_BYTES))
    shared = PoolShared(reader, limits, CoarseClock(0.0), lambda: 0.5, buffer)
    return make_site_routes(found, found.sites[0], app, shared)


# -- routes and pools ------------------------------------------------------------------------------


def test_a_site_without_routes_has_one() -> None:
    route = routes_of(config({}, limits={"body_bytes": 7})).route(b"/any/path")
    assert route is not None
    assert (route.prefix, route.body_bytes, route.strip) == (b"", 7, False)
    assert route.pool.name == "127.0.0.1:1, 127.0.0.1:2"


def test_routes_of_the_same_upstreams_share_a_pool() -> None:
    found = routes_of(
        config(
            {
                "routes": [
                    {"path": "/v1", "strip_prefix": True, "body_bytes": 0},
                    {"path": "/v2", "upstreams": ["127.0.0.1:3"]},
                    {"path": "/v3", "balancing": {"policy": "hash"}},
                ]
            },
            limits={"body_bytes": 7},
        )
    )
    root, first, second, third = map(found.route, (b"/", b"/v1/x", b"/v2", b"/v3"))
    assert root is not None
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.pool is root.pool
    assert (first.strip, first.body_bytes) == (True, 0)
    assert (second.pool.name, second.body_bytes) == ("127.0.0.1:3", 7)
    assert third.pool is not root.pool
    assert len(found.pools) == 3


def test_without_backends_of_its_own_there_is_no_root() -> None:
    only = {"path": "/v1", "upstreams": ["127.0.0.1:3"]}
    found = routes_of(config({"upstreams": [], "routes": [only]}))
    assert found.route(b"/v1") is not None
    assert found.route(b"/v2") is None


def test_an_app_is_the_backend() -> None:
    found = routes_of(config({"upstreams": [], "app": "main:app"}), UnixAddress("/run/app.sock"))
    route = found.route(b"/")
    assert route is not None
    assert route.pool.name == "unix:/run/app.sock"


def test_header_rules_of_a_route_replace_the_sites() -> None:
    own = {"path": "/v1", "headers": {"response_set": {"X-B": "2"}}}
    found = routes_of(config({"headers": {"request_remove": ["X-A"]}, "routes": [own]}))
    root, first = found.route(b"/"), found.route(b"/v1")
    assert root is not None
    assert first is not None
    assert root.request_rules is not first.request_rules
    assert root.response_rules is not first.response_rules


def test_what_the_tables_of_balancing_say() -> None:
    balancing = {
        "policy": "hash",
        "hash_by": "header:X-User",
        "weights": [1, 2],
        "connections": 5,
        "queue": 6,
        "queue_timeout": 7.0,
        "failures": 8,
        "within": 9.0,
        "out_for": 10.0,
        "proxy_protocol": "v2",
    }
    (site,) = config({"balancing": balancing, "routes": [{"path": "/v1"}]}).sites
    options = pool_options(site, site.routes[0])
    assert (options.policy, options.hash_by, options.hash_name) == ("hash", "header", b"x-user")
    assert (options.weights, options.connections) == ((1, 2), 5)
    assert (options.queue, options.queue_timeout, options.proxy_protocol) == (6, 7.0, 2)
    passive = options.passive
    assert (passive.failures, passive.within, passive.out_for) == (8, 9.0, 10.0)
    assert options.active is None


def test_a_route_with_other_upstreams_has_no_use_for_the_sites_weights() -> None:
    route = {"path": "/v1", "upstreams": ["127.0.0.1:3"]}
    (site,) = config({"balancing": {"weights": [1, 2]}, "routes": [route]}).sites
    assert pool_options(site, site.routes[0]).weights == ()


def test_a_cookies_name_has_its_case() -> None:
    (site,) = config({"balancing": {"hash_by": "cookie:Sid"}, "routes": [{"path": "/v1"}]}).sites
    options = pool_options(site, site.routes[0])
    assert (options.hash_by, options.hash_name) == ("cookie", b"Sid")


@pytest.mark.parametrize(
    ("check", "names", "host"),
    [
        ({}, ["*.a.example"], "a.example"),
        ({"host": "health.example"}, ["a.example"], "health.example"),
    ],
)
def test_health_checks(check: dict[str, Any], names: list[str], host: str) -> None:
    table = {"path": "/up", "interval": 3.0, "timeout": 2.0, "expected": "204", **check}
    own: dict[str, Any] = {"certificate": FILES, "names": names, "health_check": table}
    (site,) = config({**own, "routes": [{"path": "/v1"}]}).sites
    active = pool_options(site, site.routes[0]).active
    assert active is not None
    assert (active.path, active.host, active.interval, active.timeout) == ("/up", host, 3.0, 2.0)
    assert (204 in active.expected, 200 in active.expected) == (True, False)


def test_client_certificates_are_a_matter_of_the_context() -> None:
    asked = {"certificate": FILES, "client_certificates": {"ca": "/ca.pem", "mode": "optional"}}
    first, second = config(asked, {"names": ["b.example"]}).sites
    assert tls_options(first).client_certificate == "optional"
    assert tls_options(second).client_certificate == "none"
    assert tls_options(second).alpn == ALPN


# -- who is chosen ---------------------------------------------------------------------------------


def served(site: Site, context: SiteContext, fetch: Any = None) -> ServedSite:
    return ServedSite(context, SiteRoutes(site.names, []), fetch)


def all_served(found: Config) -> list[ServedSite]:
    return [
        served(site, context)
        for site, context in zip(found.sites, make_site_contexts(found), strict=True)
    ]


def test_names_and_the_default() -> None:
    found = config({}, {"names": ["192.0.2.1"]}, {"names": ["b.example"]})
    first, second, third = entries = all_served(found)
    index = make_index(found, entries)
    assert index.lookup("a.example") is first
    assert index.lookup(None) is second
    assert make_router(entries).site("b.example") is third.site
    named = config({}, {"names": ["192.0.2.1"]}, default_site="a.example")
    first, second = entries = all_served(named)
    assert make_index(named, entries).lookup(None) is first


def test_two_addresses_are_no_default() -> None:
    found = config({"names": ["192.0.2.1"]}, {"names": ["192.0.2.2"]})
    assert make_index(found, all_served(found)).lookup(None) is None


class Fetching:
    """What a store gives, when it is let."""

    def __init__(self, pairs: Sequence[PemPair] | Exception = ()) -> None:
        self.pairs = pairs
        self.let = asyncio.Event()
        self.count = 0

    async def __call__(self) -> Sequence[PemPair]:
        self.count += 1
        await self.let.wait()
        if isinstance(self.pairs, Exception):
            raise self.pairs
        return self.pairs


def front_of(fetch: Fetching, **more: Any) -> SiteFront:
    found = config({})
    (context,) = make_site_contexts(found)
    index: CertificateIndex[ServedSite] = CertificateIndex()
    index.set(("a.example",), served(found.sites[0], context, fetch))
    return SiteFront(index, more.pop("fetch_challenge", None), **more)


async def chosen(front: SiteFront, name: str | None, *alpn: bytes) -> object:
    found = front.choose(ClientHello(name, alpn))
    return found if isinstance(found, ServedSite) else await found


@pytest.mark.anyio
async def test_those_who_wait_for_a_certificate_share_its_fetch() -> None:
    fetch = Fetching([Authority().issue("a.example")])
    front = front_of(fetch)
    waiting = [asyncio.ensure_future(chosen(front, "a.example")) for _ in range(3)]
    await asyncio.sleep(0)
    fetch.let.set()
    found = await asyncio.gather(*waiting)
    assert found[0] is found[1] is found[2]
    assert fetch.count == 1
    assert await chosen(front, "a.example") is found[0]


@pytest.mark.anyio
@pytest.mark.parametrize("pairs", [(), CertificateFileError("it is damaged")])
async def test_no_certificate_is_an_unrecognised_name(pairs: Any) -> None:
    fetch = Fetching(pairs)
    fetch.let.set()
    with pytest.raises(ClientHelloError, match=r"no certificate for a\.example yet") as caught:
        await chosen(front_of(fetch), "a.example")
    assert caught.value.alert is Alert.UNRECOGNIZED_NAME


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["other.example", None])
async def test_nobody_is_chosen_by_guess(name: str | None) -> None:
    with pytest.raises(ClientHelloError, match="no site for"):
        await chosen(front_of(Fetching()), name)


@pytest.mark.anyio
async def test_a_flood_of_handshakes_finds_a_limit() -> None:
    """Beyond it nothing is begun, so nothing is left behind either."""
    fetch = Fetching([Authority().issue("a.example")])
    front = front_of(fetch)
    waiting = [asyncio.ensure_future(chosen(front, "a.example")) for _ in range(MAX_LOOKUPS)]
    await asyncio.sleep(0)
    with pytest.raises(ClientHelloError, match="too many certificates") as caught:
        await chosen(front, "a.example")
    assert caught.value.alert is Alert.INTERNAL_ERROR
    fetch.let.set()
    await asyncio.gather(*waiting)


@pytest.mark.anyio
async def test_the_wait_for_the_store_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sites.LOOKUP_SECONDS", 0.01)
    fetch = Fetching()
    with pytest.raises(ClientHelloError, match="the store did not answer"):
        await chosen(front_of(fetch), "a.example")
    fetch.let.set()
    await asyncio.sleep(0)


@pytest.mark.anyio
async def test_challenges() -> None:
    pair = Authority().issue("a.example")

    async def pending(name: str) -> PemPair | None:
        return pair if name == "a.example" else None

    front = front_of(Fetching(), fetch_challenge=pending)
    assert isinstance(await chosen(front, "a.example", b"acme-tls/1"), ChallengeSession)
    with pytest.raises(ClientHelloError, match="no challenge pending"):
        await chosen(front, "b.example", b"acme-tls/1")
    for name, alpn in (("a.example", (b"acme-tls/1", b"h2")), (None, (b"acme-tls/1",))):
        with pytest.raises(ClientHelloError, match="odd TLS-ALPN-01") as caught:
            await chosen(front, name, *alpn)
        assert caught.value.alert is Alert.NO_APPLICATION_PROTOCOL


@pytest.mark.anyio
async def test_challenges_keep_no_site_from_loading() -> None:
    let = asyncio.Event()

    async def slow(name: str) -> PemPair | None:
        await let.wait()
        return None

    fetch = Fetching([Authority().issue("a.example")])
    fetch.let.set()
    front = front_of(fetch, fetch_challenge=slow)
    waiting = [
        asyncio.ensure_future(chosen(front, "b.example", b"acme-tls/1")) for _ in range(MAX_LOOKUPS)
    ]
    await asyncio.sleep(0)
    with pytest.raises(ClientHelloError, match="too many"):
        await chosen(front, "b.example", b"acme-tls/1")
    assert isinstance(await chosen(front, "a.example"), ServedSite)
    let.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, ClientHelloError) for error in ended)
