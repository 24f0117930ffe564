"""Several CAs, two of which cannot deliver: who is served what, and what comes home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acme_client.https_server import Connection, https_server
from tests.e2e.certificates import (
    ISSUING,
    acme,
    certs,
    orders,
    served,
    site,
    until_served,
    verified,
)
from tests.e2e.conftest import Ports, StartVestibule
from tests.e2e.proxy_process import Value
from tests.e2e.waiting import wait_until
from tests.pebble import PebbleFactory

pytestmark = [pytest.mark.pebble]

NAME = "a.example.com"


def out_of_order(connection: Connection, request: bytes) -> None:
    connection.answer(b"<h1>Service Unavailable</h1>", 503, "Content-Type: text/html")


def test_the_third_ca_delivers_and_the_first_takes_over(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, tmp_path: Path
) -> None:
    to_us = {"tls_port": ports[0].number, "http_port": ports[1].number}
    first, third = pebble(**to_us, start=False), pebble(**to_us)
    with https_server(tmp_path, out_of_order) as second:
        fallbacks: Value = [
            {
                "name": "second",
                "directory": second.url("/directory"),
                "ca_certificates": str(second.ca_file),
            },
            {
                "name": "third",
                "directory": third.directory,
                "ca_certificates": str(third.ca_file),
            },
        ]
        settings: dict[str, Value] = {
            "acme": acme(first, fallbacks=fallbacks),
            "sites": [site(NAME)],
        }
        proxy = start_vestibule(settings, ports=ports).until_ready()
        before = until_served(proxy, NAME)
        assert verified(third, proxy.https, NAME)
        assert second.requests
        assert orders(third) == 1
        # Both of the others are told of, and the certificate is what it should be.
        assert "second: " in proxy.log
        told = certs(proxy, "explain", NAME, "--json")
        (found,) = json.loads(told.stdout)
        assert found["served"]["directory"] == third.directory
        # Each attempt begins with the first CA; a forced one need not wait for a renewal.
        first.start()
        done = certs(proxy, "renew", "--force", NAME)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(lambda: served(proxy.https, NAME) != before, "the new certificate", ISSUING)
        assert verified(first, proxy.https, NAME)
        assert (orders(first), orders(third)) == (1, 1)


def test_a_site_with_a_ca_of_its_own(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    to_us = {"tls_port": ports[0].number, "http_port": ports[1].number}
    first, second = pebble(**to_us), pebble(**to_us)
    fallback: Value = {
        "name": "second",
        "directory": second.directory,
        "ca_certificates": str(second.ca_file),
    }
    settings: dict[str, Value] = {
        "acme": acme(first, fallbacks=[fallback]),
        "sites": [site(NAME), site("b.example.com", acme={"issuers": ["second"]})],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    for name in (NAME, "b.example.com"):
        until_served(proxy, name)
    assert verified(first, proxy.https, NAME)
    assert verified(second, proxy.https, "b.example.com")
    assert (orders(first), orders(second)) == (1, 1)
