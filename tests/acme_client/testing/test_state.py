from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from acme_client.testing import Clock, Settings, Status
from acme_client.testing.identifiers import Identifier
from acme_client.testing.objects import Account, Order
from acme_client.testing.problems import Problem, malformed
from acme_client.testing.state import State
from tests.acme_client.testing.raw import new_key

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def state() -> State:
    return State(
        settings=Settings(),
        clock=Clock(START, frozen=True),
        rng=random.Random(3),
        base_url="https://ca.example",
    )


def _order(state: State, *names: str) -> Order:
    account = Account(id=1, key=new_key().public_key(), thumbprint="t", created=START)
    identifiers = tuple(Identifier("dns", name) for name in names)
    return Order(
        id=state.number(),
        account=account,
        identifiers=identifiers,
        authorizations=[state.authorization_for(account, i) for i in identifiers],
        created=START,
        expires=START + state.settings.order_lifetime,
    )


def test_an_order_is_ready_when_all_its_names_are_valid(state: State) -> None:
    order = _order(state, "a.example", "b.example")
    for authorization, expected in zip(
        order.authorizations, (Status.PENDING, Status.READY), strict=True
    ):
        state.decide(authorization.challenges[0], None)
        state.settle(order)
        assert order.status is expected


def test_one_failed_name_spoils_the_order(state: State) -> None:
    order = _order(state, "a.example", "b.example")
    state.decide(order.authorizations[1].challenges[0], Problem("dns", "no"))
    state.settle(order)
    assert order.status is Status.INVALID


def test_the_first_verdict_counts(state: State) -> None:
    (authorization,) = _order(state, "a.example").authorizations
    first, second, _ = authorization.challenges
    state.decide(first, None)
    state.decide(second, malformed("late"))
    assert authorization.status is Status.VALID
    assert second.status is Status.PENDING


def test_a_verdict_on_the_expired_does_not_count(state: State) -> None:
    (authorization,) = _order(state, "a.example").authorizations
    state.clock.advance(days=8)
    state.decide(authorization.challenges[0], None)
    assert authorization.status is Status.EXPIRED


def test_validation_that_nobody_runs_is_told(state: State) -> None:
    (authorization,) = _order(state, "a.example").authorizations
    with pytest.raises(RuntimeError, match="cannot be validated"):
        state.start_validation(authorization.challenges[0])


def test_challenges_come_in_any_order(state: State) -> None:
    first = {
        _order(state, f"n{number}.example").authorizations[0].challenges[0].kind
        for number in range(30)
    }
    assert first == {"http-01", "tls-alpn-01", "dns-01"}
