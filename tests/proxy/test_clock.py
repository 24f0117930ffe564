"""The coarse clock."""

from __future__ import annotations

import pytest

from proxy.clock import NEVER, CoarseClock


def test_it_stands_still_until_it_is_moved() -> None:
    clock = CoarseClock(5.0)
    assert clock.now == 5.0
    clock.now += 0.5
    assert clock.now == 5.5


def test_never_does_not_come() -> None:
    assert NEVER > 1e300
    assert NEVER + 1 == NEVER


def test_it_holds_nothing_else() -> None:
    with pytest.raises(AttributeError):
        CoarseClock(0.0).later = 1  # type: ignore[attr-defined]
