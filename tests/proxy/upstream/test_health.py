"""Health as conversations: what happens to an upstream, and what it then is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.balance import DOWN, SUSPENDED, UP, UpstreamState
from proxy.upstream.health import (
    ActiveHealth,
    ActivePolicy,
    PassiveHealth,
    PassivePolicy,
    Phase,
    StatusRanges,
    UpstreamHealth,
)


def phase(health: PassiveHealth) -> Phase:
    """The phase, read anew: mypy believes that an attribute compared once stays as it was."""
    return health.phase


POLICY = PassivePolicy(failures=3, within=10, out_for=20)


def passive_out_at(now: float) -> PassiveHealth:
    health = PassiveHealth(POLICY)
    for _ in range(3):
        health.request_failed(now)
    assert phase(health) is Phase.OUT
    return health


def half_open() -> PassiveHealth:
    health = passive_out_at(0)
    health.time_passed(20)
    assert phase(health) is Phase.HALF_OPEN
    return health


def trying() -> PassiveHealth:
    health = half_open()
    health.request_started()
    assert phase(health) is Phase.TRYING
    return health


def test_failures_within_the_time_suspend() -> None:
    health = PassiveHealth(POLICY)
    health.request_failed(0)
    health.request_failed(5)
    assert repr(health) == "<PassiveHealth serving, failures 2>"
    assert health.offers
    health.request_failed(10)
    assert repr(health) == "<PassiveHealth out, failures 0>"
    assert not health.offers


def test_failures_spread_wider_do_not() -> None:
    health = PassiveHealth(POLICY)
    for now in range(0, 100, 6):
        health.request_failed(now)
    assert phase(health) is Phase.SERVING


def test_success_between_failures_does_not_forgive_them() -> None:
    health = PassiveHealth(POLICY)
    for now in (0, 1, 2):
        health.request_failed(now)
        health.request_succeeded()
    assert phase(health) is Phase.HALF_OPEN  # out at the third, then a success while out


def test_out_for_its_time_then_one_try() -> None:
    health = passive_out_at(0)
    health.time_passed(19.9)
    assert phase(health) is Phase.OUT
    health.time_passed(20)
    assert phase(health) is Phase.HALF_OPEN
    assert health.offers
    health.request_started()
    assert phase(health) is Phase.TRYING
    assert not health.offers


def test_try_succeeds() -> None:
    health = trying()
    health.request_succeeded()
    assert phase(health) is Phase.SERVING
    health.request_failed(30)
    health.request_failed(30)
    assert phase(health) is Phase.SERVING  # it begins with a clean sheet


def test_try_fails() -> None:
    health = trying()
    health.request_failed(25)
    assert phase(health) is Phase.OUT
    health.time_passed(44)
    assert phase(health) is Phase.OUT
    health.time_passed(45)
    assert phase(health) is Phase.HALF_OPEN


def test_try_abandoned() -> None:
    health = trying()
    health.request_abandoned()
    assert phase(health) is Phase.HALF_OPEN


def test_failure_of_an_older_request_while_half_open() -> None:
    health = half_open()
    health.request_failed(21)
    assert phase(health) is Phase.OUT


def test_more_failures_while_out_do_not_lengthen_it() -> None:
    health = passive_out_at(0)
    health.request_failed(15)
    health.time_passed(20)
    assert phase(health) is Phase.HALF_OPEN


def test_time_and_starts_mean_nothing_while_serving() -> None:
    health = PassiveHealth(POLICY)
    health.time_passed(1e9)
    health.request_started()
    health.request_succeeded()
    health.request_abandoned()
    assert phase(health) is Phase.SERVING


@given(
    st.lists(
        st.tuples(
            st.floats(0, 30),
            st.sampled_from(["started", "succeeded", "abandoned", "failed", "time"]),
        ),
        max_size=60,
    )
)
def test_it_always_comes_back(events: list[tuple[float, str]]) -> None:
    """Whatever happened, after a quiet time one successful try makes it serve again."""
    health, now = PassiveHealth(POLICY), 0.0
    for passed, event in events:
        now += passed
        match event:
            case "started":
                health.request_started()
            case "succeeded":
                health.request_succeeded()
            case "abandoned":
                health.request_abandoned()
            case "failed":
                health.request_failed(now)
            case "time":
                health.time_passed(now)
        assert len(health._failures) <= POLICY.failures
    health.request_abandoned()
    health.time_passed(now + POLICY.out_for)
    assert health.offers
    health.request_started()
    health.request_succeeded()
    assert phase(health) is Phase.SERVING


@pytest.mark.parametrize("values", [{"failures": 0}, {"within": 0}, {"out_for": -1}])
def test_bad_passive_policy(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        PassivePolicy(**values)


def active(rise: int = 2, fall: int = 3, at: float = 0.5) -> ActiveHealth:
    return ActiveHealth(ActivePolicy(rise=rise, fall=fall, interval=10), 100.0, lambda: at)


def results(health: ActiveHealth, *statuses: int | None) -> list[bool]:
    seen = []
    for status in statuses:
        health.check_ended(status)
        seen.append(health.up)
    return seen


def test_up_before_the_first_check_which_decides() -> None:
    health = active()
    assert health.up
    assert health.next_check == 100.0
    assert results(health, None) == [False]
    assert results(active(), 200, 500, 500) == [True, True, True]


def test_fall_and_rise() -> None:
    health = active()
    assert results(health, 200, 500, None, 200) == [True] * 4  # a good one between starts anew
    assert results(health, 503, 503, 503) == [True, True, False]
    assert results(health, 200, 500, 200, 200) == [False, False, False, True]
    assert repr(health) == "<ActiveHealth up, 0 against it>"


@pytest.mark.parametrize(("at", "due"), [(0.0, 209.0), (0.5, 210.0), (1.0, 211.0)])
def test_checks_are_spread(at: float, due: float) -> None:
    health = active(at=at)
    health.check_started(200.0)
    assert health.next_check == pytest.approx(due)


@pytest.mark.parametrize(
    "values", [{"rise": 0}, {"fall": 0}, {"interval": 0}, {"timeout": 0}, {"path": "health"}]
)
def test_bad_active_policy(values: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        ActivePolicy(**values)  # type: ignore[arg-type]  # the wrong values are the test


def test_status_ranges() -> None:
    statuses = StatusRanges.parse("200-204, 3xx,404, 5XX")
    good = {status for status in range(100, 600) if status in statuses}
    assert good == {*range(200, 205), *range(300, 400), 404, *range(500, 600)}
    assert str(statuses) == "200-204, 300-399, 404, 500-599"
    assert StatusRanges.parse(str(statuses)) == statuses


@pytest.mark.parametrize(
    "text", ["", "2", "99", "600", "200,", "200-", "-200", "300-200", "6xx", "2x", "xxx", "²00"]
)
def test_bad_status_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="expected status"):
        StatusRanges.parse(text)


def test_both_kinds_make_one_condition() -> None:
    state = UpstreamState("u")
    health = UpstreamHealth(state, PassiveHealth(POLICY), active())
    assert not health.request_failed(0)
    assert not health.request_failed(0)
    assert health.request_failed(0)
    assert state.condition == SUSPENDED
    assert health.check_ended(500)
    assert state.condition == DOWN
    assert not health.time_passed(20)
    assert health.check_ended(200) is False
    assert health.check_ended(200)
    assert state.condition == UP
    assert health.request_started()
    assert state.condition == SUSPENDED  # one try at a time
    assert health.request_abandoned()
    assert state.condition == UP
    health.request_started()
    assert health.request_succeeded()
    assert state.condition == UP
    assert repr(health) == (
        "<UpstreamHealth of <UpstreamState u up, active 0, weight 1>:"
        " <PassiveHealth serving, failures 0>, <ActiveHealth up, 0 against it>>"
    )


def test_without_either_it_is_always_up() -> None:
    state = UpstreamState("u")
    health = UpstreamHealth(state)
    for _ in range(10):
        assert not health.request_started()
        assert not health.request_failed(0)
        assert not health.request_succeeded()
        assert not health.request_abandoned()
        assert not health.time_passed(0)
    assert state.condition == UP
    with pytest.raises(ValueError, match="'u' has no active check"):
        health.check_ended(200)


def test_nothing_happens_on_a_healthy_upstream() -> None:
    state = UpstreamState("u")
    health = UpstreamHealth(state, PassiveHealth(POLICY))
    assert not health.request_started()
    assert not health.request_succeeded()
    assert not health.request_abandoned()
    assert state.condition == UP
