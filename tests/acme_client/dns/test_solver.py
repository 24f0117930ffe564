"""DNS-01 from beginning to end: with a provider of lists, and with BIND 9 and a CA."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from acme_client.challenges.solver import DnsSolver
from acme_client.dns import Dns01Solver, challenge_name
from acme_client.dns.lookup import AuthoritativeServer
from acme_client.errors import NotPresented, RequestError
from acme_client.testing import AcmeCA, Settings, Status
from acme_client.testing.dns import ask_server
from tests.acme_client.dns.conftest import Zones
from tests.acme_client.testing.raw import RawClient

pytestmark = pytest.mark.anyio


class Records:
    """A provider that writes into a set, and can be told to fail."""

    def __init__(self) -> None:
        self.records: set[tuple[str, str]] = set()
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.hang = ""
        self.entered = anyio.Event()
        self.busy = 0

    def __repr__(self) -> str:
        return "<records>"

    async def present(self, name: str, value: str) -> None:
        await self._call("present", name)
        self.records.add((name, value))
        await self._end("present")

    async def clean_up(self, name: str, value: str) -> None:
        await self._call("clean_up", name)
        self.records.discard((name, value))
        await self._end("clean_up")

    async def _call(self, method: str, name: str) -> None:
        self.calls.append(f"{method} {name}")
        self.busy += 1
        assert self.busy == 1, "two calls at once for one name"
        await anyio.lowlevel.checkpoint()
        self.busy -= 1

    async def _end(self, method: str) -> None:
        self.entered.set()
        if self.hang == method:
            await anyio.sleep_forever()
        if method in self.fail:
            raise self.fail[method]


def test_it_is_what_certificate_requests_take() -> None:
    solver: DnsSolver = Dns01Solver(Records())
    assert repr(solver) == "<Dns01Solver with <records>>"


@pytest.mark.parametrize("domain", ["a.example", "*.a.example", "a.example."])
def test_the_name_of_a_challenge(domain: str) -> None:
    assert challenge_name(domain) == "_acme-challenge.a.example"


async def test_there_and_gone_again() -> None:
    records = Records()
    solver = Dns01Solver(records)
    await solver.present("a.example", "x")
    await solver.present("a.example", "y")
    assert records.records == {
        ("_acme-challenge.a.example", "x"),
        ("_acme-challenge.a.example", "y"),
    }
    await solver.clean_up("a.example", "x")
    await solver.clean_up("a.example", "y")
    assert not records.records


async def test_what_a_process_before_has_placed_can_be_cleaned_up() -> None:
    records = Records()
    records.records.add(("_acme-challenge.a.example", "x"))
    await Dns01Solver(records).clean_up("a.example", "x")
    assert not records.records


async def test_a_failure_after_the_effect_is_cleaned_up() -> None:
    records = Records()
    records.fail["present"] = ConnectionResetError("peer went away")
    with pytest.raises(NotPresented, match=r"<records> could not present _acme-challenge\.a\."):
        await Dns01Solver(records).present("a.example", "x")
    assert not records.records
    assert len(records.calls) == 2


async def test_errors_of_our_own_go_through() -> None:
    records = Records()
    records.fail["present"] = RequestError("no such credential")
    with pytest.raises(RequestError, match="no such credential"):
        await Dns01Solver(records).present("a.example", "x")


async def test_a_clean_up_that_fails_too_does_not_hide_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = Records()
    records.fail = {"present": OSError("first"), "clean_up": OSError("second")}
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(NotPresented, match="first"),
    ):
        await Dns01Solver(records).present("a.example", "x")
    assert "the DNS record stays" in caplog.text
    assert "second" in caplog.text


async def test_a_provider_that_hangs_is_given_up() -> None:
    records = Records()
    records.hang = "present"
    with pytest.raises(NotPresented, match=r"did not present .* within 0\.05 s"):
        await Dns01Solver(records, provider_seconds=0.05).present("a.example", "x")
    assert not records.records


async def test_a_clean_up_that_hangs_is_given_up() -> None:
    records = Records()
    records.hang = "clean_up"
    with pytest.raises(NotPresented, match="did not clean_up"):
        await Dns01Solver(records, provider_seconds=0.05).clean_up("a.example", "x")


async def test_cancelled_while_presenting_it_is_cleaned_up() -> None:
    records = Records()
    records.hang = "present"
    solver = Dns01Solver(records)
    async with anyio.create_task_group() as group:
        group.start_soon(solver.present, "a.example", "x")
        await records.entered.wait()
        assert records.records
        group.cancel_scope.cancel()
    assert not records.records


async def test_a_clean_up_is_finished_though_cancelled() -> None:
    records = Records()
    solver = Dns01Solver(records)
    await solver.present("a.example", "x")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await solver.clean_up("a.example", "x")
    assert not records.records


async def test_one_call_at_a_time_for_a_name() -> None:
    records = Records()
    solver = Dns01Solver(records)
    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(solver.present, "a.example", str(number))
    assert len(records.records) == 10
    assert not solver._locks


# -- with BIND 9


def _solver(zones: Zones, seconds: float = 30) -> Dns01Solver:
    return Dns01Solver(zones.provider(), zones.lookup(), propagation_seconds=seconds)


async def _texts(zones: Zones, name: str) -> tuple[str, ...]:
    server = AuthoritativeServer("primary", zones.primary)
    return await zones.lookup().texts_at(server, name)


async def test_a_delegated_name_is_written_where_it_leads(zones: Zones) -> None:
    solver = _solver(zones)
    await solver.present("delegated.example.test", "x")
    assert await _texts(zones, "8e5700ea.acme.test") == ("x",)
    await solver.clean_up("delegated.example.test", "x")
    assert await _texts(zones, "8e5700ea.acme.test") == ()


async def test_a_record_that_does_not_spread_is_cleaned_up(zones: Zones) -> None:
    with pytest.raises(NotPresented, match="does not have it"):
        await _solver(zones, 2).present("lag.test", "x")
    assert await _texts(zones, "_acme-challenge.lag.test") == ()


async def test_a_zone_with_a_dead_server(zones: Zones) -> None:
    solver = _solver(zones)
    await solver.present("dead.test", "x")
    await solver.clean_up("dead.test", "x")


async def test_a_ca_issues_for_a_name_its_wildcard_and_a_delegated_one(
    zones: Zones, make_acme_ca: Callable[..., AcmeCA]
) -> None:
    ca = make_acme_ca(Settings(challenges=("dns-01",)))
    ca.settings.lookup_txt = ask_server("127.0.0.1", zones.port)
    client = RawClient(ca)
    client.register()
    order = client.order("example.test", "*.example.test", "delegated.example.test")
    solver = _solver(zones)
    proofs = []
    for authorization in ca.authorizations:
        (challenge,) = authorization.challenges
        proofs.append((authorization.identifier.value, _proof(challenge.key_authorization)))
    async with anyio.create_task_group() as group:
        for domain, value in proofs:
            group.start_soon(solver.present, domain, value)
    await anyio.to_thread.run_sync(client.authorize, order, "dns-01")
    await anyio.to_thread.run_sync(
        ca.wait_for,
        lambda ca: all(a.status is not Status.PENDING for a in ca.authorizations),
    )
    for domain, value in proofs:
        await solver.clean_up(domain, value)
    assert [order.status for order in ca.orders] == [Status.READY]
    assert await _texts(zones, "_acme-challenge.example.test") == ()


def _proof(key_authorization: str) -> str:
    import hashlib

    from acme_client.testing.jws import encode

    return encode(hashlib.sha256(key_authorization.encode()).digest())
