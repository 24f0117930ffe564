"""The system clock: waits in slices and notices jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from acme_client import clock as clock_module
from acme_client.clock import SystemClock
from tests.acme_client.support import DAY


@pytest.mark.anyio
async def test_a_date_in_the_past_is_not_waited_for() -> None:
    clock = SystemClock()
    await clock.wait_until(clock.now() - DAY, anyio.Event())


@pytest.mark.anyio
async def test_waking_ends_the_wait() -> None:
    clock, wake = SystemClock(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.wait_until, clock.now() + 365 * DAY, wake)
        await anyio.wait_all_tasks_blocked()
        wake.set()


@pytest.mark.anyio
async def test_a_jump_of_the_wall_clock_is_noticed_in_the_next_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock_module, "SLICE_SECONDS", 0.01)
    real = datetime.now(UTC)
    looks = iter([real, real, real + 90 * DAY, real + 90 * DAY])

    class Jumping(SystemClock):
        def now(self) -> datetime:
            return next(looks)

    await Jumping().wait_until(real + DAY, anyio.Event())


@pytest.mark.anyio
async def test_time_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.now().utcoffset() == timedelta(0)
