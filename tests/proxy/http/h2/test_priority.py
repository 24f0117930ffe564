"""Extensible priorities: reading them, and whose turn it is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2.priority import (
    TURN_OF_THE_LESS_URGENT,
    UNSAID,
    Priority,
    Scheduler,
    parse_priority,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", Priority()),
        (b"u=0", Priority(0)),
        (b"u=7", Priority(7)),
        (b"i", Priority(3, incremental=True)),
        (b"u=5, i", Priority(5, incremental=True)),
        (b"i=?1,u=2", Priority(2, incremental=True)),
        (b"i=?0 , \t u=2", Priority(2)),
        (b"  u=1  ", Priority(1)),
        (b"u=1;foo=bar, i;x", Priority(1, incremental=True)),
        (b"u=1, u=4", Priority(4)),
        (b"i, i=?0", Priority()),
        (b'other="u=1, i", u=6', Priority(6)),
        (b'list=(1 2;a=b "x"), u=2', Priority(2)),
        (b"bin=:aGk=:, tok=*a/b, dec=-1.5, u=2", Priority(2)),
        # out of range or of another type: as if it were not there
        (b"u=8", Priority()),
        (b"u=-1", Priority()),
        (b"u=1.0", Priority()),
        (b'u="1"', Priority()),
        (b"u", Priority()),
        (b"i=1", Priority()),
        (b"u=1, i=maybe", Priority(1)),
        # no dictionary at all: the whole value is ignored
        (b"u=1,", Priority()),
        (b",u=1", Priority()),
        (b"u=1 i", Priority()),
        (b"u=1, U=2", Priority()),
        (b"u==1", Priority()),
        (b"\xff", Priority()),
        (b"u=1, " * 60 + b"i", Priority()),
    ],
)
def test_values(value: bytes, expected: Priority) -> None:
    assert parse_priority(value) == expected


@given(st.binary(max_size=80))
def test_anything_gives_some_priority(value: bytes) -> None:
    assert 0 <= parse_priority(value).urgency <= 7


@dataclass
class Waiting:
    id: int
    priority: Priority


def order(scheduler: Scheduler[Waiting], frames: dict[int, int]) -> list[int]:
    """Whose frames go out, when each stream has that many of them."""
    frames = dict(frames)
    taken = []
    while scheduler:
        stream = scheduler.take()
        taken.append(stream.id)
        frames[stream.id] -= 1
        if frames[stream.id]:
            scheduler.add(stream)
    assert not any(frames.values())
    return taken


def scheduler_of(*streams: Waiting) -> Scheduler[Waiting]:
    scheduler: Scheduler[Waiting] = Scheduler()
    for stream in streams:
        scheduler.add(stream)
    return scheduler


def test_the_more_urgent_goes_first() -> None:
    scheduler = scheduler_of(
        Waiting(1, Priority(5)), Waiting(3, Priority(0)), Waiting(5, Priority(3))
    )
    assert len(scheduler) == 3
    assert order(scheduler, {1: 2, 3: 2, 5: 2}) == [3, 3, 5, 5, 1, 1]
    assert not scheduler


def test_one_after_the_other_within_an_urgency() -> None:
    scheduler = scheduler_of(Waiting(5, Priority()), Waiting(1, Priority()), Waiting(3, Priority()))
    assert order(scheduler, {1: 2, 3: 2, 5: 2}) == [1, 1, 3, 3, 5, 5]


def test_incremental_streams_take_turns() -> None:
    shared = Priority(3, incremental=True)
    scheduler = scheduler_of(Waiting(1, shared), Waiting(3, shared), Waiting(5, UNSAID))
    assert order(scheduler, {1: 3, 3: 2, 5: 3}) == [1, 3, 5, 1, 3, 5, 1, 5]


def test_both_kinds_alternate() -> None:
    shared = Priority(3, incremental=True)
    scheduler = scheduler_of(
        Waiting(1, shared), Waiting(3, Priority()), Waiting(5, shared), Waiting(7, Priority())
    )
    assert order(scheduler, {1: 2, 3: 2, 5: 2, 7: 2}) == [3, 1, 3, 5, 7, 1, 7, 5]


def test_the_less_urgent_do_not_starve() -> None:
    urgent, low, lower = (Waiting(n, Priority(u)) for n, u in ((1, 0), (3, 4), (5, 7)))
    scheduler = scheduler_of(urgent, low, lower)
    taken = []
    for _ in range(8 * TURN_OF_THE_LESS_URGENT):
        stream = scheduler.take()
        taken.append(stream.id)
        scheduler.add(stream)
    assert taken.count(3) == taken.count(5) == 4
    assert taken.count(1) == 8 * TURN_OF_THE_LESS_URGENT - 8


def test_removal() -> None:
    streams = [
        Waiting(1, Priority()),
        Waiting(3, Priority()),
        Waiting(5, UNSAID),
        Waiting(7, Priority(0)),
    ]
    scheduler = scheduler_of(*streams)
    assert scheduler.remove(streams[0])
    assert not scheduler.remove(streams[0])
    assert scheduler.remove(streams[2])
    assert scheduler.remove(streams[3])
    assert not scheduler.remove(streams[3])
    assert order(scheduler, {3: 2}) == [3, 3]


priorities = st.builds(Priority, st.integers(0, 7), st.booleans())


@given(st.lists(st.tuples(priorities, st.integers(1, 5)), max_size=12), st.sets(st.integers(0, 11)))
def test_everybody_gets_through_and_no_frame_is_lost(
    streams: list[tuple[Priority, int]], removed: set[int]
) -> None:
    waiting = [Waiting(2 * n + 1, priority) for n, (priority, _) in enumerate(streams)]
    scheduler = scheduler_of(*waiting)
    frames = {2 * n + 1: count for n, (_, count) in enumerate(streams)}
    for number in removed:
        if number < len(waiting):
            assert scheduler.remove(waiting[number])
            del frames[2 * number + 1]
    taken = order(scheduler, frames)
    assert {number: taken.count(number) for number in frames} == frames
