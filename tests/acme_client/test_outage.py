"""Outages: one probe for all that wait."""

from __future__ import annotations

from datetime import timedelta

from acme_client.outage import Outages
from tests.acme_client.support import START

SECOND = timedelta(seconds=1)


def test_all_wait_for_one_probe() -> None:
    outages = Outages()
    assert outages.hold("ca", START, 0.5) is None
    outages.begin("ca", START, 0.5)
    assert outages.hold("ca", START, 0.5) == START + 5 * SECOND
    # Others that failed at the same time do not push the date away.
    assert outages.begin("ca", START + SECOND, 0.5).until == START + 5 * SECOND
    # When the date has come, the first goes and the others wait for it.
    later = START + 5 * SECOND
    assert outages.hold("ca", later, 0.5) is None
    assert outages.hold("ca", later, 0.5) == later + 10 * SECOND


def test_probes_come_ever_more_rarely() -> None:
    outages, now, waits = Outages(), START, []
    for _ in range(4):
        until = outages.begin("ca", now, 0.5).until
        waits.append((until - now).total_seconds())
        now = until
        assert outages.hold("ca", now, 0.5) is None
    assert waits == [5, 10, 20, 40]


def test_an_answer_ends_it() -> None:
    outages = Outages()
    assert not outages.is_known("ca")
    outages.begin("ca", START, 0.5)
    assert outages.is_known("ca")
    assert outages.end("ca")
    assert not outages.is_known("ca")
    assert not outages.end("ca")
    assert outages.hold("ca", START, 0.5) is None


def test_issuers_are_apart() -> None:
    outages = Outages()
    outages.begin("one", START, 0.5)
    assert outages.hold("other", START, 0.5) is None


def test_ever_fewer_lines_in_the_log() -> None:
    outages, now, told = Outages(), START, []
    for _ in range(64):
        outage = outages.begin("ca", now, 0.5)
        told += [outage.probes] * outage.is_news()
        told += [outage.probes] * outage.is_news()  # another certificate, same probe
        now = outage.until
        outages.hold("ca", now, 0.5)
    assert told == [1, 2, 4, 8, 16, 32, 64]
