"""Challenge kinds: what a name can use, and which is tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.challenges.kinds import CHALLENGE_KINDS, choose_kind, usable_kinds

ALPN, HTTP, DNS = CHALLENGE_KINDS


def test_what_a_name_can_use() -> None:
    assert usable_kinds("a.example", CHALLENGE_KINDS) == (ALPN, HTTP, DNS)
    assert usable_kinds("*.a.example", CHALLENGE_KINDS) == (DNS,)
    assert usable_kinds("192.0.2.1", CHALLENGE_KINDS) == (ALPN, HTTP)
    assert usable_kinds("2001:db8::1", (DNS, HTTP)) == (HTTP,)


@pytest.mark.parametrize(
    ("worked", "failed", "chosen"),
    [
        (None, [], ALPN),
        (HTTP, [], HTTP),
        (None, [ALPN], HTTP),
        (HTTP, [HTTP], ALPN),
        (ALPN, [ALPN, HTTP], DNS),
        (None, [ALPN, HTTP, DNS], ALPN),
        (None, [ALPN, HTTP, DNS, ALPN], HTTP),
        (None, [DNS, HTTP, ALPN, HTTP, DNS], ALPN),
        ("gone-01", [], ALPN),
    ],
)
def test_the_choice(worked: str | None, failed: list[str], chosen: str) -> None:
    assert choose_kind(CHALLENGE_KINDS, CHALLENGE_KINDS, worked, failed) == chosen


def test_only_what_is_offered_and_usable() -> None:
    assert choose_kind([HTTP, "new-01"], [ALPN, HTTP], None, []) == HTTP
    assert choose_kind([DNS], [ALPN, HTTP], None, []) is None
    assert choose_kind([], CHALLENGE_KINDS, ALPN, []) is None


@given(st.sets(st.sampled_from(CHALLENGE_KINDS), min_size=1))
def test_repeated_failures_try_every_kind_in_turn(usable: set[str]) -> None:
    failed: list[str] = []
    for _ in range(2 * len(usable)):
        kind = choose_kind(CHALLENGE_KINDS, sorted(usable), None, failed)
        assert kind is not None
        failed.append(kind)
    assert set(failed[: len(usable)]) == set(failed[len(usable) :]) == usable
