"""Tests of proxy.forwarding: the head that a backend gets."""

from __future__ import annotations

from typing import cast

from proxy.forwarding import Forwarding
from proxy.http.engine import make_engine
from proxy.http.head import HeadReader
from proxy.http.header_rules import HeaderRules
from proxy.limits import Limits
from proxy.routing import Route, SiteRoutes
from proxy.upstream.pool import Pool

READER = HeadReader(make_engine("httptools", 32768), Limits())


def plan(head: bytes, route: Route[Pool] | None = None) -> Forwarding:
    pool = cast(Pool, "pool")
    route = route or Route(b"", pool)
    return Forwarding("maker", READER.request(head), SiteRoutes(("h",), [route]), route)


def route(**options: object) -> Route[Pool]:
    made: Route[Pool] = Route(cast(bytes, options.pop("prefix", b"")), cast(Pool, "pool"))
    for name, value in options.items():
        object.__setattr__(made, name, value)
    return made


def test_host_first_and_framing_last() -> None:
    made = plan(b"POST /x?y=1 HTTP/1.1\r\nAccept: */*\r\nHost: h:8443\r\nContent-Length: 5\r\n\r\n")
    assert made.head == (
        b"POST /x?y=1 HTTP/1.1\r\nHost: h:8443\r\nAccept: */*\r\nX-Forwarded-Host: h:8443\r\n"
        b"Via: 1.1 vestibule\r\nContent-Length: 5\r\n"
    )


def test_a_stripped_prefix_is_told() -> None:
    made = plan(b"GET /v1/app?q HTTP/1.1\r\nHost: h\r\n\r\n", route(prefix=b"/v1", strip=True))
    assert made.head.startswith(b"GET /app?q HTTP/1.1\r\n")
    assert b"X-Forwarded-Prefix: /v1\r\n" in made.head


def test_rules_take_out_and_put_in() -> None:
    rules = HeaderRules({"X-Team": "api"}, ["cookie"])
    made = plan(
        b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nX-Team: evil\r\n\r\n",
        route(request_rules=rules),
    )
    assert b"Cookie" not in made.head
    assert made.head.count(b"X-Team") == 1
    assert b"X-Team: api\r\n" in made.head


def test_only_a_get_over_http_1_1_upgrades() -> None:
    upgrade = b"Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert plan(b"GET / HTTP/1.1\r\n" + upgrade).tunnel
    assert not plan(b"POST / HTTP/1.1\r\n" + upgrade).tunnel
    assert not plan(b"GET / HTTP/1.0\r\n" + upgrade).tunnel
    assert b"Upgrade" not in plan(b"POST / HTTP/1.1\r\n" + upgrade).head


def test_a_declared_length_over_the_limit() -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
    assert plan(head, route(body_bytes=5)).too_large
    assert not plan(head, route(body_bytes=6)).too_large
    assert not plan(head).too_large


def test_the_same_for_http_2() -> None:
    head = READER.request(b"GET /v1/x HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nTE: trailers\r\n\r\n")
    the_route = route(prefix=b"/v1", strip=True)
    made = Forwarding("maker", head, SiteRoutes(("h",), [the_route]), the_route)
    path, fields = made.http2(head)
    assert path == b"/x"
    assert (b"X-Forwarded-Prefix", b"/v1") in fields
    assert not any(name.lower() in (b"te", b"host") for name, _ in fields)
    assert made.http2(head)[1] is fields
