"""DNS-01 with a real BIND 9: a running Vestibule writes, the CA looks there, port 443 serves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.acme_client.dns.servers import KEY_NAME, NAMED, SECRET, Bind, free_port, running
from tests.e2e.certificates import acme, names_of, site, until_served, verified
from tests.e2e.conftest import Ports, StartVestibule
from tests.e2e.proxy_process import Value
from tests.e2e.waiting import wait_until
from tests.pebble import PebbleFactory

pytestmark = [pytest.mark.pebble]


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Bind]:
    """A zone that takes records with a key, and has an alias for one of them.

    BIND follows an alias within a zone for those who ask; beyond it that is a resolver's work,
    and Pebble asks BIND itself.
    """
    if NAMED is None:
        pytest.skip("needs BIND 9: apt-get install bind9")
    server = Bind(tmp_path / "bind", free_port("127.0.0.1"))
    allow = f"grant {KEY_NAME} zonesub TXT;"
    alias = "_acme-challenge.delegated IN CNAME 8e5700ea"
    server.primary("example.test", alias, policy=allow)
    with running(server):
        yield server


def there_is(bind: Bind, name: str) -> bool:
    """Whether a name has any record."""
    query = dns.message.make_query(name, "TXT")
    answer = dns.query.udp(query, "127.0.0.1", port=bind.port, timeout=10)
    return answer.rcode() != dns.rcode.NXDOMAIN


def test_wildcards_over_rfc_2136(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, bind: Bind
) -> None:
    where = f"127.0.0.1:{bind.port}"
    # Pebble asks BIND for everything, and for all but these records it knows nothing.
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number, dns=where)
    table: dict[str, Value] = {
        "provider": "rfc2136",
        "options": {"server": where},
        "credentials": {"key_name": "env:TSIG_NAME", "key_secret": "env:TSIG_SECRET"},
        "resolvers": [where],
        "authoritative_port": bind.port,
    }
    settings: dict[str, Value] = {
        "acme": acme(server, dns=table, challenges=["dns-01"]),
        "sites": [site("*.example.test", "example.test"), site("*.delegated.example.test")],
    }
    environ = {"TSIG_NAME": KEY_NAME, "TSIG_SECRET": SECRET}
    proxy = start_vestibule(settings, ports=ports, environ=environ).until_ready()
    found = until_served(proxy, "shop.example.test")
    assert names_of(found) == ["*.example.test", "example.test"]
    delegated = until_served(proxy, "shop.delegated.example.test")
    assert names_of(delegated) == ["*.delegated.example.test"]
    for name in ("shop.example.test", "example.test", "shop.delegated.example.test"):
        assert verified(server, proxy.https, name)
    # The records are gone again; that comes after the certificate.
    records = ("_acme-challenge.example.test", "8e5700ea.example.test")
    wait_until(lambda: not any(map(partial(there_is, bind), records)), "the end of the records")
    assert SECRET not in proxy.log
