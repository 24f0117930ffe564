"""The ledger in the store."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from acme_client.bookkeeping import Bookkeeper
from acme_client.directories import Limit
from acme_client.errors import BudgetSpent, LockHeld
from acme_client.ledger import EVERYTHING, Charge, Ledger, Obstacle
from tests.acme_client.support import DAY, HOUR, START, FakeClock, make_environment, settle

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]

TWO_A_DAY = Charge("x", Limit(2, DAY), "things")
QUICK = Charge("pace", Limit(10, 10 * (HOUR / 3600)), "orders")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def books(tmp_path: Path, clock: FakeClock) -> Bookkeeper:
    return Bookkeeper(make_environment(tmp_path, clock), "ca")


async def test_what_is_reserved_is_remembered(
    books: Bookkeeper, tmp_path: Path, clock: FakeClock
) -> None:
    await books.reserve((TWO_A_DAY,), scopes=())
    await books.reserve((TWO_A_DAY,), scopes=())
    restarted = Bookkeeper(make_environment(tmp_path, clock), "ca")
    with pytest.raises(BudgetSpent, match=r"things: 2 in 1 day.* 2026-03-02 00:00") as caught:
        await restarted.reserve((TWO_A_DAY,), scopes=())
    assert caught.value.retry_at == START + DAY / 2
    await Bookkeeper(make_environment(tmp_path, clock), "other").reserve((TWO_A_DAY,), scopes=())
    await restarted.refund((TWO_A_DAY,))
    await restarted.reserve((TWO_A_DAY,), scopes=())


async def test_a_refused_reservation_costs_nothing(books: Bookkeeper) -> None:
    await books.charge((TWO_A_DAY, TWO_A_DAY))
    other = Charge("y", Limit(1, DAY), "others")
    with pytest.raises(BudgetSpent):
        await books.reserve((other, TWO_A_DAY), scopes=())
    await books.reserve((other,), scopes=())


async def test_room_is_looked_for_and_not_taken(books: Bookkeeper) -> None:
    for _ in range(5):
        await books.reserve((), scopes=(), and_room_for=(TWO_A_DAY,))
    await books.charge((TWO_A_DAY, TWO_A_DAY))
    with pytest.raises(BudgetSpent):
        await books.reserve((), scopes=(), and_room_for=(TWO_A_DAY,))


async def test_blocks(books: Bookkeeper, clock: FakeClock) -> None:
    await books.block("name:a", Obstacle(START + HOUR, "slow down"))
    await books.reserve((), scopes=(EVERYTHING, "name:b"))
    with pytest.raises(BudgetSpent, match="slow down"):
        await books.reserve((), scopes=(EVERYTHING, "name:a"))
    clock.clock.advance(HOUR)
    await books.reserve((), scopes=(EVERYTHING, "name:a"))


async def test_a_short_obstacle_is_waited_for(books: Bookkeeper, clock: FakeClock) -> None:
    done = 0

    async def reserve() -> None:
        nonlocal done
        await books.reserve((QUICK,), scopes=())
        done += 1

    async with anyio.create_task_group() as group:
        for _ in range(25):
            group.start_soon(reserve)
        await settle()
        assert done == 10
        await clock.advance(HOUR / 360)
        assert done == 20
        await clock.advance(HOUR / 360)
    assert done == 25


async def test_many_at_once_never_overdraw(books: Bookkeeper) -> None:
    refused = 0

    async def reserve() -> None:
        nonlocal refused
        try:
            await books.reserve((TWO_A_DAY,), scopes=())
        except BudgetSpent:
            refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(reserve)
    assert refused == 4


async def test_another_process_is_waited_for_and_not_for_ever(
    books: Bookkeeper, tmp_path: Path, clock: FakeClock
) -> None:
    store = make_environment(tmp_path, clock).store
    with store.lock("ledger-ca"):
        async with anyio.create_task_group() as group:
            group.start_soon(books.charge, (TWO_A_DAY,))
            await settle()
            group.cancel_scope.cancel()

        async def expect() -> None:
            with pytest.raises(LockHeld):
                await books.charge((TWO_A_DAY,))

        async with anyio.create_task_group() as group:
            group.start_soon(expect)
            await clock.advance(HOUR)


async def test_a_damaged_ledger_is_begun_anew(books: Bookkeeper, tmp_path: Path) -> None:
    make_environment(tmp_path).store.save_document("ledger/ca", {"arrivals": 1})
    assert await books.ledger() == Ledger()
    assert not (tmp_path / "documents" / "ledger" / "ca.json.damaged").exists()
    await books.block(EVERYTHING, Obstacle(START + HOUR, "slow down"))
    assert EVERYTHING in (await books.ledger()).blocks
    assert (tmp_path / "documents" / "ledger" / "ca.json.damaged").exists()
