"""Questions to DNS: against servers made of a function, and against BIND 9."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import pytest

from acme_client.dns import ServerAddress
from acme_client.dns.lookup import MAX_SERVERS, AuthoritativeServer, Lookup, LookupFailed
from tests.acme_client.dns.conftest import PRIMARY, SECONDARY, Zones
from tests.acme_client.dns.servers import DnsServer, free_port, zone

pytestmark = pytest.mark.anyio

SOA = "SOA ns1.example. h.example. 1 2 3 4 5"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(zone()) as server:
        yield server


def _lookup(server: DnsServer, **options: object) -> Lookup:
    return Lookup([ServerAddress(server.address, server.port)], query_seconds=0.5)


def _at(server: DnsServer) -> AuthoritativeServer:
    return AuthoritativeServer("ns1", ServerAddress(server.address, server.port))


# -- aliases


async def test_aliases_are_followed_to_their_end(zones: Zones) -> None:
    lookup = zones.lookup()
    plain = "_acme-challenge.plain.example.test"
    assert await lookup.follow_aliases(plain) == plain
    for name in ("delegated", "twice"):
        target = await lookup.follow_aliases(f"_acme-challenge.{name}.example.test")
        assert target == "8e5700ea.acme.test"


async def test_aliases_in_a_ring(zones: Zones) -> None:
    with pytest.raises(LookupFailed, match="more than 8 CNAME records"):
        await zones.lookup().follow_aliases("_acme-challenge.loop.example.test")


# -- zones


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.test", "example.test"),
        ("_acme-challenge.a.b.example.test", "example.test"),
        ("_acme-challenge.sub.example.test", "sub.example.test"),
        ("8e5700ea.ACME.test", "acme.test"),
    ],
)
async def test_zones_are_found(zones: Zones, name: str, expected: str) -> None:
    assert await zones.lookup().zone_of(name) == expected


async def test_zones_are_found_without_negative_answers(server: DnsServer) -> None:
    # A resolver that strips the authority section: the walk up goes on to the SOA itself.
    plain = zone(f"example. {SOA}")

    def stripped(query: dns.message.Message) -> dns.message.Message | None:
        answer = plain(query)
        assert answer is not None
        answer.authority.clear()
        return answer

    server.handler = stripped
    assert await _lookup(server).zone_of("a.b.c.example") == "example"


async def test_a_foreign_soa_is_not_believed(server: DnsServer) -> None:
    server.handler = zone(f"other. {SOA}", "a.example. SOA ns1. h. 1 2 3 4 5")
    assert await _lookup(server).zone_of("x.a.example") == "a.example"
    server.handler = zone("a.example. TXT x")
    with pytest.raises(LookupFailed, match="no zone found"):
        await _lookup(server).zone_of("x.b.example")


# -- the servers of a zone


async def test_every_server_of_a_zone(zones: Zones) -> None:
    servers = await zones.lookup().servers_of("example.test")
    assert [(s.host, s.where.address) for s in servers] == [
        ("ns1.example.test", PRIMARY),
        ("ns2.example.test", SECONDARY),
    ]
    assert {s.where.port for s in servers} == {zones.port}
    assert str(servers[0]) == f"ns1.example.test ({PRIMARY}:{zones.port})"


async def test_servers_that_the_configuration_names(server: DnsServer) -> None:
    lookup = Lookup(authoritative=[ServerAddress("192.0.2.1")])
    assert await lookup.servers_of("example") == (
        AuthoritativeServer("192.0.2.1", ServerAddress("192.0.2.1")),
    )
    assert not server.asked


async def test_addresses_of_both_families_up_to_a_cap(server: DnsServer) -> None:
    many = [f"ns.example. A 192.0.2.{number}" for number in range(1, 30)]
    server.handler = zone(
        "example. NS ns.example.",
        "example. NS gone.example.",
        "ns.example. AAAA 2001:db8::1",
        *many,
    )
    servers = await _lookup(server).servers_of("example")
    assert len(servers) == MAX_SERVERS
    server.handler = zone(
        "example. NS ns.example.", "ns.example. AAAA 2001:db8::1", refuse=("other.",)
    )
    assert [s.where.address for s in await _lookup(server).servers_of("example")] == ["2001:db8::1"]


async def test_zones_without_servers(server: DnsServer) -> None:
    server.handler = zone("example. TXT x")
    with pytest.raises(LookupFailed, match="no NS records"):
        await _lookup(server).servers_of("example")
    server.handler = zone("example. NS ns1.example.", refuse=("ns1.example.",))
    with pytest.raises(LookupFailed, match=r"none of its name servers \(ns1\.example\)"):
        await _lookup(server).servers_of("example")


# -- texts


async def test_an_authoritative_server_is_asked_without_recursion(server: DnsServer) -> None:
    server.handler = zone('a.example. TXT "one" "two"', 'a.example. TXT "three"')
    found = await _lookup(server).texts_at(_at(server), "a.example")
    assert sorted(found) == ["onetwo", "three"]
    assert not server.asked[0].flags & dns.flags.RD
    assert await _lookup(server).texts_at(_at(server), "b.example") == ()
    await _lookup(server).texts("a.example")
    assert server.asked[-1].flags & dns.flags.RD


async def test_aliases_within_an_answer(server: DnsServer) -> None:
    server.handler = zone("a.example. CNAME b.example.", 'b.example. TXT "x"')
    assert await _lookup(server).texts_at(_at(server), "a.example") == ("x",)
    assert await _lookup(server).texts("a.example") == ("x",)


async def test_a_long_answer_comes_over_tcp(server: DnsServer) -> None:
    server.handler = zone(*(f'a.example. TXT "{number:0>200}"' for number in range(20)))
    assert len(await _lookup(server).texts_at(_at(server), "a.example")) == 20


async def test_servers_that_refuse_or_are_silent(server: DnsServer) -> None:
    server.handler = zone(refuse=("a.example.",))
    with pytest.raises(LookupFailed, match="answered REFUSED"):
        await _lookup(server).texts_at(_at(server), "a.example")
    with pytest.raises(LookupFailed, match=r"cannot be looked up: .* answered REFUSED"):
        await _lookup(server).texts("a.example")
    nobody = AuthoritativeServer("ns1", ServerAddress("127.0.0.1", free_port("127.0.0.1")))
    with pytest.raises(LookupFailed, match="did not answer"):
        await _lookup(server).texts_at(nobody, "a.example")


# -- resolvers


async def test_the_next_resolver_is_asked_when_one_fails(server: DnsServer) -> None:
    server.handler = zone('a.example. TXT "x"')
    nobody = ServerAddress("127.0.0.1", free_port("127.0.0.1"))
    lookup = Lookup([nobody, ServerAddress(server.address, server.port)], query_seconds=0.2)
    assert await lookup.texts("a.example") == ("x",)


async def test_a_lost_question_is_asked_again(server: DnsServer) -> None:
    answers = zone('a.example. TXT "x"')
    server.handler = lambda query: None if len(server.asked) == 1 else answers(query)
    assert await _lookup(server).texts("a.example") == ("x",)


async def test_the_systems_resolvers(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.handler = zone('a.example. TXT "x"')

    class System:
        nameservers = (server.address, object())
        port = server.port

    monkeypatch.setattr(dns.resolver, "Resolver", System)
    assert await Lookup().texts("a.example") == ("x",)
    assert repr(Lookup()) == "<Lookup through those of the system>"

    def none() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", none)
    with pytest.raises(LookupFailed, match="no resolver is configured"):
        await Lookup().texts("a.example")


async def test_repr_names_the_resolvers() -> None:
    assert repr(Lookup([ServerAddress("192.0.2.1")])) == "<Lookup through 192.0.2.1>"


@pytest.mark.anyio
async def test_records_of_any_kind(zones: Zones) -> None:
    lookup = zones.lookup()
    assert await lookup.records("ns1.sub.example.test", "A") == ("127.0.0.1",)
    assert await lookup.records("nothing.example.test", "CAA") == ()
