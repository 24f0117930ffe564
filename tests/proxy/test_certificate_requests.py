"""The same requests for those who order and those who load."""

from __future__ import annotations

import pytest

from acme_client import RequestError
from proxy.certificate_requests import (
    certificate_request,
    obtained_sites,
    on_demand_request,
    on_demand_site,
)
from proxy.certificate_settings import make_requests
from proxy.config.model import Config

SITE = {"upstreams": ["h:1"]}


def test_a_request_for_each_site_without_its_own_certificate() -> None:
    config = Config.model_validate(
        {
            "acme": {"key_types": ["p256", "rsa2048"], "preferred_chain": "Root"},
            "sites": [
                {**SITE, "names": ["a.example", "b.example"]},
                {**SITE, "names": ["c.example"], "certificate": {"chain": "c", "key": "k"}},
                {**SITE, "names": ["d.example"], "acme": {"profile": "p", "key_types": ["p384"]}},
            ],
        }
    )
    first, second = (certificate_request(config, site) for site in obtained_sites(config))
    assert first.names == ("a.example", "b.example")
    assert first.certificate_ids == ("a.example", "a.example+rsa2048")
    assert first.challenges == ("http-01", "tls-alpn-01")
    assert (first.issuers, first.profile, first.preferred_chain) == ((), None, "Root")
    assert second.certificate_ids == ("d.example",)
    assert (second.key_types, second.profile) == (("p384",), "p")
    assert make_requests(config) == [first, second]


def test_issuers_of_a_sites_own() -> None:
    config = Config.model_validate(
        {
            "acme": {"fallbacks": [{"directory": "zerossl"}]},
            "sites": [
                {**SITE, "names": ["a.example"], "acme": {"issuers": ["zerossl"]}},
                {**SITE, "names": ["b.example"]},
            ],
        }
    )
    assert [certificate_request(config, site).issuers for site in config.sites] == [
        ("zerossl",),
        (),
    ]


def test_names_on_demand_have_the_narrowest_site() -> None:
    config = Config.model_validate(
        {
            "on_demand": {"ask": "m:f"},
            "acme": {"key_types": ["rsa2048"]},
            "sites": [
                {**SITE, "on_demand": True},
                {**SITE, "on_demand": True, "names": ["*.shop.example"]},
            ],
        }
    )
    anyone, shop = config.sites
    assert anyone.names == ("*",)
    assert on_demand_site(config, "a.shop.example") == shop
    assert on_demand_site(config, "a.b.shop.example") == anyone
    assert on_demand_request(config, shop, "a.shop.example").certificate_ids == ("a.shop.example",)
    assert not list(obtained_sites(config))
    with pytest.raises(RequestError):
        on_demand_request(config, anyone, "a_b.example")
