"""How inputs are cut and made."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.target import KINDS, MAX_BYTES, Choices, cuts, edited, random_input, same


@given(st.binary(max_size=2000))
def test_pieces_are_the_data(data: bytes) -> None:
    ways = list(cuts(data))
    assert ways == list(cuts(data))
    assert all(b"".join(pieces) == data for pieces in ways)


def test_equal_results_pass() -> None:
    same([1, 1, 1], "numbers")
    with pytest.raises(AssertionError, match="numbers"):
        same([1, 1, 2], "numbers")


def test_edits() -> None:
    assert edited(b"abc", [("insert", 1, b"X")]) == b"aXbc"
    assert edited(b"abc", [("replace", 1, b"XY")]) == b"aXY"
    assert edited(b"abc", [("delete", 2, b"")]) == b"ab"
    assert edited(b"abc", [("repeat", 1, b"")]) == b"abbc"
    assert edited(b"abc", [("flip", 0, b"")]) == b"cbc"
    assert edited(b"", [("flip", 0, b"")]) == b""


def test_inputs_stay_small() -> None:
    chance = random.Random(1)
    seeds = [b"seed", bytes(MAX_BYTES)]
    made = [random_input(chance, seeds, [b"scrap"]) for _ in range(200)]
    assert max(map(len, made)) <= MAX_BYTES
    assert any(b"scrap" in data for data in made)
    assert len(set(KINDS)) == 5


def test_choices_end_in_zeroes() -> None:
    choices = Choices(b"\x02abc")
    assert choices.string() == b"ab"
    assert choices
    assert choices.rest() == b"c"
    assert not choices
    assert (choices.byte(), choices.string()) == (0, b"")
