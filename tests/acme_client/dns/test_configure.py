from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from acme_client.dns import PROVIDERS, DnsSettings, MissingExtra, build_solver
from acme_client.errors import NotPresented, RequestError
from tests.acme_client.dns.conftest import PRIMARY, Zones
from tests.acme_client.dns.servers import KEY_NAME, SECRET


def test_every_provider_can_be_built() -> None:
    options: dict[str, dict[str, Any]] = {
        "rfc2136": {"server": "192.0.2.1:5353", "zone": "a.example", "ttl": 30},
        "lexicon": {"service": "cloudflare", "zone_id": 7},
        "command": {"command": ["/usr/local/bin/hook"]},
    }
    assert set(options) == set(PROVIDERS)
    shown = [
        repr(build_solver(DnsSettings(provider=provider, options=values)))
        for provider, values in options.items()
    ]
    assert shown == [
        "<Dns01Solver with <rfc2136 at 192.0.2.1:5353>>",
        "<Dns01Solver with <lexicon cloudflare>>",
        "<Dns01Solver with <command /usr/local/bin/hook>>",
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (DnsSettings(provider="bind"), "'bind': allowed are rfc2136, lexicon, command"),
        (DnsSettings(provider="rfc2136"), "rfc2136 needs 'server'"),
        (DnsSettings(provider="rfc2136", options={"server": "ns1.x"}), "write an IP address"),
        (
            DnsSettings(provider="rfc2136", options={"server": "192.0.2.1", "key": "x"}),
            "'key': the provider rfc2136 has server, algorithm, zone, ttl",
        ),
        (
            DnsSettings(provider="rfc2136", options={"server": "192.0.2.1", "ttl": "60"}),
            "'ttl' must be a whole number",
        ),
        (
            DnsSettings(provider="rfc2136", options={"server": "192.0.2.1", "ttl": True}),
            "'ttl' must be a whole number",
        ),
        (DnsSettings(provider="lexicon"), "lexicon needs 'service'"),
        (
            DnsSettings(provider="lexicon", options={"service": "cloudflar"}),
            r"'service': lexicon has no 'cloudflar'; did you mean 'cloudflare'\?",
        ),
        (DnsSettings(provider="command"), "command needs 'command'"),
        (DnsSettings(provider="command", options={"command": "x"}), "must be a list"),
        (DnsSettings(provider="command", options={"command": []}), "list of strings"),
        (DnsSettings(provider="command", options={"command": [1]}), "list of strings"),
        (
            DnsSettings(
                provider="command", options={"command": ["x"]}, resolvers=["resolver.example"]
            ),
            "write an IP address",
        ),
        (
            DnsSettings(
                provider="command", options={"command": ["x"]}, credentials={"token": "s3cret"}
            ),
            "credential 'token': write env:NAME or file:/path",
        ),
    ],
)
def test_mistakes_are_named(settings: DnsSettings, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        build_solver(settings)


def test_without_dnspython_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns.message", None)
    monkeypatch.delitem(sys.modules, "acme_client.dns.lookup", raising=False)
    settings = DnsSettings(provider="command", options={"command": ["true"]})
    with pytest.raises(MissingExtra, match=r"vestibule\[dns\]"):
        build_solver(settings)


@pytest.mark.anyio
async def test_a_command_needs_no_dnspython_when_nothing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "acme_client.dns.lookup", raising=False)
    monkeypatch.setitem(sys.modules, "dns.message", None)
    solver = build_solver(
        DnsSettings(provider="command", options={"command": ["true"]}, propagation_seconds=0)
    )
    await solver.present("a.example", "x")
    await solver.clean_up("a.example", "x")


@pytest.mark.anyio
async def test_from_settings_to_a_record(zones: Zones, tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.write_text(f'key_name = "{KEY_NAME}"\nkey_secret = "{SECRET}"\n')
    file.chmod(0o600)
    settings = DnsSettings(
        provider="rfc2136",
        options={"server": str(zones.primary)},
        credentials_file=file,
        resolvers=[str(zones.primary)],
        authoritative_port=zones.port,
    )
    solver = build_solver(settings)
    await solver.present("configured.acme.test", "x")
    await solver.clean_up("configured.acme.test", "x")
    assert SECRET not in repr(settings)
    # Two servers, of which one never hears of it; asked is the one that the settings name.
    shorter = DnsSettings(
        provider="rfc2136",
        options={"server": str(zones.primary)},
        credentials_file=file,
        resolvers=[str(zones.primary)],
        authoritative=[f"{PRIMARY}:{zones.port}"],
    )
    await build_solver(shorter).present("lag.test", "y")
    await build_solver(shorter).clean_up("lag.test", "y")
    file.unlink()
    with pytest.raises((RequestError, NotPresented), match="cannot be read"):
        await solver.present("configured.acme.test", "x")
