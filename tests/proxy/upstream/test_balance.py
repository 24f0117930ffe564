"""Each policy's promise: shares by weight, no idle upstream passed over, keys that stay."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.balance import (
    DOWN,
    MAX_WEIGHT,
    SUSPENDED,
    UP,
    Balancer,
    LeastConnections,
    Policy,
    RandomTwo,
    RendezvousHash,
    RoundRobin,
    UpstreamState,
    cookie_value,
    make_balancer,
)

POLICIES: list[Policy] = ["round_robin", "least_connections", "random_two", "hash"]


def pool(*weights: int) -> list[UpstreamState]:
    return [UpstreamState(f"u{index}", weight=weight) for index, weight in enumerate(weights)]


def any_balancer(policy: Policy) -> Balancer:
    return make_balancer(policy, Random(7).random)


def chosen(balancer: Balancer, states: list[UpstreamState], count: int) -> list[str]:
    names = []
    for _ in range(count):
        state = balancer.choose(states)
        assert state is not None
        names.append(state.name)
    return names


@pytest.fixture(params=POLICIES)
def balancer(request: pytest.FixtureRequest) -> Balancer:
    return any_balancer(request.param)


def test_nothing_to_choose_from(balancer: Balancer) -> None:
    assert balancer.choose([]) is None


def test_single(balancer: Balancer) -> None:
    (only,) = states = pool(1)
    assert balancer.choose(states) is only
    assert balancer.choose(states, avoid=only) is only
    only.condition = SUSPENDED
    assert balancer.choose(states) is only
    only.condition = DOWN
    assert balancer.choose(states) is None
    only.condition = UP
    only.limit = only.active = 3
    assert balancer.choose(states) is None


def test_down_is_never_used(balancer: Balancer) -> None:
    states = pool(1, 1, 1)
    states[0].condition = states[2].condition = DOWN
    assert set(chosen(balancer, states, 20)) == {"u1"}
    states[1].condition = DOWN
    assert balancer.choose(states) is None


def test_suspended_is_used_last(balancer: Balancer) -> None:
    states = pool(1, 1, 1)
    states[0].condition = SUSPENDED
    states[1].condition = DOWN
    assert set(chosen(balancer, states, 20)) == {"u2"}
    states[2].condition = DOWN
    assert set(chosen(balancer, states, 20)) == {"u0"}


def test_full_ones_are_passed_over_and_never_replaced_by_suspended_ones(
    balancer: Balancer,
) -> None:
    states = pool(1, 1, 1)
    states[0].limit = states[0].active = 5
    states[1].condition = SUSPENDED
    assert set(chosen(balancer, states, 20)) == {"u2"}
    states[2].limit = states[2].active = 5
    assert balancer.choose(states) is None


def test_the_one_that_failed_is_avoided(balancer: Balancer) -> None:
    states = pool(1, 1, 1)
    for _ in range(50):
        choice = balancer.choose(states, b"key", avoid=states[1])
        assert choice in (states[0], states[2])
    states[0].condition = states[2].condition = DOWN
    assert balancer.choose(states, b"key", avoid=states[1]) is states[1]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_round_robin_is_exact_by_weight(weights: list[int]) -> None:
    counts = Counter(chosen(RoundRobin(), pool(*weights), 3 * sum(weights)))
    assert counts == {f"u{index}": 3 * weight for index, weight in enumerate(weights)}


def test_round_robin_is_smooth() -> None:
    assert "".join(name[1] for name in chosen(RoundRobin(), pool(5, 1, 1), 7)) == "0010200"


def test_least_connections() -> None:
    states = pool(1, 1, 1)
    states[0].active, states[1].active, states[2].active = 4, 2, 3
    assert LeastConnections().choose(states) is states[1]


def test_least_connections_takes_turns_among_equals() -> None:
    assert Counter(chosen(LeastConnections(), pool(1, 1, 1), 30)) == {"u0": 10, "u1": 10, "u2": 10}


def test_least_connections_fills_by_weight() -> None:
    states = pool(3, 1)
    least = LeastConnections()
    for _ in range(40):
        choice = least.choose(states)
        assert choice is not None
        choice.active += 1
    assert [state.active for state in states] == [30, 10]


def test_random_two_takes_the_less_busy() -> None:
    states = pool(1, 1)
    states[0].active = 1
    assert set(chosen(RandomTwo(Random(1).random), states, 30)) == {"u1"}


def test_random_two_never_takes_the_busiest_and_uses_all_others() -> None:
    states = pool(1, 1, 1, 1)
    states[2].active = 9
    assert set(chosen(RandomTwo(Random(1).random), states, 200)) == {"u0", "u1", "u3"}


def test_random_two_minds_weights() -> None:
    states = pool(10, 1)
    states[0].active, states[1].active = 5, 1
    assert set(chosen(RandomTwo(Random(1).random), states, 30)) == {"u0"}


@pytest.mark.parametrize("value", [0.0, 1 - 2**-53])
def test_random_two_at_the_ends_of_the_range(value: float) -> None:
    assert RandomTwo(lambda: value).choose(pool(1, 1, 1)) is not None


KEYS = [f"192.0.2.{number}".encode() for number in range(200)] + [b"%d" % n for n in range(800)]


def homes(states: list[UpstreamState]) -> dict[bytes, str]:
    hashing = RendezvousHash()
    found = {}
    for key in KEYS:
        choice = hashing.choose(states, key)
        assert choice is not None
        found[key] = choice.name
    return found


def test_hash_is_the_same_in_every_process() -> None:
    # Fixed values: workers, restarts and releases must agree.
    states = pool(1, 1, 1)
    assert [homes(states)[key] for key in (b"0", b"1", b"2", b"3", b"4")] == EXPECTED_HOMES
    assert homes(list(reversed(states))) == homes(states)


EXPECTED_HOMES = ["u2", "u0", "u1", "u0", "u2"]


def test_only_the_keys_of_the_one_that_goes_away_move() -> None:
    states = pool(1, 2, 1, 3)
    before = homes(states)
    states[3].condition = DOWN
    during = homes(states)
    for key, home in before.items():
        assert during[key] == home or home == "u3"
    assert "u3" not in during.values()
    states[3].condition = UP
    assert homes(states) == before


def test_hash_spreads_by_weight() -> None:
    counts = Counter(homes(pool(1, 1, 2)).values())
    assert 190 < counts["u0"] < 310
    assert 190 < counts["u1"] < 310
    assert 430 < counts["u2"] < 570


def test_without_a_key_hashing_takes_turns() -> None:
    assert Counter(chosen(RendezvousHash(), pool(1, 1), 10)) == {"u0": 5, "u1": 5}


def test_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="'fastest'; allowed: round_robin, least_connections"):
        make_balancer(cast(Policy, "fastest"), Random(1).random)


@pytest.mark.parametrize("weight", [0, -1, MAX_WEIGHT + 1])
def test_bad_weight(weight: int) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 1000"):
        UpstreamState("u", weight=weight)


def test_bad_limit() -> None:
    with pytest.raises(ValueError, match="connection limit of upstream 'u' is 0"):
        UpstreamState("u", limit=0)


def test_repr_states_the_condition() -> None:
    state = UpstreamState("unix:/run/api.sock", weight=2, limit=9)
    state.condition = SUSPENDED
    assert repr(state) == "<UpstreamState unix:/run/api.sock suspended, active 0/9, weight 2>"
    assert repr(UpstreamState("u")) == "<UpstreamState u up, active 0, weight 1>"


@pytest.mark.parametrize(
    ("cookie", "value"),
    [
        (b"sid=abc", b"abc"),
        (b"a=1; sid=abc; b=2", b"abc"),
        (b"a=1;sid=abc", b"abc"),
        (b"xsid=1; sid=2; sid=3", b"2"),
        (b'sid="a=b"', b'"a=b"'),
        (b"sid", b""),
        (b"sid=", b""),
        (b"SID=abc", b""),
        (b"", b""),
        (b";;=;", b""),
    ],
)
def test_cookie_value(cookie: bytes, value: bytes) -> None:
    assert cookie_value(cookie, b"sid") == value
