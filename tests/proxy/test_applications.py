"""Tests of proxy.applications: what becomes of a request at each port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from proxy.applications import MAX_LOOKUPS, ForwardToSites, RedirectToHttps
from proxy.client import ClientInfo
from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from proxy.http.engine import make_engine
from proxy.http.head import HeadReader
from proxy.limits import Limits
from proxy.routing import Route, Router, SiteRoutes
from proxy.upstream.pool import Pool

READER = HeadReader(make_engine("httptools", 32768), Limits())
API = SiteRoutes(("api.test",), [Route(b"", cast(Pool, "api"))])
SHOP = SiteRoutes(("shop.test", "*.shop.test"), [Route(b"/v1", cast(Pool, "v1"))])
ROUTER: Router[Pool] = Router([API, SHOP])
TOKEN = "a" * 43


class FakeExchange:
    """Notes what it was told."""

    def __init__(self, head: bytes, site: SiteRoutes[Pool] | None = None) -> None:
        self.head = READER.request(head)
        self.info = ClientInfo("203.0.113.9", 1, "https")
        self.info.site = site
        self.forwarded: Forwarding | None = None
        self.answer: tuple[int, list[tuple[bytes, bytes]], bytes] | None = None
        self.closed = False
        self.flushed = asyncio.Event()

    def forward(self, plan: Forwarding) -> None:
        self.forwarded = plan

    def refuse(self, status: int, detail: str | None = None, *, close: bool = False) -> None:
        self.respond(status, [], b"")
        self.closed = close

    def respond(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.answer = status, fields, body

    def flush(self) -> None:
        self.flushed.set()

    @property
    def status(self) -> int:
        return self.answer[0] if self.answer else 0


def get(target: str, host: str = "api.test", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def run(application: Callable[[Exchange], None], exchange: FakeExchange) -> FakeExchange:
    application(cast(Exchange, exchange))
    return exchange


def redirecting(
    answer: Callable[[str], Awaitable[str | None]] | None = None, port: int = 443
) -> RedirectToHttps:
    async def nothing(token: str) -> str | None:
        return None

    return RedirectToHttps(ROUTER, port, answer or nothing)


class TestForwardToSites:
    def test_by_host(self) -> None:
        exchange = run(ForwardToSites(ROUTER), FakeExchange(get("/x")))
        assert exchange.forwarded is not None
        assert exchange.forwarded.site is API

    def test_a_plan_is_made_once_for_a_head_and_application(self) -> None:
        application = ForwardToSites(ROUTER)
        first = run(application, FakeExchange(get("/once"))).forwarded
        assert run(application, FakeExchange(get("/once"))).forwarded is first
        assert run(ForwardToSites(ROUTER), FakeExchange(get("/once"))).forwarded is not first

    @pytest.mark.parametrize("host", ["other.test", "api.test.evil", "127.0.0.1"])
    def test_an_unknown_host_reaches_no_backend(self, host: str) -> None:
        exchange = run(ForwardToSites(ROUTER), FakeExchange(get("/", host)))
        assert (exchange.status, exchange.forwarded) == (421, None)

    def test_a_host_of_another_certificate(self) -> None:
        application = ForwardToSites(ROUTER)
        assert run(application, FakeExchange(get("/"), API)).forwarded is not None
        # Also when the plan is known already.
        exchange = run(application, FakeExchange(get("/"), SHOP))
        assert (exchange.status, exchange.forwarded) == (421, None)

    def test_no_route(self) -> None:
        exchange = run(ForwardToSites(ROUTER), FakeExchange(get("/v10", "shop.test"), SHOP))
        assert exchange.status == 404

    def test_trace_is_refused(self) -> None:
        exchange = run(ForwardToSites(ROUTER), FakeExchange(get("/", method="TRACE")))
        assert (exchange.status, exchange.closed) == (405, True)


class TestRedirectToHttps:
    @pytest.mark.parametrize(
        ("target", "host", "port", "location"),
        [
            ("/a?b=c", "api.test", 443, b"https://api.test/a?b=c"),
            ("/a?b=c", "api.test:80", 8443, b"https://api.test:8443/a?b=c"),
            ("//evil.test/", "x.shop.test", 443, b"https://x.shop.test//evil.test/"),
        ],
    )
    def test_host_path_and_query_are_kept(
        self, target: str, host: str, port: int, location: bytes
    ) -> None:
        exchange = run(redirecting(port=port), FakeExchange(get(target, host)))
        assert exchange.answer == (308, [(b"Location", location)], b"")

    def test_an_unknown_host_is_not_reflected(self) -> None:
        assert run(redirecting(), FakeExchange(get("/", "evil.test"))).status == 421

    @pytest.mark.anyio
    async def test_a_challenge_is_answered(self) -> None:
        async def answer(token: str) -> str | None:
            return f"{token}.thumbprint"

        target = f"/.well-known/acme-challenge/{TOKEN}"
        exchange = run(redirecting(answer), FakeExchange(get(target, "unknown.test")))
        await exchange.flushed.wait()
        assert exchange.answer is not None
        assert (exchange.answer[0], exchange.answer[2]) == (200, f"{TOKEN}.thumbprint".encode())

    @pytest.mark.anyio
    async def test_an_unknown_token_is_404_and_not_redirected(self) -> None:
        exchange = run(redirecting(), FakeExchange(get(f"/.well-known/acme-challenge/{TOKEN}")))
        await exchange.flushed.wait()
        assert exchange.status == 404

    @pytest.mark.parametrize(
        "token", ["", "short", "../../etc/passwd", "a" * 129, "a" * 22 + "/b", "a" * 22 + "%2e"]
    )
    def test_what_is_no_token_is_404(self, token: str) -> None:
        target = f"/.well-known/acme-challenge/{token}"
        assert run(redirecting(), FakeExchange(get(target))).status == 404

    @pytest.mark.anyio
    async def test_a_store_that_fails_is_500(self) -> None:
        async def answer(token: str) -> str | None:
            raise OSError("disk on fire")

        exchange = run(
            redirecting(answer), FakeExchange(get(f"/.well-known/acme-challenge/{TOKEN}"))
        )
        await exchange.flushed.wait()
        assert exchange.status == 500
        assert exchange.answer is not None
        assert b"fire" not in exchange.answer[2]

    @pytest.mark.anyio
    async def test_a_flood_of_tokens_is_bounded(self) -> None:
        release = asyncio.Event()

        async def answer(token: str) -> str | None:
            await release.wait()
            return None

        application = redirecting(answer)
        target = f"/.well-known/acme-challenge/{TOKEN}"
        waiting = [run(application, FakeExchange(get(target))) for _ in range(MAX_LOOKUPS)]
        assert run(application, FakeExchange(get(target))).status == 503
        release.set()
        for exchange in waiting:
            await exchange.flushed.wait()
            assert exchange.status == 404
