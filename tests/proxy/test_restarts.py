"""When a dead child is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.restarts import LONGEST_WAIT, SETTLED_AFTER, Restarts


def test_one_death_is_answered_at_once_and_more_wait_longer() -> None:
    restarts = Restarts()
    waits = [restarts.wait_after_death(0.1) for _ in range(12)]
    assert waits[:6] == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_WAIT


def test_who_lived_long_has_a_clean_record() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.wait_after_death(0.1)
    assert restarts.wait_after_death(SETTLED_AFTER) == 0.0
    assert restarts.deaths == 1


@given(st.lists(st.floats(0, 100), max_size=100))
def test_the_wait_has_bounds(lives: list[float]) -> None:
    restarts = Restarts()
    assert all(0.0 <= restarts.wait_after_death(lived) <= LONGEST_WAIT for lived in lives)
