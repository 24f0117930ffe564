"""A primary and a secondary BIND 9 on loopback, with zones for every case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from acme_client.dns import Credentials, ServerAddress
from acme_client.dns.lookup import Lookup
from acme_client.dns.rfc2136 import Rfc2136Provider
from tests.acme_client.dns.servers import KEY_NAME, NAMED, SECRET, Bind, Relay, free_port, running

PRIMARY, SECONDARY, NOBODY = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@dataclass(frozen=True, slots=True)
class Zones:
    """Two name servers: the primary takes updates, the secondary follows for some zones.

    - ``example.test``: on both, the secondary follows at once
    - ``sub.example.test``: a zone of its own, on the primary only
    - ``acme.test``: for delegated challenges, on the primary only
    - ``lag.test``: on both, the secondary never hears of updates
    - ``dead.test``: one of its two servers does not exist
    - ``static.test``: takes no updates
    """

    port: int

    @property
    def primary(self) -> ServerAddress:
        return ServerAddress(PRIMARY, self.port)

    def lookup(self) -> Lookup:
        return Lookup([self.primary], authoritative_port=self.port, query_seconds=1)

    def provider(self, credentials: Credentials | None = None) -> Rfc2136Provider:
        return Rfc2136Provider(self.primary, credentials or self.credentials())

    @staticmethod
    def credentials(**changes: str) -> Credentials:
        values = {"KEY_NAME": KEY_NAME, "KEY_SECRET": SECRET, **changes}
        return Credentials(
            {"key_name": "env:KEY_NAME", "key_secret": "env:KEY_SECRET"}, environment=values
        )


@pytest.fixture(scope="session")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zones]:
    if NAMED is None:
        pytest.skip("needs BIND 9: apt-get install bind9")
    folder = tmp_path_factory.mktemp("bind")
    port = free_port(PRIMARY, SECONDARY, NOBODY)
    primary = Bind(folder / "primary", port, notify="explicit")
    secondary = Bind(folder / "secondary", free_port(PRIMARY))
    allow = f"grant {KEY_NAME} zonesub TXT;"
    followed = f"also-notify {{ {PRIMARY} port {secondary.port}; }}; notify-delay 0;"
    ns2 = ("@ IN NS ns2", f"ns2 IN A {SECONDARY}")
    primary.primary(
        "example.test",
        *ns2,
        "sub IN NS ns1.sub",
        f"ns1.sub IN A {PRIMARY}",
        "_acme-challenge.delegated IN CNAME 8e5700ea.acme.test.",
        "_acme-challenge.twice IN CNAME _acme-challenge.delegated",
        "_acme-challenge.loop IN CNAME _acme-challenge.loop2",
        "_acme-challenge.loop2 IN CNAME _acme-challenge.loop",
        '_validation-persist.proved IN TXT "ca.example; accounturi=https://ca.example/account/1"',
        policy=allow,
        extra=followed,
    )
    primary.primary("sub.example.test", policy=allow)
    primary.primary("acme.test", policy=allow)
    primary.primary("lag.test", *ns2, policy=allow)
    primary.primary("dead.test", "@ IN NS ns3", f"ns3 IN A {NOBODY}", policy=allow)
    primary.primary("static.test")
    secondary.secondary("example.test", port)
    secondary.primary("lag.test", *ns2)
    # BIND listens on addresses of interfaces only, and loopback has just one.
    with running(primary, secondary), Relay(SECONDARY, port, secondary.port):
        yield Zones(port)
