"""When a certificate is renewed."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.renewal import (
    RenewalWindow,
    alert_time,
    ask_time,
    is_hurried,
    is_out_of_turn,
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
    assert is_hurried(START, end, START + 29 * DAY)
    assert not is_hurried(START, end, START + 31 * DAY)


@pytest.mark.parametrize(
    ("lifetime", "first", "last"),
    [(90 * DAY, 30 * DAY, 64.5 * DAY), (160 * HOUR, 160 * HOUR / 3, 88 * HOUR)],
)
def test_its_own_time(lifetime: timedelta, first: timedelta, last: timedelta) -> None:
    def out_of_turn(after: timedelta) -> bool:
        return is_out_of_turn(START, START + lifetime, START + after)

    assert [out_of_turn(first + after) for after in (-MINUTE, MINUTE)] == [True, False]
    assert [out_of_turn(last + after) for after in (-MINUTE, MINUTE)] == [False, True]


@given(LIFETIMES, CHANCES, st.booleans())
def test_who_keeps_to_the_plan_is_in_turn(lifetime: timedelta, chance: float, before: bool) -> None:
    end = START + lifetime
    due = renewal_time(START, end, None, chance, out_of_turn=before).at
    # The dates in certificates are whole seconds; a lifetime of an hour has many of them.
    assert not is_out_of_turn(START, end, due + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("lifetime", "latest"), [(90 * DAY, 30 * DAY), (45 * DAY, 15 * DAY), (160 * HOUR, 80 * HOUR)]
)
def test_after_an_issuance_out_of_turn_at_any_time_from_a_third_on(
    lifetime: timedelta, latest: timedelta
) -> None:
    end = START + lifetime

    def left(chance: float) -> timedelta:
        return end - renewal_time(START, end, None, chance, out_of_turn=True).at

    assert abs(left(0) - latest) < MINUTE
    assert abs(left(0.5) - (latest + lifetime * 2 / 3) / 2) < MINUTE
    assert abs(left(1) - lifetime * 2 / 3) < MINUTE
    assert "at random" in renewal_time(START, end, None, 0, out_of_turn=True).rule


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
    tenths = Counter(
        int(10 * spread_of(sha256(b"%d" % number).hexdigest())) for number in range(10_000)
    )
    # Five standard deviations of a binomial.
    assert all(abs(tenths[tenth] - 1000) < 150 for tenth in range(10))


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
