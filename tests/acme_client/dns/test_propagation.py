from __future__ import annotations

import itertools
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.dns import ServerAddress
from acme_client.dns.lookup import Lookup
from acme_client.dns.propagation import (
    LAST_PAUSE,
    SILENT_ROUNDS,
    Sight,
    Watch,
    pauses,
    wait_until_served,
)
from acme_client.errors import NotPresented
from tests.acme_client.dns.conftest import Zones
from tests.acme_client.dns.servers import DnsServer, zone

NAME = "_acme-challenge.example"
SOA = "example. SOA ns1.example. h.example. 1 2 3 4 5"
HAS, LACKS, SILENT = Sight.HAS, Sight.LACKS, Sight.SILENT


# -- the decision


@pytest.mark.parametrize(
    ("rounds", "complete"),
    [
        ([], False),
        ([(HAS, HAS)], True),
        ([(HAS, LACKS)], False),
        ([(LACKS, LACKS), (HAS, HAS)], True),
        ([(HAS, HAS), (HAS, LACKS)], False),
        ([(HAS, SILENT)], False),
        ([(HAS, SILENT)] * SILENT_ROUNDS, True),
        ([(HAS, SILENT), (HAS, SILENT), (HAS, HAS), (HAS, SILENT)], False),
        ([(SILENT, SILENT)] * 9, False),
        ([(LACKS, SILENT)] * 9, False),
    ],
)
def test_when_it_is_everywhere(rounds: list[tuple[Sight, Sight]], complete: bool) -> None:
    watch = Watch()
    for first, second in rounds:
        watch.note({"ns1": first, "ns2": second})
    assert watch.complete is complete


@given(st.lists(st.tuples(*[st.sampled_from(Sight)] * 3), max_size=12))
def test_never_complete_while_one_that_answered_lacks_it(
    rounds: list[tuple[Sight, Sight, Sight]],
) -> None:
    watch = Watch()
    for round_ in rounds:
        watch.note(dict(zip(("a", "b", "c"), round_, strict=True)))
    if watch.complete:
        assert LACKS not in rounds[-1]
        assert HAS in rounds[-1]


def test_it_says_who_lacks_it() -> None:
    watch = Watch()
    watch.note({"ns2": LACKS, "ns1": HAS})
    assert str(watch) == "ns1 has it, ns2 does not have it"


def test_pauses_grow_to_a_limit() -> None:
    found = list(itertools.islice(pauses(), 12))
    assert found == sorted(found)
    assert (found[0], found[-1]) == (1.0, LAST_PAUSE)


# -- the waiting


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(zone(SOA)) as server:
        yield server


class Slept:
    """Counts pauses instead of making them; ``at`` calls something after a number of them."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float, /) -> None:
        self.pauses.append(seconds)
        await anyio.lowlevel.checkpoint()


def _lookup(*servers: DnsServer) -> Lookup:
    addresses = [ServerAddress(server.address, server.port) for server in servers]
    return Lookup(addresses[:1], authoritative=addresses, query_seconds=0.2)


@pytest.mark.anyio
async def test_waits_until_the_last_server_has_it(server: DnsServer) -> None:
    with DnsServer(zone(SOA)) as late:
        server.handler = zone(SOA, f'{NAME}. TXT "x"', f'{NAME}. TXT "other"')

        def look(watch: Watch) -> None:
            if len(slept.pauses) == 2:
                late.handler = server.handler

        slept = Slept()
        await wait_until_served(
            _lookup(server, late), NAME, "x", seconds=30, sleep=slept, on_round=look
        )
    assert slept.pauses == [1.0, 1.5, 2.25]


@pytest.mark.anyio
async def test_a_dead_server_is_passed_over(server: DnsServer) -> None:
    server.handler = zone(SOA, f'{NAME}. TXT "x"')
    with DnsServer(lambda query: None) as dead:
        slept = Slept()
        await wait_until_served(_lookup(server, dead), NAME, "x", seconds=30, sleep=slept)
    assert len(slept.pauses) == SILENT_ROUNDS - 1


@pytest.mark.anyio
async def test_the_end_of_the_time_names_who_lacks_it(server: DnsServer) -> None:
    async def for_ever(seconds: float, /) -> None:
        await anyio.sleep_forever()

    with pytest.raises(NotPresented, match=r"after 0\.3 s .*: 127\.0\.0\.1:\d+ does not have"):
        await wait_until_served(_lookup(server), NAME, "x", seconds=0.3, sleep=for_ever)


@pytest.mark.anyio
async def test_a_zone_that_is_not_found_in_time(server: DnsServer) -> None:
    server.handler = lambda query: None
    with pytest.raises(NotPresented, match="were not found in that time"):
        await wait_until_served(_lookup(server), NAME, "x", seconds=0.05)


@pytest.mark.anyio
async def test_with_a_real_primary_and_secondary(zones: Zones) -> None:
    name = "_acme-challenge.propagated.example.test"
    await zones.provider().present(name, "x")
    seen: list[str] = []
    await wait_until_served(
        zones.lookup(), name, "x", seconds=30, on_round=lambda watch: seen.append(str(watch))
    )
    assert seen[-1].count("has it") == 2
    await zones.provider().clean_up(name, "x")
