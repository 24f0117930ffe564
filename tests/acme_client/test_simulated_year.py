"""A year of a thousand certificates.

The in-process CA keeps Let's Encrypt's limits, and so does our ledger. The names have certificates
of 90 days, 45 days and 160 hours. In autumn the CA is down for a week; that is longer than the
shortest certificates live, so these have a second CA.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import anyio
import pytest

from acme_client.acme_issuer import AcmeIssuer
from acme_client.directories import LETS_ENCRYPT
from acme_client.manager import CertificateManager
from acme_client.request import CertificateRequest
from acme_client.store.interface import StoredCertificate
from acme_client.testing import AcmeCA, RateLimits, Settings
from acme_client.testing import Clock as MovableClock
from tests.acme_client.memory_store import MemoryStore
from tests.acme_client.support import DAY, HOUR, START, FakeClock

ENOUGH_FOR_SPREAD = 300
"""With fewer names a day or a week has too few renewals to say anything about their spread."""

NAMES = int(os.environ.get("VESTIBULE_YEAR_NAMES", "60"))
"""A thousand take up to twenty minutes; ``VESTIBULE_YEAR_NAMES=1000`` asks for it."""

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


def check_spread(store: MemoryStore) -> None:
    """What was issued on one day does not come back on one day."""
    days = Counter((stored.saved_at - START) // DAY for stored in store.saved)
    first = days[0] + days[1]
    later = [days[day] for day in range(2, 365)]
    assert first >= NAMES
    if NAMES < ENOUGH_FOR_SPREAD:
        return
    assert max(later) <= NAMES / 4
    weeks = [sum(later[day : day + 7]) for day in range(180, OUTAGE[0] - 7, 7)]
    assert max(weeks) <= 3 * sum(weeks) / len(weeks)
