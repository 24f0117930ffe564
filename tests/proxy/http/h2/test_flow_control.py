"""Windows in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2.flow_control import ReceiveWindow, grown

MAX = 2**31 - 1


def test_a_window_grows_up_to_its_maximum() -> None:
    assert grown(0, 5) == 5
    assert grown(-10, 5) == -5
    assert grown(MAX - 1, 1) == MAX
    assert grown(MAX, 1) is None


def test_credit_is_given_in_batches() -> None:
    window = ReceiveWindow(100)
    assert window.take(60)
    assert window.give_back(49) == 0
    assert repr(window) == "<ReceiveWindow 40 available, 49 owed>"
    assert window.give_back(1) == 50
    assert (window.available, window.owed) == (90, 0)


def test_more_than_allowed_is_noticed() -> None:
    window = ReceiveWindow(100)
    assert window.take(100)
    assert not window.take(1)


def test_more_given_back_than_received_is_a_mistake_of_ours() -> None:
    window = ReceiveWindow(100)
    window.take(10)
    with pytest.raises(ValueError, match="11 bytes given back"):
        window.give_back(11)


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80))))
def test_nothing_is_lost_and_memory_is_bounded(steps: list[tuple[int, int]]) -> None:
    window = ReceiveWindow(100)
    held = 0
    for arriving, consumed in steps:
        if arriving <= window.available:
            assert window.take(arriving)
            held += arriving
        consumed = min(consumed, held)
        window.give_back(consumed)
        held -= consumed
        assert window.available + window.owed + held == 100
        assert window.owed < 50 or not window.owed
