"""One order, from its placing to the certificate."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from acme_client.account import AccountKeeper
from acme_client.ari import certificate_identifier
from acme_client.authority import Authority
from acme_client.checks import check_pair, describe
from acme_client.compromised import mark_compromised
from acme_client.conversation import Conversation
from acme_client.errors import (
    IssuerUnreachable,
    OrderStuck,
    ProtocolViolation,
    Refused,
    ValidationFailed,
)
from acme_client.issuance import Issuance
from acme_client.issuer import IssuanceTask
from acme_client.placed import load_order
from acme_client.resources import Order
from acme_client.store.interface import NewCertificate, StoredCertificate
from acme_client.testing import (
    Disconnect,
    FailOrder,
    FailValidation,
    Refuse,
    Rewrite,
    SetHeader,
    StuckOrder,
    already_replaced,
    server_error,
)
from acme_client.testing import Problem as ServerProblem
from tests.acme_client.simulation import Simulation, make_task
from tests.acme_client.support import DAY, HOUR, MINUTE

pytestmark = pytest.mark.anyio


class Client:
    """What a process does for one task; make another one for the process after a crash."""

    def __init__(self, simulation: Simulation, task: IssuanceTask) -> None:
        self.store = simulation.environment.store
        self.authority = simulation.authority()
        AccountKeeper(self.store, self.authority, contact=(), external=None).open()
        conversation = Conversation(self.authority, simulation.environment)
        self.issuance = Issuance(conversation, task, "ca", task.request.profile)

    async def issue(self) -> NewCertificate:
        order, placed = await self.issuance.resume() or await self.issuance.place()
        return await self.issuance.walk(order, placed)


def client(simulation: Simulation, *names: str, **options: Any) -> Client:
    return Client(simulation, make_task(*(names or ("a.example",)), **options))


def stored(simulation: Simulation, new: NewCertificate) -> StoredCertificate:
    return simulation.environment.store.save_certificate("a.example", new)


async def test_from_nothing_to_a_certificate(simulation: Simulation) -> None:
    new = await client(simulation, "a.example", "b.example").issue()
    now = simulation.clock.now()
    facts = check_pair(
        new.chain_pem, new.key_pem, names=["a.example", "b.example"], exact=True, now=now
    )
    assert facts.key_type == "p256"
    assert new.directory == simulation.ca.directory_url


@pytest.mark.parametrize("key_type", ["p384", "rsa2048"])
async def test_other_key_types(simulation: Simulation, key_type: str) -> None:
    new = await client(simulation, key_type=key_type).issue()
    assert describe(new.chain_pem).key_type == key_type


async def test_profiles(simulation: Simulation) -> None:
    new = await client(simulation, profile="shortlived").issue()
    assert describe(new.chain_pem).lifetime <= 161 * HOUR
    assert new.profile == "shortlived"


async def test_a_preferred_chain(simulation: Simulation, caplog: pytest.LogCaptureFixture) -> None:
    plain = await client(simulation).issue()
    roots = [root.subject.rfc4514_string().removeprefix("CN=") for root in simulation.ca.roots]
    chains = set()
    for root in roots:
        found = await client(simulation, "b.example", preferred_chain=root).issue()
        chains.add(found.chain_pem.count("BEGIN"))
        check_pair(found.chain_pem, found.key_pem)
    simulation.ca.requests.clear()
    assert "preferred" not in caplog.text
    other = await client(simulation, "c.example", preferred_chain="Unheard Of").issue()
    told = "c.example: no chain of the CA leads to the preferred 'Unheard Of'; it offers "
    assert f"{told}{', '.join(roots)}" in caplog.text
    assert other.chain_pem.count("BEGIN") == plain.chain_pem.count("BEGIN")
    assert simulation.ca.requests.count("certificate") > 1


# Resuming.


@pytest.mark.parametrize("endpoint", ["authorization", "challenge", "finalize", "certificate"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_broken_connection_costs_no_second_order(
    simulation: Simulation, endpoint: str, after: bool
) -> None:
    simulation.ca.faults.add(Disconnect(after=after), at=endpoint)
    with pytest.raises(IssuerUnreachable):
        await client(simulation).issue()
    new = await client(simulation).issue()
    check_pair(new.chain_pem, new.key_pem, names=["a.example"])
    assert simulation.ca.requests.count("newOrder") == 1


async def stuck(simulation: Simulation) -> OrderStuck:
    """What an order that does not move ends with."""
    async with anyio.create_task_group() as group:
        group.start_soon(simulation.clock.advance, 10 * MINUTE)
        with pytest.raises(OrderStuck) as caught:
            await client(simulation).issue()
    return caught.value


async def test_a_stuck_order_is_kept_and_resumed(simulation: Simulation) -> None:
    simulation.ca.faults.add(StuckOrder(until=simulation.clock.now() + HOUR))
    assert "the order is still processing" in str(await stuck(simulation))
    simulation.clock.clock.advance(HOUR)
    await client(simulation).issue()
    assert simulation.ca.requests.count("newOrder") == 1
    assert simulation.ca.requests.count("finalize") == 1


async def test_an_order_that_became_ready_late(simulation: Simulation) -> None:
    """RFC 8555 §7.4: finalising too early is refused, and no reason to give up."""
    problem = ServerProblem("orderNotReady", "not yet")
    simulation.ca.faults.add(Refuse(problem), at="finalize")
    assert "still ready" in str(await stuck(simulation))
    await client(simulation).issue()
    assert simulation.ca.requests.count("newOrder") == 1


async def test_an_order_for_something_else_is_not_resumed(simulation: Simulation) -> None:
    simulation.ca.faults.add(Disconnect(), at="finalize")
    with pytest.raises(IssuerUnreachable):
        await client(simulation).issue()
    await client(simulation, "a.example", "b.example").issue()
    assert simulation.ca.requests.count("newOrder") == 2


async def test_an_old_order_is_not_resumed(simulation: Simulation) -> None:
    simulation.ca.faults.add(Disconnect(), at="finalize")
    with pytest.raises(IssuerUnreachable):
        await client(simulation).issue()
    simulation.clock.clock.advance(2 * DAY)
    await client(simulation).issue()
    assert simulation.ca.requests.count("newOrder") == 2


async def test_an_order_that_the_ca_lost_is_placed_again(simulation: Simulation) -> None:
    simulation.ca.faults.add(Disconnect(), at="finalize")
    with pytest.raises(IssuerUnreachable):
        await client(simulation).issue()
    simulation.ca.faults.add(Refuse(ServerProblem("malformed", "no such order")), at="order")
    await client(simulation).issue()
    assert simulation.ca.requests.count("newOrder") == 2


async def test_a_key_marked_compromised_is_not_used_by_a_resumed_order(
    simulation: Simulation,
) -> None:
    simulation.ca.faults.add(Disconnect(), at="finalize")
    first = client(simulation)
    with pytest.raises(IssuerUnreachable):
        await first.issue()
    kept = load_order(first.store, "ca", "a.example")
    assert kept is not None
    mark_compromised(first.store, kept.key_fingerprint, simulation.clock.now(), "leaked")
    new = await client(simulation).issue()
    assert describe(new.chain_pem).key_fingerprint != kept.key_fingerprint


async def test_a_server_error_while_resuming_keeps_the_order(simulation: Simulation) -> None:
    simulation.ca.faults.add(Disconnect(), at="finalize")
    with pytest.raises(IssuerUnreachable):
        await client(simulation).issue()
    simulation.ca.faults.add(server_error(), at="order")
    with pytest.raises(IssuerUnreachable):
        await client(simulation).issue()
    await client(simulation).issue()
    assert simulation.ca.requests.count("newOrder") == 1


# Failing.


async def test_a_failed_validation_ends_the_order(simulation: Simulation) -> None:
    simulation.ca.faults.add(FailValidation())
    first = client(simulation)
    with pytest.raises(ValidationFailed):
        await first.issue()
    assert load_order(first.store, "ca", "a.example") is None
    await client(simulation).issue()
    assert simulation.ca.requests.count("newOrder") == 2


async def test_an_order_that_the_ca_gives_up(simulation: Simulation) -> None:
    simulation.ca.faults.add(FailOrder(ServerProblem("caa", "the CAA record forbids it")))
    first = client(simulation)
    with pytest.raises(Refused, match="the CA gave up the order: caa: the CAA record forbids it"):
        await first.issue()
    assert load_order(first.store, "ca", "a.example") is None


async def test_an_order_for_other_names_is_refused(simulation: Simulation) -> None:
    other = {"identifiers": [{"type": "dns", "value": "evil.example"}]}
    simulation.ca.faults.add(Rewrite(other), at="newOrder")
    with pytest.raises(ProtocolViolation, match=r"order is for evil\.example"):
        await client(simulation).issue()


async def test_an_order_that_goes_in_circles(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def still_ready(self: Authority, order: Order, csr: object) -> Order:
        return order

    monkeypatch.setattr(Authority, "finalize", still_ready)
    with pytest.raises(ProtocolViolation, match="round in circles, now ready"):
        await client(simulation).issue()


async def test_a_valid_order_without_a_certificate(simulation: Simulation) -> None:
    change = {"status": "valid", "certificate": None}
    simulation.ca.faults.add(Rewrite(change), at="finalize")
    with pytest.raises(ProtocolViolation, match="has no certificate"):
        await client(simulation).issue()


# Renewal with ARI.


async def test_a_renewal_names_what_it_replaces(simulation: Simulation) -> None:
    old = stored(simulation, await client(simulation).issue())
    await client(simulation, replaces=old).issue()
    payload = simulation.ca.requests.at("newOrder")[-1].payload
    assert payload is not None
    assert payload["replaces"] == certificate_identifier(old.chain_pem)


@pytest.mark.parametrize("fault", [already_replaced(), server_error(500)])
async def test_a_refused_replacement_is_ordered_without(
    simulation: Simulation, fault: Refuse
) -> None:
    old = stored(simulation, await client(simulation).issue())
    simulation.ca.faults.add(fault, at="newOrder")
    await client(simulation, replaces=old).issue()
    orders = simulation.ca.requests.at("newOrder")
    assert [("replaces" in (record.payload or {})) for record in orders] == [False, True, False]


@pytest.mark.parametrize("fault", [server_error(503, retry_after=60), Disconnect()])
async def test_a_busy_or_broken_ca_is_not_asked_again_for_that(
    simulation: Simulation, fault: Refuse | Disconnect
) -> None:
    old = stored(simulation, await client(simulation).issue())
    simulation.ca.faults.add(fault, at="newOrder")
    with pytest.raises(IssuerUnreachable):
        await client(simulation, replaces=old).issue()
    assert simulation.ca.requests.count("newOrder") == 2


async def test_no_replacement_is_named_where_it_means_nothing(simulation: Simulation) -> None:
    first = await client(simulation).issue()
    elsewhere = NewCertificate(
        chain_pem=first.chain_pem, key_pem=first.key_pem, directory="https://other.example/"
    )
    old = stored(simulation, elsewhere)
    assert client(simulation, replaces=old).issuance.ari_identifier() is None
    simulation.ca.faults.add(Rewrite({"renewalInfo": None}), at="directory", times=None)
    old = stored(simulation, first)
    assert client(simulation, replaces=old).issuance.ari_identifier() is None


async def test_a_poll_may_say_when(simulation: Simulation) -> None:
    simulation.ca.settings.issuance_time = 30 * (MINUTE / 60)
    simulation.ca.faults.add(SetHeader("Retry-After", "20"), at="order", times=None)

    async def run() -> None:
        await client(simulation).issue()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await simulation.clock.advance(5 * MINUTE)
    polls = [record for record in simulation.ca.requests.at("order") if record.status == 200]
    assert 2 <= len(polls) <= 4
