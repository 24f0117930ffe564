"""From host name to site, from path to route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing import Route, Router, SiteRoutes


def site(*prefixes: bytes, names: tuple[str, ...] = ("a.test",)) -> SiteRoutes[str]:
    return SiteRoutes(names, [Route(prefix, prefix.decode()) for prefix in prefixes])


@pytest.mark.parametrize(
    ("target", "pool"),
    [
        (b"/", ""),
        (b"/api", "/api"),
        (b"/api/", "/api"),
        (b"/api?x", "/api"),
        (b"/api/v1", "/api/v1"),
        (b"/api/v1/x", "/api/v1"),
        (b"/api/v1?x", "/api/v1"),
        (b"/api/v10", "/api"),
        (b"/apix", ""),
        (b"/API", ""),
        (b"/%61pi", ""),
        (b"/x/../api", ""),
        (b"//api", ""),
        (b"*", ""),
    ],
)
def test_the_longest_prefix_of_whole_segments_wins(target: bytes, pool: str) -> None:
    route = site(b"", b"/api/v1", b"/api").route(target)
    assert route is not None
    assert route.pool == pool


def test_without_a_root_some_targets_have_no_route() -> None:
    routes = site(b"/api")
    assert routes.root is None
    assert routes.route(b"/other") is None
    assert routes.route(b"*") is None


def test_a_single_root_needs_no_search() -> None:
    routes = site(b"")
    assert routes.root is not None
    assert routes.route(b"/x") is routes.root
    assert site(b"", b"/a").root is None


@pytest.mark.parametrize(
    ("target", "rewritten"),
    [
        (b"/api", b"/"),
        (b"/api/", b"/"),
        (b"/api/x?y", b"/x?y"),
        (b"/api?y", b"/?y"),
        (b"/api//x", b"//x"),
    ],
)
def test_a_stripped_prefix(target: bytes, rewritten: bytes) -> None:
    assert Route(b"/api", "", strip=True).rewrite(target) == rewritten
    assert Route(b"/api", "").rewrite(target) == target


@given(st.binary(max_size=20).map(lambda rest: b"/api/v1" + rest))
def test_what_matches_is_rewritten_to_a_path(target: bytes) -> None:
    route = Route(b"/api/v1", "", strip=True)
    if route.matches(target):
        assert route.rewrite(target).startswith(b"/")
        assert route.rewrite(target).endswith(target[7:])


def test_exact_names_beat_wildcards_of_one_label() -> None:
    exact = site(b"", names=("www.a.test",))
    wild = site(b"", names=("*.a.test",))
    apex = site(b"", names=("a.test", "b.test"))
    router = Router([wild, apex, exact])
    assert router.site("www.a.test") is exact
    assert router.site("other.a.test") is wild
    assert router.site("a.test") is apex
    assert router.site("b.test") is apex
    for name in ("x.y.a.test", ".a.test", "c.test", "test", "", "*.b.test"):
        assert router.site(name) is None
    assert router.site("*.a.test") is wild


def test_repr() -> None:
    assert repr(site(b"")) == "<SiteRoutes a.test>"


def test_a_site_with_any_name_comes_last() -> None:
    exact, wild, anyone = (
        site(b"", names=("a.test",)),
        site(names=("*.b.test",)),
        site(names=("*",)),
    )
    router = Router([anyone, exact, wild])
    assert router.site("a.test") is exact
    assert router.site("x.b.test") is wild
    assert router.site("c.test") is anyone
    assert Router([exact]).site("c.test") is None


def test_sites_come_and_go() -> None:
    first, second = site(b""), site(b"")
    router = Router([first])
    router.add(second)
    router.remove(first)
    assert router.site("a.test") is second
    router.remove(second)
    assert router.site("a.test") is None


def test_the_same_routes_under_another_name() -> None:
    routes = site(b"", b"/api")
    other = routes.under("b.test")
    assert other.names == ("b.test",)
    assert other.route(b"/api/x") is routes.route(b"/api/x")
