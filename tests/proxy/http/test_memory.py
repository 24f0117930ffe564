"""Tests of proxy.http.memory: what is in it is right, and it never grows past its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.memory import ENTRIES, GENERATION_BYTES, KEY_BYTES, Memory


def test_an_entry_in_use_stays() -> None:
    memory: Memory[int] = Memory()
    memory.put(b"used", 1)
    for number in range(5 * ENTRIES):
        memory.put(b"%d" % number, number)
        if number % (ENTRIES // 2) == 0:
            assert memory.get(b"used") == 1
    assert memory.get(b"0") is None


def test_it_is_bounded_in_entries_and_bytes() -> None:
    memory: Memory[int] = Memory()
    for number in range(4 * ENTRIES):
        memory.put(b"%d" % number, number)
    assert len(memory) <= 2 * ENTRIES
    for number in range(4 * ENTRIES):
        memory.put(b"%d" % number + b"x" * (KEY_BYTES - 10), number)
    assert len(memory) * KEY_BYTES <= 2 * (GENERATION_BYTES + KEY_BYTES) * 1.1


def test_a_long_key_is_not_kept() -> None:
    memory: Memory[int] = Memory()
    memory.put(b"x" * (KEY_BYTES + 1), 1)
    assert len(memory) == 0


def test_recall_follows_the_generations() -> None:
    memory: Memory[int] = Memory()
    recall = memory.recall
    for number in range(3 * ENTRIES):
        memory.put(b"%d" % number, number)
        assert recall(b"%d" % number) == number
    assert recall(b"0") is None


@given(st.lists(st.tuples(st.binary(max_size=3), st.booleans()), max_size=200))
def test_it_never_answers_for_other_bytes(steps: list[tuple[bytes, bool]]) -> None:
    memory: Memory[bytes] = Memory()
    for key, puts in steps:
        if puts:
            memory.put(key, key)
        assert memory.get(key) in (None, key)
