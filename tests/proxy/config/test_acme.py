"""``[acme]``, a site's own table, and what they come to together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config.load import load
from proxy.config.model import Config
from proxy.errors import ConfigError
from tests.proxy.config.test_model import SITE

DNS = {"provider": "command", "options": {"command": ["/bin/true"]}}


def config(acme: dict[str, Any] | None = None, own: dict[str, Any] | None = None) -> Config:
    site = SITE if own is None else {**SITE, "acme": own}
    return Config.model_validate({"acme": acme or {}, "sites": [site]})


def test_the_short_form_is_one_ca() -> None:
    (issuer,) = config(
        {"directory": "https://ca.example:14000/dir", "email": "a@b.example"}
    ).acme.issuers
    assert (issuer.name, issuer.email, issuer.key) == ("ca.example:14000", "a@b.example", "acme")


def test_cas_in_order() -> None:
    acme = config(
        {
            "email": "a@b.example",
            "fallbacks": [
                {"directory": "zerossl", "email": "z@b.example"},
                {"directory": "https://ca.example/dir", "name": "ours"},
                {"directory": "internal"},
            ],
        }
    ).acme
    assert [(issuer.name, issuer.email) for issuer in acme.issuers] == [
        ("letsencrypt", "a@b.example"),
        ("zerossl", "z@b.example"),
        ("ours", "a@b.example"),
        ("internal", "a@b.example"),
    ]
    assert not acme.is_internal
    assert acme.issuers[3].is_internal


def test_a_site_as_acme_says() -> None:
    loaded = config({"key_types": ["p384"], "preferred_chain": "R", "dns": DNS})
    found = loaded.acme_of(loaded.sites[0])
    assert [issuer.name for issuer in found.issuers] == ["letsencrypt"]
    assert (found.key_types, found.preferred_chain, found.profile) == (("p384",), "R", None)
    assert found.challenges == ("http-01", "tls-alpn-01", "dns-01")
    assert found.dns == loaded.acme.dns


def test_a_site_of_its_own_ways() -> None:
    loaded = config(
        {"fallbacks": [{"directory": "zerossl"}], "profile": "tlsserver"},
        {
            "issuers": ["zerossl"],
            "profile": "classic",
            "key_types": ["p256", "rsa2048"],
            "challenges": ["dns-01"],
            "dns": DNS,
        },
    )
    found = loaded.acme_of(loaded.sites[0])
    assert [issuer.name for issuer in found.issuers] == ["zerossl"]
    assert (found.profile, found.key_types) == ("classic", ("p256", "rsa2048"))
    assert found.challenges == ("dns-01",)


def test_what_cannot_be_answered_is_left_out() -> None:
    loaded = Config.model_validate({"sites": [SITE], "listen": {"http": []}})
    assert loaded.acme_of(loaded.sites[0]).challenges == ("tls-alpn-01",)


def test_paths_and_secrets_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "vestibule.toml").write_text(
        """
[acme]
ca_certificates = "ca.pem"
eab = { key_id = "file:kid", hmac_key = "env:HMAC" }
dns = { provider = "rfc2136", credentials = { key_secret = "file:tsig" }, credentials_file = "d" }
fallbacks = [{ directory = "zerossl", eab = { key_id = "k", hmac_key = "file:hmac" } }]
[[sites]]
names = ["a.example"]
upstreams = ["127.0.0.1:1"]
acme = { dns = { provider = "rfc2136", credentials_file = "own" } }
"""
    )
    found = load(environ={}, folder=tmp_path).config
    acme, own = found.acme, found.sites[0].acme
    assert acme.ca_certificates == tmp_path / "ca.pem"
    assert acme.eab is not None
    assert (acme.eab.key_id, acme.eab.hmac_key) == (f"file:{tmp_path}/kid", "env:HMAC")
    assert acme.dns is not None
    assert acme.dns.credentials == {"key_secret": f"file:{tmp_path}/tsig"}
    assert acme.dns.credentials_file == tmp_path / "d"
    assert acme.fallbacks[0].eab is not None
    assert acme.fallbacks[0].eab.hmac_key == f"file:{tmp_path}/hmac"
    assert own is not None
    assert own.dns is not None
    assert own.dns.credentials_file == tmp_path / "own"
    assert found.python_path == tmp_path


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "vestibule.toml").write_text(
        """
[acme]
eab = { key_id = "k", hmac_key = "s3cr3t-value" }
dns = { provider = "rfc2136", credentials = { key_secret = "s3cr3t-value" } }
[[sites]]
names = ["a.example"]
upstreams = ["127.0.0.1:1"]
"""
    )
    with pytest.raises(ConfigError) as caught:
        load(environ={}, folder=tmp_path)
    assert sorted(caught.value.problems) == [
        "acme.dns.credentials.key_secret: "
        "write env:NAME or file:/path in quotes, and not the secret itself",
        "acme.eab.hmac_key: write env:NAME or file:/path in quotes, and not the secret itself",
    ]


def test_tables_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "VESTIBULE_SITES": '[{"names": ["a.example"], "upstreams": ["127.0.0.1:1"]}]',
        "VESTIBULE_ACME__KEY_TYPES": "p256, rsa2048",
        "VESTIBULE_ACME__DNS__PROVIDER": "rfc2136",
        "VESTIBULE_ACME__DNS__OPTIONS": '{"server": "192.0.2.1"}',
    }
    acme = load(environ=environ, folder=tmp_path).config.acme
    assert acme.key_types == ("p256", "rsa2048")
    assert acme.dns is not None
    assert acme.dns.options == {"server": "192.0.2.1"}
    with pytest.raises(ConfigError, match="OPTIONS: 'x' is no valid JSON"):
        load(environ={**environ, "VESTIBULE_ACME__DNS__OPTIONS": "x"}, folder=tmp_path)
