"""A year of a thousand certificates.

The in-process CA keeps Let's Encrypt's limits, and so does our ledger. The names have certificates
of 90 days, 45 days and 160 hours. In autumn the CA is down for a week; that is longer than the
shortest certificates live, so these have a second CA.

It is the same year each time: everything happens in one thread and on one clock, and a
certificate's chance comes of its name and generation, not of keys that the system draws.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import anyio
import pytest

from acme_client.acme_issuer import AcmeIssuer
from acme_client.directories import LETS_ENCRYPT
from acme_client.manager import CertificateManager
from acme_client.renewal import renewal_time
from acme_client.request import CertificateRequest
from acme_client.store.interface import StoredCertificate
from acme_client.testing import AcmeCA, RateLimits, Settings
from acme_client.testing import Clock as MovableClock
from tests.acme_client.memory_store import MemoryStore
from tests.acme_client.support import DAY, HOUR, START, FakeClock

NAMES = int(os.environ.get("YEAR_NAMES", "60"))
"""A thousand take about twenty minutes; ``YEAR_NAMES=1000`` asks for it."""

OUTAGE = (250, 257)
"""Days."""


def lifetime_of(number: int) -> timedelta:
    if number % 30 == 0:
        return 160 * HOUR
    return 45 * DAY if number % 2 else 90 * DAY


def request_for(number: int) -> CertificateRequest:
    # Without a second CA a certificate of 160 hours cannot outlive an outage of 168.
    both = lifetime_of(number) < 7 * DAY
    return CertificateRequest(
        names=(f"n{number}-example.com",), issuers=("first", "second") if both else ("first",)
    )


@pytest.mark.anyio
@pytest.mark.usefixtures("inline_threads")
@pytest.mark.timeout(3600)
async def test_a_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Twelve thousand handshakes with ourselves show no more than one.
    monkeypatch.setattr("acme_client.attempts.try_certificate", lambda chain_pem, key_pem: None)
    clock = FakeClock(MovableClock(START, frozen=True))
    store = MemoryStore(clock.now)

    def chance(fingerprint: str) -> float:
        stored = store.by_fingerprint[fingerprint]
        return Random(f"{stored.id} {stored.generation}").random()

    monkeypatch.setattr("acme_client.plan.spread_of", chance)
    with ExitStack() as stack:
        cas = [stack.enter_context(make_ca(tmp_path / name, clock)) for name in CAS]
        manager = CertificateManager(
            requests=map(request_for, range(NAMES)),
            issuers=[
                AcmeIssuer(ca.directory_url, name=name, limits=LETS_ENCRYPT, adapter=ca.adapter())
                for name, ca in zip(CAS, cas, strict=True)
            ],
            store=store,
            clock=clock,
            random=Random(11),
        )
        async with anyio.create_task_group() as group:
            group.start_soon(manager.run)
            for day in range(365):
                if day == OUTAGE[0]:
                    cas[0].stop()
                if day == OUTAGE[1]:
                    cas[0].start()
                await clock.advance(DAY)
            group.cancel_scope.cancel()
        for ca in cas:
            assert not [record for record in ca.requests if record.problem == "rateLimited"]
            assert all(order.status == "valid" for order in ca.orders)
        assert cas[0].requests.count("newOrder") > 5 * NAMES
    check_margins(store, clock.now())
    check_spread(store)


CAS = ("first", "second")


def make_ca(folder: Path, clock: FakeClock) -> AcmeCA:
    folder.mkdir()
    settings = Settings(
        validate=False,
        limits=RateLimits(),
        lifetimes={request_for(n).names[0]: lifetime_of(n) for n in range(NAMES)},
        keep_requests=1_000_000,
        # With ARI it is the CA that spreads the renewals; here it is us.
        renewal_info=False,
    )
    return AcmeCA(settings, clock=clock.clock, directory=folder, seed=5)


def check_margins(store: MemoryStore, end: datetime) -> None:
    """No name was ever within 1/6 of its expiry."""
    current: dict[str, StoredCertificate] = {}
    worst = 1.0
    for stored in store.saved:
        before = current.get(stored.id)
        if before is not None:
            worst = min(worst, (before.not_after - stored.saved_at) / before.lifetime)
        current[stored.id] = stored
    assert len(current) == NAMES
    for stored in current.values():
        worst = min(worst, (stored.not_after - end) / stored.lifetime)
    assert worst >= 1 / 6


# How evenly, and how that is told.
#
# A name's chances are drawn apart from all others, so the renewals of a day are a sum of
# independent trials. Such a sum is spread less than a Poisson variable of the same mean
# (Hoeffding 1956), so a day with more than the 1 - 10⁻⁵ quantile of that is no accident. The
# means follow from the dates of the first issuances and the rule of ``renewal`` alone: what is
# issued in an hour is issued anew in the hours between the first and the last moment of the rule,
# in equal parts. So the bound fits any number of names; that the means themselves are even is
# asserted first.

HOURS = 365 * 24
BY_ACCIDENT = 1e-5
AFTER_THE_FIRST_DAY = 2
CATCHING_UP = {OUTAGE[1] - 1, OUTAGE[1], OUTAGE[1] + 1}
"""The days on which what fell due in the outage may be renewed, all of it."""


def check_spread(store: MemoryStore) -> None:
    """What was issued on one day does not come back on one day, nor in one week."""
    expected = expected_by_day(store)
    seen = [0] * 365
    for stored in store.saved:
        seen[(stored.saved_at - START) // DAY] += 1
    assert sum(seen[:AFTER_THE_FIRST_DAY]) >= NAMES

    ordinary = [day for day in range(AFTER_THE_FIRST_DAY, 365) if day not in CATCHING_UP]
    weeks = [ordinary[at : at + 7] for at in range(0, len(ordinary) - 6, 7)]
    means = [sum(expected[day] for day in week) for week in weeks]
    assert max(means) <= 2 * sum(means) / len(means)
    for days in (*([day] for day in range(AFTER_THE_FIRST_DAY, 365)), *weeks):
        count, mean = sum(seen[day] for day in days), sum(expected[day] for day in days)
        assert count <= most(mean), f"{count} on days {days[0]} to {days[-1]}, {mean:.1f} expected"


def expected_by_day(store: MemoryStore) -> list[float]:
    days = [0.0] * 365
    for lifetime in {lifetime_of(number) for number in range(NAMES)}:
        begun = [0.0] * HOURS
        for stored in store.saved:
            if stored.generation == 1 and abs(stored.lifetime - lifetime) < HOUR:
                begun[int((stored.saved_at - START) / HOUR)] += 1
        for hour, amount in enumerate(expected_by_hour(lifetime, begun)):
            days[hour // 24] += amount
    return days


def expected_by_hour(lifetime: timedelta, begun: list[float]) -> list[float]:
    """How many are issued in each hour, with ``begun`` first ones."""
    rise = [0.0] * (2 * HOURS)
    """By how much the renewals of each hour differ from those of the hour before."""
    late_after = lifetime / HOUR / 20
    down = range(OUTAGE[0] * 24, OUTAGE[1] * 24) if lifetime >= 7 * DAY else range(0)
    issued, flow, waiting, late = [], 0.0, 0.0, 0.0
    for hour in range(HOURS):
        flow += rise[hour]
        in_turn, out_of_turn = flow, begun[hour]
        if hour in down:
            waiting += flow
            late += flow if hour < down.stop - late_after else 0.0
            in_turn = 0.0
        elif waiting:
            in_turn, out_of_turn = in_turn + waiting - late, out_of_turn + late
            waiting = late = 0.0
        issued.append(in_turn + out_of_turn)
        for amount, widely in ((in_turn, False), (out_of_turn, True)):
            first, last = (
                hour
                + round(
                    (renewal_time(START, START + lifetime, None, c, out_of_turn=widely).at - START)
                    / HOUR
                )
                for c in (1.0, 0.0)
            )
            rise[first] += amount / (last - first)
            rise[last] -= amount / (last - first)
    return issued


def most(mean: float) -> int:
    """The number that a Poisson variable of this mean exceeds less often than by accident."""
    if mean > 500:
        # The normal approximation, 4.3 standard deviations; and exp(-mean) has no end to it.
        return math.ceil(mean + 4.3 * math.sqrt(mean))
    number, share = 0, math.exp(-mean)
    below = share
    while 1 - below > BY_ACCIDENT:
        number += 1
        share *= mean / number
        below += share
    return number
