from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from acme_client.testing.clock import Clock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Source:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_runs_with_its_source_from_where_it_was_put() -> None:
    source = Source()
    clock = Clock(START, source=source)
    assert clock.now() == START
    source.seconds += 5
    assert clock.now() == START + timedelta(seconds=5)


def test_advances_in_any_unit_and_backwards() -> None:
    clock = Clock(START, frozen=True)
    moved = clock.advance(timedelta(days=1), hours=2, minutes=3, seconds=4)
    assert moved == clock.now() == START + timedelta(days=1, hours=2, minutes=3, seconds=4)
    assert clock.advance(days=-1, hours=-2, minutes=-3, seconds=-4) == START
    assert clock.time() == START.timestamp()


def test_stands_still_while_frozen_and_goes_on_from_there() -> None:
    source = Source()
    clock = Clock(START, source=source)
    clock.freeze()
    source.seconds += 100
    assert clock.now() == START
    clock.advance(seconds=10)
    clock.run()
    assert clock.now() == START + timedelta(seconds=10)
    source.seconds += 1
    assert clock.now() == START + timedelta(seconds=11)
    clock.run()
    assert clock.now() == START + timedelta(seconds=11)


def test_can_be_set_while_frozen() -> None:
    clock = Clock(START, frozen=True)
    clock.set(START + timedelta(days=400))
    assert clock.now() == START + timedelta(days=400)


def test_wants_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Clock(datetime(2026, 1, 1))


def test_repr_says_where_it_stands() -> None:
    clock = Clock(START, frozen=True)
    assert repr(clock) == "<Clock 2026-03-01 12:00:00 UTC, stopped>"
    clock.run()
    assert repr(clock).endswith("running>")
