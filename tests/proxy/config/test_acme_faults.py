"""What is wrong between the keys that certificates are obtained by: the key, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import Config
from tests.proxy.config.test_model import SITE, faults

DNS = {"provider": "command", "options": {"command": ["/bin/true"]}}
EAB = {"key_id": "k", "hmac_key": "env:X"}
ON_DEMAND = {"ask": "https://app.example/ask"}


def named(*names: str, **more: Any) -> dict[str, Any]:
    return {**SITE, "names": list(names), **more}


@pytest.mark.parametrize(
    ("acme", "key", "reason"),
    [
        (
            {"key_types": ["p256", "p384"]},
            "acme.key_types.1",
            "'p384' stands beside 'p256'; one ECDSA key is served",
        ),
        (
            {"key_types": ["rsa2048", "p256", "rsa4096"]},
            "acme.key_types.2",
            "'rsa4096' stands beside 'rsa2048'; one RSA key is served",
        ),
        (
            {"fallbacks": [{"directory": "https://acme-v02.api.letsencrypt.org/directory"}]},
            "acme.fallbacks.0.directory",
            "is already the CA of acme",
        ),
        (
            {"fallbacks": [{"directory": "zerossl", "name": "letsencrypt"}]},
            "acme.fallbacks.0.name",
            "'letsencrypt' is already the name of acme",
        ),
        ({"directory": "internal", "eab": EAB}, "acme.eab", "the internal CA has no accounts"),
        ({"hooks": [{}]}, "acme.hooks.0", "needs command = [...] or call ="),
        (
            {"hooks": [{"command": ["x"], "call": "m:f"}]},
            "acme.hooks.0",
            "one of them",
        ),
        (
            {"dns": DNS, "challenges": ["http-01"]},
            "acme.dns",
            "dns-01 is not among acme.challenges",
        ),
        ({"challenges": ["dns-01"]}, "acme.challenges", "dns-01 needs to know how: set acme.dns"),
    ],
)
def test_faults_of_acme(acme: dict[str, Any], key: str, reason: str) -> None:
    found = faults({"acme": acme, "sites": [SITE]})
    assert list(found) == [key]
    assert reason in found[key]


@pytest.mark.parametrize(
    ("own", "key", "reason"),
    [
        ({"issuers": ["other"]}, "issuers.0", "no CA of [acme]; allowed are letsencrypt"),
        ({"key_types": ["p256", "p384"]}, "key_types.1", "one ECDSA key is served"),
        ({"challenges": ["dns-01"]}, "challenges", "dns-01 needs to know how"),
    ],
)
def test_faults_of_a_sites_own_table(own: dict[str, Any], key: str, reason: str) -> None:
    found = faults({"sites": [{**SITE, "acme": own}]})
    assert list(found) == [f"sites.0.acme.{key}"]
    assert reason in found[f"sites.0.acme.{key}"]


def test_own_files_and_a_ca_exclude_each_other() -> None:
    files = {"chain": "c", "key": "k"}
    found = faults({"sites": [{**SITE, "certificate": files, "acme": {"profile": "p"}}]})
    assert found == {"sites.0.acme": "stands beside certificate; a site has one or the other"}


@pytest.mark.parametrize(
    ("acme", "name"),
    [
        ({"dns": DNS}, "*.example.com"),
        ({"directory": "internal"}, "*.example.com"),
        ({}, "93.184.216.34"),
        ({"profile": "shortlived"}, "2606:2800:220:1::1"),
        ({"directory": "https://ca.example/dir"}, "10.0.0.1"),
        ({"directory": "https://ca.example/dir"}, "intranet"),
        ({"directory": "internal"}, "10.0.0.1"),
    ],
)
def test_names_that_can_be_certified(acme: dict[str, Any], name: str) -> None:
    Config.model_validate({"acme": acme, "sites": [named(name)]})


@pytest.mark.parametrize(
    ("acme", "name", "reason"),
    [
        ({"challenges": ["http-01"]}, "*.example.com", "add dns-01 to the challenges"),
        ({}, "*.example.com", "set acme.dns, so that dns-01 can"),
        ({"directory": "zerossl"}, "93.184.216.34", "zerossl issues no certificate for an IP"),
        ({}, "10.0.0.1", "is no public address"),
        ({"profile": "classic"}, "93.184.216.34", "under the profile 'shortlived' only"),
        (
            {"challenges": ["dns-01"], "dns": DNS},
            "93.184.216.34",
            "cannot be proved over dns-01 (RFC 8738",
        ),
    ],
)
def test_names_that_cannot_be_certified(acme: dict[str, Any], name: str, reason: str) -> None:
    found = faults({"acme": acme, "sites": [named(name)]})
    assert reason in found["sites.0.names.0"]


def test_on_demand() -> None:
    anyone = {"on_demand": True, "upstreams": ["h:1"]}
    config = Config.model_validate({"on_demand": ON_DEMAND, "sites": [anyone]})
    assert config.sites[0].names == ("*",)
    wild = {**anyone, "names": ["*.example.com"]}
    Config.model_validate({"on_demand": ON_DEMAND, "sites": [anyone, wild]})


@pytest.mark.parametrize(
    ("tree", "key", "reason"),
    [
        (
            {"sites": [{"on_demand": True, "upstreams": ["h:1"]}]},
            "sites.0.on_demand",
            "needs the table on_demand = { ask",
        ),
        ({"on_demand": ON_DEMAND, "sites": [SITE]}, "on_demand", "no site has on_demand = true"),
        ({"sites": [named("*")]}, "sites.0.names.0", "that needs on_demand = true"),
        (
            {"on_demand": ON_DEMAND, "sites": [named("a.example.com", on_demand=True)]},
            "sites.0.names.0",
            "belongs into a site of its own",
        ),
        (
            {"on_demand": {"ask": "ftp://x"}, "sites": [{"on_demand": True, "upstreams": ["h:1"]}]},
            "on_demand.ask",
            "is no http:// or https:// URL",
        ),
        (
            {"on_demand": {"ask": "x"}, "sites": [{"on_demand": True, "upstreams": ["h:1"]}]},
            "on_demand.ask",
            "allowed are a URL",
        ),
    ],
)
def test_faults_of_on_demand(tree: dict[str, Any], key: str, reason: str) -> None:
    found = faults(tree)
    assert reason in found[key]
