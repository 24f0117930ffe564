"""Back-off: 1, 10, 100 minutes, then daily."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.backoff import clamp_retry_after, probe_delay, retry_delay
from tests.acme_client.support import DAY, HOUR, MINUTE, START

MIDDLE = 0.5
"""The chance that adds nothing."""


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(1, MINUTE), (2, 10 * MINUTE), (3, 100 * MINUTE), (4, DAY), (5, DAY), (1000, DAY)],
)
def test_the_steps(failures: int, delay: timedelta) -> None:
    assert retry_delay(failures, None, MIDDLE) == delay
    assert retry_delay(failures, 90 * DAY, MIDDLE) == delay


def test_a_short_lived_certificate_is_tried_every_six_hours() -> None:
    assert retry_delay(4, 160 * HOUR, MIDDLE) == 6 * HOUR
    assert retry_delay(4, 10 * DAY, MIDDLE) == DAY
    assert retry_delay(3, 160 * HOUR, MIDDLE) == 100 * MINUTE


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_jitter_is_ten_percent_either_way(failures: int, chance: float) -> None:
    step = retry_delay(failures, None, MIDDLE)
    assert step * 0.9 <= retry_delay(failures, None, chance) <= step * 1.1


def test_no_more_than_three_failures_in_an_hour() -> None:
    at, dates = timedelta(0), []
    for failures in range(1, 8):
        dates.append(at)
        at += retry_delay(failures, None, 0.0)
    for date in dates:
        assert sum(date <= other < date + HOUR for other in dates) <= 3


def test_probes_double_from_five_seconds_to_ten_minutes() -> None:
    delays = [probe_delay(probes, MIDDLE).total_seconds() for probes in range(9)]
    assert delays == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert probe_delay(10**6, 0.99) < 11 * MINUTE


def test_retry_after_is_believed_for_a_week() -> None:
    assert clamp_retry_after(START + HOUR, START) == START + HOUR
    assert clamp_retry_after(START + 400 * DAY, START) == START + 7 * DAY
