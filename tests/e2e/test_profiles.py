"""Profiles and renewal windows of the CA (ARI), through a running Vestibule.

They need a Pebble of 2.7 or later, which ``PEBBLE_BIN`` may name; with an older one the tests are
skipped, and say so.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.e2e.certificates import (
    ISSUING,
    acme,
    certs,
    command,
    orders,
    served,
    site,
    until_served,
)
from tests.e2e.conftest import Ports, StartVestibule
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.waiting import wait_until
from tests.pebble import PebbleFactory

pytestmark = [pytest.mark.pebble]

PROFILES = {
    "classic": {"description": "for long", "validityPeriod": 90 * 86400},
    "shortlived": {"description": "for days", "validityPeriod": 160 * 3600},
}


def lifetime(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


def test_a_profile_for_each_site(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number, profiles=PROFILES)
    server.require("profiles")
    settings: dict[str, Value] = {
        "acme": acme(server, profile="classic"),
        "sites": [
            site("a.example.com"),
            site("b.example.com", acme={"profile": "shortlived"}),
            site("c.example.com", acme={"profile": "gold"}),
            # Addresses are for short lifetimes only, and need not say so.
            site("127.0.0.1"),
        ],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    assert lifetime(until_served(proxy, "a.example.com")) > timedelta(days=80)
    assert lifetime(until_served(proxy, "b.example.com")) < timedelta(days=7)
    proxy.wait_for(r"127\.0\.0\.1: issued", ISSUING)
    proxy.wait_for(r"c\.example\.com: failed: .*gold", ISSUING)
    stored = proxy.state / "certificates" / "127.0.0.1" / "00000001" / "chain.pem"
    address = x509.load_pem_x509_certificate(stored.read_bytes())
    assert lifetime(address) < timedelta(days=7)
    done = command("doctor", "--config", str(proxy.config_file))
    assert done.returncode == 1
    assert "has no profile 'gold'" in done.stdout
    assert "classic" in done.stdout


def state_of(proxy: Vestibule, certificate_id: str) -> dict[str, Any]:
    text = (proxy.state / "documents" / "certificates" / f"{certificate_id}.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


def test_the_ca_calls_for_a_renewal(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    server.require("ari")
    settings: dict[str, Value] = {"acme": acme(server), "sites": [site("a.example.com")]}
    proxy = start_vestibule(settings, ports=ports).until_ready()
    first = until_served(proxy, "a.example.com")
    wait_until(lambda: state_of(proxy, "a.example.com")["window"], "the CA's window", ISSUING)
    (found,) = json.loads(certs(proxy, "explain", "a.example.com", "--json").stdout)
    assert found["next"]["rule"] == "the CA's suggested window (ARI)"
    # An incident: the window is moved into the past.
    now = datetime.now(UTC)
    window = {
        "suggestedWindow": {
            "start": (now - timedelta(hours=2)).isoformat(),
            "end": (now - timedelta(hours=1)).isoformat(),
        },
        "explanationURL": "https://ca.example/incident",
    }
    server.set_renewal_info(first.public_bytes(Encoding.PEM).decode(), window)
    # As if the hours that the CA asked to wait were over.
    assert proxy.stop() == 0
    file = proxy.state / "documents" / "certificates" / "a.example.com.json"
    file.write_text(json.dumps({**state_of(proxy, "a.example.com"), "ask_at": None}))
    proxy = start_vestibule(settings, ports=ports).until_ready()
    proxy.wait_for(r"a\.example\.com: renewed", ISSUING)
    wait_until(lambda: served(proxy.https, "a.example.com") != first, "the new certificate")
    assert orders(server) == 2
