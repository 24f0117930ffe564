"""Proving control of the names of an order."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from acme_client.account import AccountKeeper
from acme_client.authority import Authority
from acme_client.challenges.memory import ChallengeMemory, Experience
from acme_client.challenges.validation import validate
from acme_client.conversation import Conversation
from acme_client.errors import NoChallenge, NotPresented, OrderStuck, ValidationFailed
from acme_client.resources import Authorization
from acme_client.testing import FailValidation, HangValidation
from acme_client.testing import Problem as ServerProblem
from tests.acme_client.challenges.test_answers import RecordingSolver
from tests.acme_client.simulation import Simulation, make_task
from tests.acme_client.support import HOUR

pytestmark = pytest.mark.anyio


class Setting:
    """A fresh order for some names, ready to be validated."""

    def __init__(self, simulation: Simulation, *names: str, **options: Any) -> None:
        self.simulation = simulation
        self.store = simulation.environment.store
        self.task = make_task(*names, **options)
        self.authority = simulation.authority()
        AccountKeeper(self.store, self.authority, contact=(), external=None).open()
        self.conversation = Conversation(self.authority, simulation.environment)
        profile = "shortlived" if "192.0.2.1" in names else None
        self.order = self.authority.new_order(self.task.request.names, profile, None)

    def authorizations(self) -> list[Authorization]:
        return [self.authority.authorization(url) for url in self.order.authorizations]

    async def validate(self) -> None:
        await validate(self.conversation, self.task, self.authorizations())

    def memory(self) -> ChallengeMemory:
        document = self.store.load_document(f"challenge-memory/{self.task.request.id}")
        assert document is not None
        return ChallengeMemory.from_json(document)

    def answered(self) -> list[str]:
        """The kinds of the challenges that the CA was told about."""
        return [
            challenge.kind
            for found in self.simulation.ca.authorizations
            for challenge in found.challenges
            if challenge.status != "pending"
        ]


async def test_all_names_are_proven_and_nothing_is_left(simulation: Simulation) -> None:
    setting = Setting(simulation, "b.example", "a.example", "192.0.2.1")
    await setting.validate()
    assert [found.status for found in setting.authorizations()] == ["valid"] * 3
    assert setting.answered() == ["tls-alpn-01"] * 3
    assert setting.store.get_challenge("tls-alpn-01", "a.example") is None
    assert setting.memory().of("a.example") == Experience(worked="tls-alpn-01")


async def test_a_valid_authorisation_is_used_as_it_is(simulation: Simulation) -> None:
    simulation.ca.settings.reuse_valid_authorizations = True
    await Setting(simulation, "a.example").validate()
    simulation.ca.requests.clear()
    await Setting(simulation, "a.example", "b.example").validate()
    assert simulation.ca.requests.count("challenge") == 1


async def test_a_failure_names_the_name_the_kind_and_the_problem(simulation: Simulation) -> None:
    problem = ServerProblem("connection", "Timeout during connect")
    simulation.ca.faults.add(FailValidation(problem), names=["b.example"])
    setting = Setting(simulation, "a.example", "b.example")
    with pytest.raises(ValidationFailed) as caught:
        await setting.validate()
    assert caught.value.names == ("b.example",)
    [found] = caught.value.problems
    assert (found.identifier, found.code) == ("b.example", "connection")
    assert found.detail == "tls-alpn-01: Timeout during connect"
    assert setting.store.get_challenge("tls-alpn-01", "b.example") is None
    assert setting.memory().of("a.example") == Experience(worked="tls-alpn-01")
    assert setting.memory().of("b.example") == Experience(failed=("tls-alpn-01",))


async def test_after_a_failure_another_kind_is_tried_and_then_kept(simulation: Simulation) -> None:
    simulation.ca.faults.add(FailValidation())
    with pytest.raises(ValidationFailed):
        await Setting(simulation, "a.example").validate()
    second = Setting(simulation, "a.example")
    await second.validate()
    assert second.answered()[-1] == "http-01"
    third = Setting(simulation, "a.example")
    await third.validate()
    assert third.answered()[-1] == "http-01"


async def test_a_wildcard_and_its_base_need_two_records(simulation: Simulation) -> None:
    solver = RecordingSolver()
    seen: list[int] = []

    class Watching(RecordingSolver):
        async def present(self, domain: str, value: str) -> None:
            await solver.present(domain, value)
            seen.append(len(solver.records))

        async def clean_up(self, domain: str, value: str) -> None:
            await solver.clean_up(domain, value)

    setting = Setting(
        simulation, "a.example", "*.a.example", dns=Watching(), challenges=("dns-01",)
    )
    await setting.validate()
    assert seen == [1, 2]
    assert solver.records == []
    assert set(setting.memory().names) == {"a.example", "*.a.example"}


async def test_no_kind_that_can_be_used(simulation: Simulation) -> None:
    with pytest.raises(NoChallenge, match=r"\*\.a\.example: the CA offers dns-01") as caught:
        await Setting(simulation, "*.a.example").validate()
    assert caught.value.names == ("*.a.example",)
    simulation.ca.settings.challenges = ("dns-01",)
    with pytest.raises(NoChallenge, match="possible here is tls-alpn-01, http-01"):
        await Setting(simulation, "b.example").validate()
    assert simulation.ca.requests.count("challenge") == 0


async def test_a_record_that_is_not_in_place_is_not_told_to_the_ca(simulation: Simulation) -> None:
    setting = Setting(
        simulation,
        "a.example",
        dns=RecordingSolver(OSError("provider down")),
        challenges=("dns-01",),
    )
    with pytest.raises(NotPresented, match="provider down"):
        await setting.validate()
    assert simulation.ca.requests.count("challenge") == 0
    assert [found.status for found in setting.authorizations()] == ["pending"]


async def test_a_resumed_order_goes_on_with_the_challenge_that_was_answered(
    simulation: Simulation,
) -> None:
    setting = Setting(simulation, "a.example")
    rule = simulation.ca.faults.add(HangValidation())
    outcome: list[Exception] = []

    async def run() -> None:
        try:
            await setting.validate()
        except OrderStuck as error:
            outcome.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await simulation.clock.advance(HOUR)
    assert "authorisation of a.example is still pending" in str(outcome[0])
    assert rule.struck == 1
    [found] = setting.authorizations()
    assert [c.status for c in found.challenges if c.kind == "tls-alpn-01"] == ["processing"]
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await simulation.clock.advance(HOUR)
    assert simulation.ca.requests.count("challenge") == 1


async def test_an_authorisation_that_is_over(simulation: Simulation) -> None:
    simulation.ca.faults.add(FailValidation())
    setting = Setting(simulation, "a.example")
    with pytest.raises(ValidationFailed):
        await setting.validate()
    with pytest.raises(ValidationFailed, match="connection"):
        await setting.validate()
    assert simulation.ca.requests.count("challenge") == 1


async def test_answers_are_taken_away_when_the_ca_breaks_off(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Authority, challenge: object) -> None:
        assert setting.store.get_challenge("tls-alpn-01", "a.example") is not None
        raise RuntimeError

    setting = Setting(simulation, "a.example")
    monkeypatch.setattr(Authority, "answer", broken)
    with pytest.raises(RuntimeError):
        await setting.validate()
    assert setting.store.get_challenge("tls-alpn-01", "a.example") is None


async def test_names_no_longer_asked_for_are_forgotten(simulation: Simulation) -> None:
    await Setting(simulation, "a.example", "b.example").validate()
    last = Setting(simulation, "a.example")
    await last.validate()
    assert set(last.memory().names) == {"a.example"}
