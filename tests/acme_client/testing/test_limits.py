from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.testing import AcmeCA, FailValidation, RateLimits
from acme_client.testing.identifiers import Identifier
from acme_client.testing.limits import Buckets, Limit
from acme_client.testing.problems import Problem
from tests.acme_client.testing.raw import RawClient, problem_type

A = (Identifier("dns", "a.example"),)
T0 = 1_000_000.0
HOUR = 3600.0


def test_a_bucket_gives_its_tokens_and_refills_steadily() -> None:
    buckets = Buckets(Limit(5, timedelta(hours=1)))
    for _ in range(5):
        assert buckets.wait("k", T0) == 0
        buckets.spend("k", T0)
    assert buckets.left("k", T0) == 0
    assert buckets.wait("k", T0) == pytest.approx(720)
    assert buckets.wait("other", T0) == 0
    assert buckets.wait("k", T0 + 720) == 0
    assert buckets.left("k", T0 + 720) == 1
    assert buckets.left("k", T0 + HOUR) == 5
    assert buckets.left("k", T0 + 10 * HOUR) == 5


@given(
    count=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 2000), min_size=1, max_size=60),
)
def test_no_window_lets_more_through_than_burst_and_refill(count: int, gaps: list[float]) -> None:
    limit = Limit(count, timedelta(hours=1))
    buckets, now, passed = Buckets(limit), T0, []
    for gap in gaps:
        now += gap
        if buckets.wait("k", now) == 0:
            buckets.spend("k", now)
            passed.append(now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            span = passed[last] - begin
            assert last - first + 1 <= count + span / limit.interval + 0.01


def test_five_certificates_for_the_same_names_a_week() -> None:
    limits = RateLimits()
    for _ in range(5):
        limits.new_order(1, A, T0, replaces=False)
        limits.issued(A, T0, replaces=False)
    with pytest.raises(Problem, match="exact set of identifiers in the last 168h0m0s") as caught:
        limits.new_order(2, A, T0, replaces=False)
    assert caught.value.headers["Retry-After"] == str(int(7 * 24 * HOUR / 5))
    assert limits.refused == [caught.value]
    # RFC 9773: an order that replaces is exempt.
    limits.new_order(1, A, T0, replaces=True)
    limits.new_order(1, A, T0 + 7 * 24 * HOUR / 5, replaces=False)


def test_fifty_certificates_a_domain_but_renewals_are_free() -> None:
    limits = RateLimits()
    for number in range(50):
        names = (Identifier("dns", f"n{number}.a.example"),)
        limits.new_order(1, names, T0, replaces=False)
        limits.issued(names, T0, replaces=False)
    with pytest.raises(Problem, match=r"already issued for 'a\.example'"):
        limits.new_order(1, (Identifier("dns", "new.a.example"),), T0, replaces=False)
    limits.new_order(1, (Identifier("dns", "n0.a.example"),), T0, replaces=False)
    limits.new_order(1, (Identifier("ip", "192.0.2.1"),), T0, replaces=False)


def test_three_hundred_orders_an_account_in_three_hours() -> None:
    limits = RateLimits()
    for number in range(300):
        limits.new_order(1, (Identifier("dns", f"a.n{number}.example"),), T0, replaces=False)
    fresh = (Identifier("dns", "x.y.example"),)
    with pytest.raises(Problem, match=r"too many new orders \(300\)"):
        limits.new_order(1, fresh, T0, replaces=False)
    limits.new_order(2, fresh, T0, replaces=False)
    limits.new_order(1, fresh, T0 + 36, replaces=False)


def test_failures_an_hour_and_the_pause_after_many_in_a_row() -> None:
    limits = RateLimits(paused_after=7)
    for _ in range(5):
        limits.validation_failed(1, A[0], T0)
    with pytest.raises(Problem, match="failed authorizations"):
        limits.new_order(1, A, T0, replaces=False)
    limits.new_order(2, A, T0, replaces=False)
    for _ in range(2):
        limits.validation_failed(1, A[0], T0)
    with pytest.raises(Problem, match="temporarily prevented") as caught:
        limits.new_order(1, A, T0 + 100 * HOUR, replaces=False)
    assert "Retry-After" not in caught.value.headers
    limits.validation_succeeded(1, A[0])
    limits.new_order(1, A, T0 + 100 * HOUR, replaces=False)


def test_ten_accounts_an_address() -> None:
    limits = RateLimits()
    for _ in range(10):
        limits.new_account("127.0.0.1", T0)
    with pytest.raises(Problem, match="registrations"):
        limits.new_account("127.0.0.1", T0)
    limits.new_account("127.0.0.2", T0)


def test_the_ca_refuses_by_them_and_says_when_to_come_again(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.limits = RateLimits()
    ca.clock.freeze()
    for _ in range(5):
        client.issue("a.example")
    refused = client.order("a.example")
    assert (refused.status_code, problem_type(refused)) == (429, "rateLimited")
    assert refused.links["help"]["url"].startswith("https://letsencrypt.org/")
    renewed = client.order("a.example", replaces=ca.certificates[-1].renewal_id)
    assert renewed.status_code == 201
    ca.clock.advance(seconds=int(refused.headers["Retry-After"]))
    assert client.order("a.example").status_code == 201


def test_the_ca_counts_failed_validations(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.limits = RateLimits()
    ca.clock.freeze()
    ca.faults.add(FailValidation(), names=["a.example"], times=None)
    for _ in range(5):
        client.authorize(client.order("a.example"))
    assert problem_type(client.order("a.example")) == "rateLimited"
    assert client.order("b.example").status_code == 201
