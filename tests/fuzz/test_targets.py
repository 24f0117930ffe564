"""The short form of the fuzzing: every seed once, then inputs that Hypothesis makes of them."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.all_targets import TARGETS
from tests.fuzz.target import KINDS, Target, edited

_EXAMPLES = 60
_SEEDS = 60
"""Others test the corpora in full; here they only have to be fit to begin with."""


@cache
def seeds_of(name: str) -> tuple[bytes, ...]:
    return tuple(TARGETS[name].seeds())


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    payload = st.one_of(st.sampled_from(list(target.scraps)), st.binary(min_size=1, max_size=4))
    edits = st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 20), payload)
    return st.builds(
        edited, st.sampled_from(seeds_of(target.name)), st.lists(edits, min_size=1, max_size=6)
    )


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_no_findings(name: str) -> None:
    seeds = seeds_of(name)
    assert seeds
    for seed in seeds[:: max(1, len(seeds) // _SEEDS)]:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_short_time(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(inputs(target))
    def run(data: bytes) -> None:
        target.check(data)

    run()
