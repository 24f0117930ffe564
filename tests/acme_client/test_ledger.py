"""The ledger: buckets that refill, blocks that end."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.directories import LETS_ENCRYPT, NO_LIMITS, Limit
from acme_client.errors import Problem
from acme_client.ledger import (
    EVERYTHING,
    Charge,
    Ledger,
    Obstacle,
    account_charges,
    failure_charges,
    names_key,
    order_charges,
    order_scopes,
    refused_scope,
)
from tests.acme_client.support import DAY, HOUR, MINUTE, START

FIVE_A_WEEK = Charge("names:x", Limit(5, 7 * DAY), "certificates of these names")
STEP = 7 * DAY / 5
NAMES = ("a.example.com", "b.example.com")


def spend(ledger: Ledger, times: int) -> Ledger:
    for _ in range(times):
        assert ledger.obstacle((FIVE_A_WEEK,), START) is None
        ledger = ledger.charge((FIVE_A_WEEK,), START)
    return ledger


def test_a_full_bucket_holds_its_count() -> None:
    ledger = spend(Ledger(), 5)
    obstacle = ledger.obstacle((FIVE_A_WEEK,), START)
    assert obstacle is not None
    assert obstacle.until == START + STEP
    assert "5 in 7 days" in obstacle.why


def test_it_refills_one_by_one() -> None:
    ledger = spend(Ledger(), 5)
    assert ledger.obstacle((FIVE_A_WEEK,), START + STEP - MINUTE) is not None
    assert ledger.obstacle((FIVE_A_WEEK,), START + STEP) is None
    ledger = ledger.charge((FIVE_A_WEEK,), START + STEP)
    assert ledger.obstacle((FIVE_A_WEEK,), START + STEP) is not None


def test_what_is_left() -> None:
    ledger = Ledger()
    for used in range(6):
        assert ledger.left(FIVE_A_WEEK, START).left == 5 - used
        ledger = ledger.charge((FIVE_A_WEEK,), START)
    assert ledger.left(FIVE_A_WEEK, START + 20 * DAY).left == 5


def test_a_refund() -> None:
    ledger = spend(Ledger(), 5).refund((FIVE_A_WEEK,))
    assert ledger.obstacle((FIVE_A_WEEK,), START) is None
    assert Ledger().refund((FIVE_A_WEEK,)) == Ledger()


@given(st.integers(1, 100), st.integers(1, 100), st.data())
def test_another_limit_counts_the_same_uses(before: int, after: int, data: st.DataObject) -> None:
    old, new = Limit(before, HOUR), Charge("x", Limit(after, HOUR), "x")
    uses = data.draw(st.integers(0, before))
    ledger = Ledger()
    for _ in range(uses):
        ledger = ledger.charge((Charge("x", old, "x"),), START)
    left = ledger.under(new, old, START).left(new, START).left
    assert left == max(0, after - uses)


def test_the_same_limit_and_an_untouched_bucket_stay() -> None:
    spent = spend(Ledger(), 3)
    assert spent.under(FIVE_A_WEEK, FIVE_A_WEEK.limit, START) is spent
    other = Limit(9, DAY)
    assert Ledger().under(FIVE_A_WEEK, other, START) == Ledger()
    assert spent.under(FIVE_A_WEEK, other, START + 30 * DAY) is spent


@given(st.integers(1, 300), st.integers(60, 10**6), st.lists(st.integers(0, 10**5), max_size=400))
def test_never_more_than_the_limit_in_a_period(count: int, period: int, pauses: list[int]) -> None:
    charge = Charge("x", Limit(count, timedelta(seconds=period)), "x")
    ledger, now, sent = Ledger(), START, []
    for pause in pauses:
        now += timedelta(seconds=pause)
        if ledger.obstacle((charge,), now) is None:
            ledger = ledger.charge((charge,), now)
            sent.append(now)
    # A bucket that is full at the start of a period can give its content and what comes in.
    for begin in sent:
        within = sum(begin <= at < begin + charge.limit.period for at in sent)
        assert within <= 2 * count


def test_blocks_end_by_themselves() -> None:
    ledger = Ledger().block("name:a", Obstacle(START + HOUR, "slow down"))
    ledger = ledger.block(EVERYTHING, Obstacle(START + MINUTE, "busy"))
    found = ledger.block_on(("name:a", EVERYTHING), START)
    assert found == Obstacle(START + HOUR, "slow down")
    assert ledger.block_on(("name:b", EVERYTHING), START) == Obstacle(START + MINUTE, "busy")
    assert ledger.block_on(("name:b", EVERYTHING), START + MINUTE) is None
    assert ledger.block_on(("name:b",), START) is None


def test_there_and_back_and_tidied() -> None:
    ledger = spend(Ledger(), 2).block("name:a", Obstacle(START + HOUR, "slow down"))
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    assert ledger.tidied(START) == ledger
    assert ledger.tidied(START + 30 * DAY) == Ledger()


def keys(charges: tuple[Charge, ...]) -> list[str]:
    return [charge.key for charge in charges]


def test_what_an_order_costs() -> None:
    fresh = order_charges(LETS_ENCRYPT, NAMES, renewal=False, ari=False)
    assert keys(fresh) == ["pace", f"names:{names_key(NAMES)}", "orders", "domain:example.com"]
    assert [c.key for c in fresh if c.per_certificate] == [fresh[1].key, fresh[3].key]
    renewal = order_charges(LETS_ENCRYPT, NAMES, renewal=True, ari=False)
    assert keys(renewal) == ["pace", f"names:{names_key(NAMES)}"]
    assert keys(order_charges(LETS_ENCRYPT, NAMES, renewal=True, ari=True)) == ["pace"]
    assert keys(order_charges(NO_LIMITS, NAMES, renewal=False, ari=False)) == ["pace"]


def test_what_a_failure_and_an_account_cost() -> None:
    assert keys(failure_charges(LETS_ENCRYPT, NAMES)) == [f"failures:{name}" for name in NAMES]
    assert failure_charges(NO_LIMITS, NAMES) == ()
    assert keys(account_charges(LETS_ENCRYPT)) == ["accounts"]
    assert account_charges(NO_LIMITS) == ()


def test_the_set_of_names_has_no_order() -> None:
    assert names_key(("a", "b")) == names_key(("b", "a")) != names_key(("a",))


@pytest.mark.parametrize(
    ("detail", "scope"),
    [
        (
            'too many certificates (50) already issued for "example.com" in the last 168h0m0s',
            "domain:example.com",
        ),
        (
            "too many certificates (5) already issued for this exact set of identifiers in the "
            "last 168h0m0s",
            f"names:{names_key(NAMES)}",
        ),
        (
            'too many failed authorizations (5) for "b.example.com" in the last 1h0m0s',
            "name:b.example.com",
        ),
        ("too many new orders (300) from this account in the last 3h0m0s", EVERYTHING),
        ("Service busy; retry later.", EVERYTHING),
        ("too many requests for a.example.com", "name:a.example.com"),
    ],
)
def test_what_a_refusal_is_about(detail: str, scope: str) -> None:
    problem = Problem("urn:ietf:params:acme:error:rateLimited", detail)
    assert refused_scope(NAMES, (problem,)) == scope
    assert scope in order_scopes(NAMES)
