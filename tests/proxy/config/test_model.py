"""The model: defaults, and the faults that only several keys together make."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.config.addresses import TcpAddress, UnixAddress
from proxy.config.model import Config
from proxy.limits import Limits

SITE = {"names": ["api.example.com"], "upstreams": ["127.0.0.1:8000"]}


def faults(tree: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(tree)
    return {
        ".".join(map(str, error["loc"])): error["msg"]
        for error in caught.value.errors(include_url=False)
    }


def test_a_site_is_enough() -> None:
    config = Config.model_validate({"sites": [SITE]})
    assert config.listen.https == (TcpAddress("::", 443),)
    assert config.listen.http == (TcpAddress("::", 80),)
    assert config.limits == Limits()
    assert config.acme.directory == "letsencrypt"
    assert config.sites[0].upstreams == (TcpAddress("127.0.0.1", 8000),)
    assert config.state_dir == Path("state")


def test_it_is_frozen() -> None:
    config = Config.model_validate({"sites": [SITE]})
    with pytest.raises(ValidationError):
        config.http = "h11"


def test_what_is_written_out_reads_back_the_same() -> None:
    tree: dict[str, Any] = {
        "limits": {"header_bytes": 1000, "stall_timeout": 1.5},
        "acme": {"directory": "internal", "ca_certificates": "/ca.pem"},
        "sites": [
            SITE,
            {
                "names": ["*.Example.com", "10.0.0.1"],
                "app": "main:app",
                "certificate": {"chain": "a", "key": "b"},
                "routes": [{"path": "/v1", "upstreams": ["unix:/run/a", "[::1]:1"]}],
            },
        ],
    }
    config = Config.model_validate(tree)
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert config.sites[1].routes[0].upstreams == (UnixAddress("/run/a"), TcpAddress("::1", 1))


def test_limits_have_the_fields_of_limits() -> None:
    config = Config.model_validate({"sites": [SITE], "limits": asdict(Limits())})
    assert config.limits == Limits()
    found = faults(
        {"sites": [SITE], "limits": {"header_count": 0, "stall_timeout": 0, "body_bytes": -1}}
    )
    assert sorted(found) == ["limits.body_bytes", "limits.header_count", "limits.stall_timeout"]
    assert "limits.nonsense" in faults({"sites": [SITE], "limits": {"nonsense": 1}})
    assert "limits.header_bytes" in faults({"sites": [SITE], "limits": {"header_bytes": True}})
    assert "limits" in faults({"sites": [SITE], "limits": 3})


@pytest.mark.parametrize("workers", ["auto", 1, 256, "4"])
def test_workers(workers: object) -> None:
    config = Config.model_validate({"sites": [SITE], "workers": workers})
    assert config.workers == (workers if workers == "auto" else int(str(workers)))


@pytest.mark.parametrize("workers", [0, 257, -1, True, 1.5, "many", "٤", None])
def test_bad_workers(workers: object) -> None:
    assert faults({"sites": [SITE], "workers": workers}) == {
        "workers": f"{workers!r} is not allowed; allowed are 'auto' and 1 to 256"
    }


def test_a_name_belongs_to_one_site() -> None:
    found = faults({"sites": [SITE, {**SITE, "names": ["a.example", "API.example.com"]}]})
    assert found == {"sites.1.names.1": "'api.example.com' is already a name of sites[0]"}
    found = faults({"sites": [{**SITE, "names": ["a.example", "A.example"]}]})
    assert found == {"sites.0.names.1": "'a.example' is already a name of this site"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("*.example.com", "a wildcard cannot be proved over http-01 or tls-alpn-01"),
        ("10.0.0.1", "is no public address"),
        ("localhost", "is no public name"),
    ],
)
def test_names_that_the_ca_cannot_certify(name: str, reason: str) -> None:
    site = {**SITE, "names": [name]}
    found = faults({"sites": [site]})
    assert reason in found["sites.0.names.0"]
    Config.model_validate({"sites": [site], "acme": {"directory": "internal"}})
    own = {**site, "certificate": {"chain": "a", "key": "b"}}
    Config.model_validate({"sites": [own]})


def test_a_private_ca_may_certify_a_bare_name() -> None:
    directory = {"directory": "https://ca.internal/dir"}
    Config.model_validate({"sites": [{**SITE, "names": ["intranet"]}], "acme": directory})


@pytest.mark.parametrize(
    ("site", "key", "reason"),
    [
        ({}, "", "has no backend"),
        ({"app": "a:b", "upstreams": ["h:1"]}, ".app", "one or the other"),
        ({"upstreams": ["h:1"], "app_workers": 2}, ".app_workers", "needs app"),
        ({"upstreams": ["h:1"], "app_dir": "."}, ".app_dir", "needs app"),
        ({"routes": [{"path": "/"}]}, ".routes.0.upstreams", "is empty"),
        (
            {"upstreams": ["h:1"], "routes": [{"path": "/a"}, {"path": "/a"}]},
            ".routes.1.path",
            "stands here twice",
        ),
    ],
)
def test_backends_that_do_not_fit(site: dict[str, Any], key: str, reason: str) -> None:
    found = faults({"sites": [{"names": ["api.example.com"], **site}]})
    assert list(found) == [f"sites.0{key}"]
    assert reason in found[f"sites.0{key}"]


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"balancing": {"weights": [1, 2]}}, "sites.0.balancing.weights"),
        (
            {"routes": [{"path": "/a", "balancing": {"weights": [1, 2]}}]},
            "sites.0.routes.0.balancing.weights",
        ),
    ],
)
def test_weights_are_one_for_each_upstream(tree: dict[str, Any], key: str) -> None:
    found = faults({"sites": [{**SITE, **tree}]})
    assert found == {key: "has 2 weights for 1 upstreams; give one for each"}
    two = {**SITE, **tree, "upstreams": ["h:1", "h:2"]}
    Config.model_validate({"sites": [two]})


def test_connections_that_many_share_announce_no_client() -> None:
    balancing = {"proxy_protocol": "v2"}
    found = faults({"sites": [{**SITE, "upstreams": ["h2c://h:1"], "balancing": balancing}]})
    assert found == {
        "sites.0.balancing.proxy_protocol": (
            "'v2' announces one client, and h2c:// connections are shared by many"
        )
    }


def test_header_rules_are_checked() -> None:
    for rules in ({"request_set": {"a b": "x"}}, {"response_set": {"X": "a\nb"}}):
        assert "sites.0.headers" in faults({"sites": [{**SITE, "headers": rules}]})
    Config.model_validate({"sites": [{**SITE, "headers": {"request_remove": ["Cookie"]}}]})


def test_proxy_protocol_needs_a_listener_and_somebody_to_trust() -> None:
    listen = {"proxy_protocol": ["[::]:443"]}
    assert list(faults({"sites": [SITE], "listen": listen})) == ["trusted_proxies"]
    trust = {"sites": [SITE], "trusted_proxies": ["10.0.0.0/8"]}
    Config.model_validate({**trust, "listen": listen})
    found = faults({**trust, "listen": {"proxy_protocol": ["[::]:444"]}})
    assert list(found) == ["listen.proxy_protocol.0"]


def test_a_site_may_have_only_routes() -> None:
    routes = [{"path": "/v1", "upstreams": ["h:1"]}]
    Config.model_validate({"sites": [{"names": ["api.example.com"], "routes": routes}]})


def test_the_default_site_must_exist() -> None:
    found = faults({"sites": [SITE], "default_site": "other.example"})
    assert found == {
        "default_site": "'other.example' is no site's name; allowed are api.example.com"
    }
    Config.model_validate({"sites": [SITE], "default_site": "API.example.com"})


def test_http_01_needs_a_port_for_http() -> None:
    only = {"challenges": ["http-01"]}
    found = faults({"sites": [SITE], "listen": {"http": []}, "acme": only})
    assert list(found) == ["listen.http"]
    config = Config.model_validate({"sites": [SITE], "listen": {"http": []}})
    assert config.acme_of(config.sites[0]).challenges == ("tls-alpn-01",)
    own = {**SITE, "certificate": {"chain": "a", "key": "b"}}
    Config.model_validate({"sites": [own], "listen": {"http": []}, "acme": only})


def test_an_address_is_listened_on_once() -> None:
    listen = {"https": ["[::]:1", "[::]:1"], "http": ["127.0.0.1:0", "127.0.0.1:0"]}
    assert faults({"sites": [SITE], "listen": listen}) == {
        "listen.https.1": "'[::]:1' is already in listen.https"
    }
