"""Outages: one probe for all that wait."""

from __future__ import annotations

from datetime import timedelta

from acme_client.outage import Outages
from tests.acme_client.support import START

SECOND = timedelta(seconds=1)


def test_all_wait_for_one_probe() -> None:
    outages = Outages()
    assert outages.until("ca", START) is None
    assert outages.note("ca", START, 0.5)
    assert outages.until("ca", START) == START + 5 * SECOND
    # Others that failed at the same time do not push the date away.
    assert not outages.note("ca", START + SECOND, 0.5)
    assert outages.until("ca", START + SECOND) == START + 5 * SECOND


def test_probes_come_ever_more_rarely() -> None:
    outages, now, waits = Outages(), START, []
    for _ in range(4):
        assert outages.note("ca", now, 0.5)
        until = outages.until("ca", now)
        assert until is not None
        waits.append((until - now).total_seconds())
        now = until
        assert outages.until("ca", now) is None  # the probe may go
    assert waits == [5, 10, 20, 40]


def test_an_answer_ends_it() -> None:
    outages = Outages()
    outages.note("ca", START, 0.5)
    outages.over("ca")
    outages.over("never seen")
    assert outages.until("ca", START) is None


def test_issuers_are_apart() -> None:
    outages = Outages()
    outages.note("one", START, 0.5)
    assert outages.until("other", START) is None
