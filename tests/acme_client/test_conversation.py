"""Watching an order: obedient, patient, not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import anyio
import pytest

from acme_client.conversation import Conversation
from acme_client.errors import OrderStuck
from acme_client.resources import Order
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import MINUTE

pytestmark = pytest.mark.anyio


def order(status: str, retry_after: timedelta | None = None) -> Order:
    return Order(
        url="https://ca.example/1",
        status=status,
        names=(),
        authorizations=(),
        finalize="https://ca.example/f",
        certificate=None,
        expires=None,
        problem=None,
        retry_after=retry_after,
    )


class Watch:
    """A watch over scripted answers, and when each was fetched."""

    def __init__(self, simulation: Simulation, answers: Iterator[Order]) -> None:
        self.clock = simulation.clock
        self.conversation = Conversation(simulation.authority(), simulation.environment)
        self.answers = answers
        self.fetched: list[float] = []
        self.result: Order | OrderStuck | None = None

    async def fetch(self) -> Order:
        self.fetched.append(round(self.clock.monotonic(), 2))
        return next(self.answers)

    async def run(self) -> None:
        try:
            self.result = await self.conversation.watch(
                self.fetch, lambda found: found.status == "processing", "the order"
            )
        except OrderStuck as error:
            self.result = error


async def test_waits_grow_to_five_seconds(simulation: Simulation) -> None:
    watch = Watch(simulation, iter([order("processing")] * 12 + [order("valid")]))
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        await simulation.clock.advance(MINUTE)
    assert isinstance(watch.result, Order)
    waits = [round(b - a, 2) for a, b in zip(watch.fetched, watch.fetched[1:], strict=False)]
    assert waits[:3] == pytest.approx([0.25, 0.375, 0.5625], abs=0.02)
    assert waits == sorted(waits)
    assert waits[-1] == 5.0


async def test_the_ca_may_ask_for_more_within_reason(simulation: Simulation) -> None:
    answers = [
        order("processing", timedelta(seconds=20)),
        order("processing", timedelta(days=5)),
        order("processing", timedelta(0)),
        order("valid"),
    ]
    watch = Watch(simulation, iter(answers))
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        await simulation.clock.advance(2 * MINUTE)
    assert watch.fetched[:3] == [0, 20, 80]
    assert watch.fetched[3] < 82


async def test_after_five_minutes_it_is_stuck(simulation: Simulation) -> None:
    watch = Watch(simulation, iter([order("processing")] * 1000))
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        await simulation.clock.advance(10 * MINUTE)
    assert isinstance(watch.result, OrderStuck)
    assert "still processing after 300 s" in str(watch.result)
    assert watch.fetched[-1] <= 300
    assert len(watch.fetched) < 80


async def test_requests_through_a_thread(simulation: Simulation) -> None:
    conversation = Conversation(simulation.authority(), simulation.environment)
    found = await conversation.ask(lambda authority: authority.directory())
    assert found.url == simulation.ca.directory_url
