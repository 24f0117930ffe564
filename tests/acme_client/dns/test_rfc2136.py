"""DNS UPDATE against a real BIND 9."""

from __future__ import annotations

import sys
import uuid

import pytest

from acme_client.dns import Credentials, MissingExtra, ServerAddress
from acme_client.dns.lookup import AuthoritativeServer
from acme_client.dns.rfc2136 import Rfc2136Provider
from acme_client.errors import NotPresented, RequestError
from tests.acme_client.dns.conftest import Zones
from tests.acme_client.dns.servers import SECRET, DnsServer, zone

pytestmark = pytest.mark.anyio


async def _texts(zones: Zones, name: str) -> set[str]:
    server = AuthoritativeServer("primary", zones.primary)
    return set(await zones.lookup().texts_at(server, name))


def _name(under: str = "example.test") -> str:
    return f"_acme-challenge.{uuid.uuid4().hex[:12]}.{under}"


async def test_records_come_and_go_one_by_one(zones: Zones) -> None:
    provider, name = zones.provider(), _name()
    await provider.present(name, "one")
    await provider.present(name, "two")
    await provider.present(name, "two")
    assert await _texts(zones, name) == {"one", "two"}
    await provider.clean_up(name, "one")
    assert await _texts(zones, name) == {"two"}
    await provider.clean_up(name, "two")
    await provider.clean_up(name, "two")
    assert await _texts(zones, name) == set()


async def test_the_closest_zone_is_found(zones: Zones) -> None:
    name = _name("sub.example.test")
    await zones.provider().present(name, "x")
    assert await _texts(zones, name) == {"x"}
    await zones.provider().clean_up(name, "x")


async def test_a_zone_that_is_told(zones: Zones) -> None:
    provider = Rfc2136Provider(zones.primary, zones.credentials(), zone="acme.test")
    name = _name("acme.test")
    await provider.present(name, "x")
    assert await _texts(zones, name) == {"x"}
    await provider.clean_up(name, "x")
    with pytest.raises(RequestError, match=r"is not in the zone acme\.test"):
        await provider.present(_name("example.test"), "x")


async def test_quotes_and_backslashes_survive(zones: Zones) -> None:
    name, value = _name(), 'a "b" \\c; d'
    await zones.provider().present(name, value)
    assert await _texts(zones, name) == {value}
    await zones.provider().clean_up(name, value)
    assert await _texts(zones, name) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"KEY_NAME": "unknown-key"}, "BADKEY"),
        ({"KEY_SECRET": "d3Jvbmc="}, "BADSIG"),
    ],
)
async def test_wrong_keys_are_told_apart(zones: Zones, changes: dict[str, str], words: str) -> None:
    provider = zones.provider(zones.credentials(**changes))
    with pytest.raises(NotPresented, match=words) as caught:
        await provider.present(_name(), "x")
    assert "d3Jvbmc=" not in str(caught.value)


async def test_no_key_and_no_permission(zones: Zones) -> None:
    with pytest.raises(NotPresented, match="REFUSED"):
        await Rfc2136Provider(zones.primary).present(_name(), "x")
    with pytest.raises(NotPresented, match="REFUSED"):
        await zones.provider().present(_name("static.test"), "x")
    with pytest.raises(NotPresented, match="cannot be looked up"):
        await zones.provider().present(_name("elsewhere.test"), "x")
    elsewhere = Rfc2136Provider(zones.primary, zones.credentials(), zone="elsewhere.test")
    with pytest.raises(NotPresented, match="NOTAUTH"):
        await elsewhere.present(_name("elsewhere.test"), "x")


async def test_a_server_that_does_not_answer() -> None:
    with DnsServer(zone("example.test. SOA ns1. h. 1 2 3 4 5")) as server:
        # It answers the question for the zone, and no update.
        answering = server.handler
        server.handler = lambda query: None if query.opcode() == 5 else answering(query)
        address = ServerAddress("127.0.0.1", server.port)
        with pytest.raises(NotPresented, match="did not take the update"):
            await Rfc2136Provider(address, seconds=1).present("a.example.test", "x")
    with pytest.raises(NotPresented, match="did not answer"):
        await Rfc2136Provider(address, seconds=1).present("a.example.test", "x")


async def test_keys_that_are_none(zones: Zones) -> None:
    with pytest.raises(RequestError, match="no TSIG key") as caught:
        await zones.provider(zones.credentials(KEY_SECRET="not base64")).present(_name(), "x")
    assert caught.value.__cause__ is None
    half = Credentials({"key_name": "env:NAME"}, environment={"NAME": "x"})
    with pytest.raises(RequestError, match="needs the credential 'key_secret'"):
        await zones.provider(half).present(_name(), "x")


def test_settings_that_are_wrong() -> None:
    with pytest.raises(RequestError, match="allowed are hmac-sha256"):
        Rfc2136Provider(ServerAddress("127.0.0.1"), algorithm="rot13")
    with pytest.raises(RequestError, match="allowed are 1 to 86400"):
        Rfc2136Provider(ServerAddress("127.0.0.1"), ttl=0)


def test_repr_shows_no_secret() -> None:
    credentials = Zones.credentials()
    shown = repr(Rfc2136Provider(ServerAddress("127.0.0.1", 5353), credentials))
    assert shown == "<rfc2136 at 127.0.0.1:5353>"
    assert SECRET not in repr(credentials)


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "acme_client.dns.rfc2136")
    monkeypatch.setitem(sys.modules, "dns.update", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vestibule\[dns\]'"):
        import acme_client.dns.rfc2136  # noqa: F401
