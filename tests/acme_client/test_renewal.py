"""When a certificate is renewed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.renewal import (
    RenewalWindow,
    alert_time,
    ask_time,
    is_hurried,
    renewal_time,
    spread_of,
)
from tests.acme_client.support import DAY, HOUR, MINUTE, START

LIFETIMES = st.timedeltas(timedelta(hours=1), timedelta(days=400))
CHANCES = st.floats(0, 1, exclude_max=True)


def at(lifetime: timedelta, chance: float = 0.0, window: RenewalWindow | None = None) -> timedelta:
    """How much of the lifetime is left when it is renewed."""
    end = START + lifetime
    return end - renewal_time(START, end, window, chance).at


@pytest.mark.parametrize(
    ("lifetime", "left"),
    [
        (90 * DAY, 30 * DAY),
        (64 * DAY, 64 * DAY / 3),
        (45 * DAY, 15 * DAY),
        (10 * DAY, 10 * DAY / 3),
        (160 * HOUR, 80 * HOUR),
        (12 * HOUR, 6 * HOUR),
    ],
)
def test_a_third_is_left_or_half_when_it_is_short(lifetime: timedelta, left: timedelta) -> None:
    assert abs(at(lifetime) - left) < timedelta(seconds=1)


@given(LIFETIMES, CHANCES)
def test_the_spread_only_advances_and_by_a_tenth(lifetime: timedelta, chance: float) -> None:
    advance = at(lifetime, chance) - at(lifetime)
    assert timedelta(0) <= advance <= lifetime / 10 + timedelta(seconds=1)


def window(begin: timedelta, length: timedelta) -> RenewalWindow:
    return RenewalWindow(START + begin, START + begin + length)


def test_the_ca_may_ask_for_any_earlier_date() -> None:
    revoked = window(-10 * DAY, DAY)
    assert at(90 * DAY, 0.25, revoked) == 100 * DAY - DAY / 4
    assert renewal_time(START, START + 90 * DAY, revoked, 0).rule.startswith("the CA's")


def test_a_hurried_renewal_is_not_followed_by_another_at_once() -> None:
    past = window(-10 * DAY, DAY)

    def renewed(lifetime: timedelta) -> timedelta:
        return renewal_time(START, START + lifetime, past, 0.5, hurried=True).at - START

    assert renewed(90 * DAY) == DAY
    assert renewed(160 * HOUR) == 8 * HOUR
    end = START + 90 * DAY
    assert renewal_time(START, end, None, 0, hurried=True) == renewal_time(START, end, None, 0)


def test_what_a_hurry_is() -> None:
    end = START + 90 * DAY
    assert is_hurried(START, end, START + 44 * DAY)
    assert not is_hurried(START, end, START + 45 * DAY)


def test_the_ca_may_delay_to_a_sixth() -> None:
    assert at(90 * DAY, 0.5, window(70 * DAY, 2 * DAY)) == 19 * DAY
    late = window(85 * DAY, DAY)
    assert at(90 * DAY, 0.5, late) == 15 * DAY
    assert "1/6" in renewal_time(START, START + 90 * DAY, late, 0).rule


@pytest.mark.parametrize("length", [timedelta(0), -DAY])
def test_an_odd_window_is_no_window(length: timedelta) -> None:
    assert at(90 * DAY, 0.5, window(DAY, length)) == at(90 * DAY, 0.5)


@given(
    LIFETIMES,
    CHANCES,
    st.none() | st.tuples(st.timedeltas(-DAY * 1000, DAY * 1000), st.timedeltas(-DAY, DAY * 100)),
)
def test_never_within_a_sixth_of_the_end(
    lifetime: timedelta, chance: float, odd: tuple[timedelta, timedelta] | None
) -> None:
    left = at(lifetime, chance, window(*odd) if odd else None)
    assert left >= lifetime / 6 - timedelta(seconds=1)


def test_spread_is_a_chance_that_stays() -> None:
    assert spread_of("0" * 64) == 0
    assert 0.99 < spread_of("f" * 64) < 1
    assert spread_of("8" + "0" * 63) == 0.5


def test_the_alert_is_at_a_quarter() -> None:
    assert alert_time(START, START + 100 * DAY) == START + 75 * DAY


@pytest.mark.parametrize(
    ("wish", "asked"),
    [
        (None, 6 * HOUR),
        (timedelta(0), MINUTE),
        (2 * HOUR, 2 * HOUR),
        (30 * DAY, DAY),
        (timedelta.max, DAY),
    ],
)
def test_asking_again_is_clamped(wish: timedelta | None, asked: timedelta) -> None:
    now: datetime = START
    assert ask_time(now, wish) == now + asked
