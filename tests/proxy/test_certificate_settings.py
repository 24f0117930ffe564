"""From the configuration to what ``acme_client`` takes; mistakes name their key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import trustme

from acme_client import AcmeIssuer, InternalIssuer
from acme_client.challenges.kinds import CHALLENGE_KINDS
from acme_client.directories import DIRECTORIES as KNOWN
from acme_client.directories import DIRECTORY_NAMES
from acme_client.hooks import EVENTS
from acme_client.keys import KEY_TYPES
from proxy.certificate_settings import (
    make_hooks,
    make_issuers,
    make_requests,
    prepare_imports,
    try_ca_certificates,
    try_settings,
)
from proxy.config.acme import Challenge, HookEvent, KeyType
from proxy.config.fields import DIRECTORIES, INTERNAL
from proxy.config.model import Config
from proxy.errors import ConfigError, StartupError

SITE = {"names": ["a.example"], "upstreams": ["h:1"]}
COMMAND = {"provider": "command", "options": {"command": ["/bin/true"]}, "propagation_seconds": 0}


def config(acme: dict[str, Any] | None = None, **more: Any) -> Config:
    return Config.model_validate({"acme": acme or {}, "sites": [SITE], **more})


def test_the_configuration_knows_the_cas_that_acme_client_knows() -> None:
    assert {name: known.url for name, known in KNOWN.items()} == DIRECTORIES
    assert {*DIRECTORIES, INTERNAL} == set(DIRECTORY_NAMES)


def test_the_configuration_allows_what_acme_client_does() -> None:
    assert set(get_args(Challenge)) == set(CHALLENGE_KINDS)
    assert set(get_args(HookEvent)) == set(EVENTS)
    assert set(get_args(KeyType)) == set(KEY_TYPES)


def test_more_names_than_a_certificate_holds() -> None:
    site = {**SITE, "names": [f"n{number}.example.com" for number in range(101)]}
    with pytest.raises(ConfigError, match=r"sites\[0\]: .*101 names"):
        make_requests(config(sites=[site]))


def test_which_cas_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMAC", "c2VjcmV0")
    secret = tmp_path / "kid"
    secret.write_text("key-1\n")
    secret.chmod(0o600)
    eab = {"key_id": f"file:{secret}", "hmac_key": "env:HMAC", "algorithm": "HS512"}
    first, second, third = make_issuers(
        config(
            {
                "directory": "https://ca.example:14000/dir",
                "email": "a@b.example",
                "eab": eab,
                "profile": "short",
                "fallbacks": [{"directory": "zerossl", "name": "z"}, {"directory": "internal"}],
            }
        )
    )
    assert isinstance(first, AcmeIssuer)
    assert (first.name, first.directory) == ("ca.example:14000", "https://ca.example:14000/dir")
    account = first.settings.external_account
    assert account is not None
    assert (account.key_id, account.hmac_key, account.algorithm) == ("key-1", "c2VjcmV0", "HS512")
    assert first.settings.profile == "short"
    assert isinstance(second, AcmeIssuer)
    assert (second.name, second.settings.contact) == ("z", ("mailto:a@b.example",))
    assert isinstance(third, InternalIssuer)


def test_a_secret_that_is_not_there() -> None:
    table = {"directory": "zerossl", "eab": {"key_id": "k", "hmac_key": "env:NOT_THERE"}}
    with pytest.raises(ConfigError, match=r"acme.eab: .*NOT_THERE is not set"):
        make_issuers(config(table))


def test_a_solver_only_where_dns_01_may_be_used() -> None:
    (request,) = make_requests(config({"dns": COMMAND}))
    assert request.dns is not None
    site = {**SITE, "acme": {"challenges": ["http-01"]}}
    (request,) = make_requests(config({"dns": COMMAND}, sites=[site]))
    assert request.dns is None
    other = {**SITE, "names": ["*.b.example"], "acme": {"dns": COMMAND}}
    one, two = make_requests(config({"dns": COMMAND}, sites=[SITE, other]))
    assert one.dns is two.dns
    wrong = {"provider": "rfc2136", "options": {"sever": "192.0.2.1"}}
    with pytest.raises(ConfigError, match=r"acme.dns: 'sever'"):
        make_requests(config({"dns": wrong}))
    with pytest.raises(ConfigError, match=r"sites\[0\].acme.dns: 'sever'"):
        make_requests(config(sites=[{**SITE, "acme": {"dns": wrong}}]))


def test_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_hooks.py").write_text("def told(event): ...\nnothing = None\n")
    hooks = [
        {"command": ["/bin/true"], "on": ["failed"]},
        {"call": "my_hooks:told", "timeout": 1},
    ]
    settings = config({"hooks": hooks}, python_path=str(tmp_path))
    prepare_imports(settings)
    command, call = make_hooks(settings)
    assert (command.run, command.events) == (("/bin/true",), ("failed",))
    assert callable(call.run)
    assert (call.events, call.timeout) == (("issued", "renewed"), 1.0)
    assert try_settings(settings) == 0
    for name, fault in (("my_hooks:gone", "has no"), ("no_such:f", "cannot be imported")):
        with pytest.raises(ConfigError, match=rf"acme.hooks\[0\]: .*{fault}"):
            make_hooks(config({"hooks": [{"call": name}]}))
    on_demand = {"ask": "my_hooks:nothing"}
    sites = [{"on_demand": True, "upstreams": ["h:1"]}]
    with pytest.raises(ConfigError, match=r"on_demand.ask: .* is no function"):
        try_settings(config(on_demand=on_demand, sites=sites, python_path=str(tmp_path)))


def test_a_service_that_lexicon_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"provider": "lexicon", "options": {"service": "cloudflar"}}
    settings = config({"dns": table})
    with pytest.raises(ConfigError, match=r"acme\.dns: 'service': .* did you mean 'cloudflare'"):
        try_settings(settings)
    monkeypatch.delitem(sys.modules, "acme_client.dns.lexicon", raising=False)
    monkeypatch.setitem(sys.modules, "lexicon.client", None)
    with pytest.raises(ConfigError, match=r"acme\.dns: .*pip install 'vestibule\[lexicon\]'"):
        try_settings(settings)


def test_programs_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    program = tmp_path / "told"
    settings = config({"hooks": [{"command": [str(program)]}]}, python_path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"acme.hooks\[0\]: command: '.*told' is no program"):
        try_settings(settings)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert try_settings(settings) == 0


def test_what_dns_needs_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("DNS_TOKEN", raising=False)
    secret = tmp_path / "token"
    secret.write_text("t")
    secret.chmod(0o644)

    def fault(dns: dict[str, Any], site: dict[str, Any] | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            try_settings(
                config({"dns": {**COMMAND, **dns}}, sites=[site or SITE], python_path=str(tmp_path))
            )
        return str(caught.value)

    found = fault({"credentials": {"token": "env:DNS_TOKEN"}})
    assert found == "acme.dns: credential 'token': the variable DNS_TOKEN is not set"
    assert "others may read" in fault({"credentials": {"token": f"file:{secret}"}})
    assert "is no program" in fault({"options": {"command": ["/no/such/program"]}})
    own = {**COMMAND, "credentials": {"token": "env:DNS_TOKEN"}}
    assert fault({}, {**SITE, "acme": {"dns": own}}).startswith("sites[0].acme.dns: credential")
    # A table that nobody uses needs nothing.
    sites = [{**SITE, "acme": {"challenges": ["http-01"]}}]
    assert try_settings(config({"dns": own}, sites=sites, python_path=str(tmp_path))) == 0
    monkeypatch.setenv("DNS_TOKEN", "t")
    assert try_settings(config({"dns": own}, python_path=str(tmp_path))) == 0


def test_trust_for_the_ca_is_tried(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    settings = config({"fallbacks": [{"directory": "zerossl", "ca_certificates": str(path)}]})
    with pytest.raises(
        StartupError, match=r"acme.fallbacks\[0\].ca_certificates: .*ca.pem cannot be read"
    ):
        try_ca_certificates(settings)
    path.write_text("no certificate")
    with pytest.raises(StartupError, match="holds no certificate"):
        try_ca_certificates(settings)
    trustme.CA().cert_pem.write_to_path(path)
    try_ca_certificates(settings)
