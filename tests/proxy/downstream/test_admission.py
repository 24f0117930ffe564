"""Who is let in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.downstream.admission import NOBODYS, Admission, counting_key


def test_an_ipv6_client_counts_by_its_64() -> None:
    assert counting_key("2001:db8:0:1::1") == counting_key("2001:db8:0:1:ffff::2")
    assert counting_key("2001:db8:0:1::1") != counting_key("2001:db8:0:2::1")
    assert counting_key("1.2.3.4") != counting_key("1.2.3.5")


def test_limits_per_address() -> None:
    admission = Admission(limit=10, limit_per_address=2)
    keys = [admission.enter("1.2.3.4") for _ in range(3)]
    assert keys == ["1.2.3.4", "1.2.3.4", None]
    assert admission.enter("1.2.3.5") is not None
    admission.leave("1.2.3.4")
    assert admission.enter("1.2.3.4") is not None
    assert (admission.total, admission.refused) == (3, 1)


def test_limit_in_total() -> None:
    admission = Admission(limit=2, limit_per_address=2)
    assert admission.enter("1.2.3.4")
    assert admission.enter("1.2.3.5")
    assert admission.enter("1.2.3.6") is None
    admission.leave("1.2.3.4")
    assert admission.enter("1.2.3.6")


def test_a_trusted_proxy_counts_in_total_only() -> None:
    admission = Admission(limit=4, limit_per_address=2)
    keys = [admission.enter("10.0.0.9", for_many=True) for _ in range(5)]
    assert keys == [NOBODYS] * 4 + [None]
    # Whoever it speaks for counts as everybody does.
    assert admission.announce("1.2.3.4") == "1.2.3.4"
    assert admission.announce("1.2.3.4") == "1.2.3.4"
    assert admission.announce("1.2.3.4") is None
    for key in ("1.2.3.4", "1.2.3.4", NOBODYS, NOBODYS):
        admission.leave(key)
    assert (admission.total, admission.refused) == (0, 2)
    assert admission._by_key == {}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_counts_never_drift(steps: list[tuple[bool, int]]) -> None:
    admission = Admission(limit=8, limit_per_address=3)
    inside: list[str] = []
    for enters, number in steps:
        if enters:
            key = admission.enter(f"10.0.0.{number}")
            if key is not None:
                inside.append(key)
        elif inside:
            admission.leave(inside.pop(number % len(inside)))
        assert admission.total == len(inside) <= 8
        assert all(inside.count(key) <= 3 for key in inside)
    for key in inside:
        admission.leave(key)
    assert admission.total == 0
    assert admission._by_key == {}
