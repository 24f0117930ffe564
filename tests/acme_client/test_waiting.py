"""Waiting for a lock that others hold."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from acme_client.errors import IssuerError, LockHeld
from acme_client.waiting import in_turn
from tests.acme_client.support import FakeClock

pytestmark = pytest.mark.anyio

TOO_LONG = IssuerError("another process has been at it for too long")


class Work:
    """Its lock is held for the first tries."""

    def __init__(self, held: int) -> None:
        self._held = held
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self._held:
            raise LockHeld("by another process")
        return "done"


@pytest.mark.parametrize("held", [0, 2])
async def test_it_is_tried_until_nobody_holds_the_lock(held: int) -> None:
    clock, work = FakeClock(), Work(held)
    async with anyio.create_task_group() as group:
        group.start_soon(clock.advance, timedelta(seconds=10))
        done = await in_turn(work, clock, every=5, tries=3, too_long=TOO_LONG)
    assert (done, work.tries) == ("done", held + 1)


async def test_a_lock_that_is_held_for_too_long() -> None:
    clock, work = FakeClock(), Work(4)
    async with anyio.create_task_group() as group:
        group.start_soon(clock.advance, timedelta(seconds=15))
        with pytest.raises(IssuerError, match="at it for too long"):
            await in_turn(work, clock, every=5, tries=3, too_long=TOO_LONG)
    assert work.tries == 3
    assert clock.monotonic() == 15


async def test_what_goes_wrong_meanwhile_is_not_tried_again() -> None:
    async def breaks() -> None:
        raise IssuerError("broken")

    with pytest.raises(IssuerError, match="broken"):
        await in_turn(breaks, FakeClock(), every=5, tries=3, too_long=TOO_LONG)
