"""Attempts: noted before, noted after, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acme_client.errors import (
    IssuerUnreachable,
    LockHeld,
    OrderStuck,
    StoreError,
    ValidationFailed,
)
from acme_client.failover import AttemptFailed
from acme_client.issuer import IssuanceTask
from acme_client.state import CertificateState, document_name
from acme_client.tended import Tended
from tests.acme_client.managed import Managed, request
from tests.acme_client.support import DAY, MINUTE, START, make_new

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]


class Setting(Managed):
    """One certificate, attempted by hand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, request())
        self.attempts = self.manager._attempts
        self.item: Tended = self.manager._tended["a.example"]

    def kept(self) -> CertificateState:
        document = self.store.load_document(document_name("a.example"))
        assert document is not None
        return CertificateState.from_json(document)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


async def test_the_beginning_is_written_down_before_anything_is_sent(setting: Setting) -> None:
    seen: list[CertificateState] = []

    async def look(task: IssuanceTask) -> None:
        seen.append(setting.kept())

    setting.issuer.before_issue = look
    await setting.attempts.attempt(setting.item)
    assert [state.attempt_started for state in seen] == [START]
    assert setting.kept().attempt_started is None


async def test_a_success_clears_the_record(setting: Setting) -> None:
    setting.issuer.script = lambda task: ValidationFailed("no")
    with pytest.raises(AttemptFailed):
        await setting.attempts.attempt(setting.item)
    assert setting.kept().failures == 1
    setting.issuer.script = None
    await setting.attempts.attempt(setting.item, urgent=True)
    assert setting.item.stored is not None
    assert setting.kept() == CertificateState(
        fingerprint=setting.item.stored.fingerprint, out_of_turn=True
    )


async def test_what_is_not_due_is_not_done(setting: Setting) -> None:
    await setting.attempts.attempt(setting.item)
    await setting.attempts.attempt(setting.item)
    await setting.attempts.attempt(setting.item, urgent=True)
    assert len(setting.issuer.tasks) == 1
    await setting.attempts.attempt(setting.item, force=True)
    assert len(setting.issuer.tasks) == 2


async def test_the_lock_is_taken_and_given_back(setting: Setting) -> None:
    with setting.store.lock("a.example"), pytest.raises(LockHeld):
        await setting.attempts.attempt(setting.item)
    setting.issuer.script = lambda task: ValidationFailed("no")
    with pytest.raises(AttemptFailed):
        await setting.attempts.attempt(setting.item)
    setting.store.lock("a.example").release()


async def test_a_lock_that_was_lost_stores_nothing(setting: Setting) -> None:
    async def steal(task: IssuanceTask) -> None:
        (setting.store.root / "locks" / "a.example.lock").unlink()

    setting.issuer.before_issue = steal
    with pytest.raises(StoreError, match="no longer ours"):
        await setting.attempts.attempt(setting.item)
    assert setting.store.load_certificate("a.example") is None


async def test_a_stuck_order_is_looked_after_every_hundred_minutes(setting: Setting) -> None:
    setting.issuer.script = lambda task: OrderStuck("still processing")
    for _ in range(6):
        with pytest.raises(AttemptFailed):
            await setting.attempts.attempt(setting.item, urgent=True)
    retry_at = setting.kept().retry_at
    assert retry_at is not None
    assert 90 * MINUTE <= retry_at - START <= 110 * MINUTE


async def test_an_outage_holds_without_a_record(setting: Setting) -> None:
    setting.issuer.script = lambda task: IssuerUnreachable("no route", connected=False)
    with pytest.raises(AttemptFailed):
        await setting.attempts.attempt(setting.item)
    assert (setting.kept().failures, setting.kept().retry_at) == (0, None)
    assert setting.item.hold_until is not None
    assert setting.attempts.hold(setting.item) == setting.item.hold_until


async def test_a_renewal_within_a_third_of_the_lifetime_is_a_hurry(setting: Setting) -> None:
    await setting.attempts.attempt(setting.item)
    assert not setting.kept().hurried
    setting.clock.clock.advance(DAY)
    await setting.attempts.attempt(setting.item, force=True)
    assert setting.kept().hurried
    setting.clock.clock.advance(31 * DAY)
    await setting.attempts.attempt(setting.item, force=True)
    assert not setting.kept().hurried


async def test_what_is_issued_first_in_a_hurry_or_late_is_out_of_turn(setting: Setting) -> None:
    seen = []
    for wait in (0, 60, 1, 55, 70):
        setting.clock.clock.advance(wait * DAY)
        await setting.attempts.attempt(setting.item, force=True)
        seen.append(setting.kept().out_of_turn)
    assert seen == [True, False, True, False, True]


async def test_an_attempt_that_was_cut_off_is_noted_by_the_next(setting: Setting) -> None:
    await setting.item.remember(setting.store, CertificateState(attempt_started=START))
    await setting.attempts.attempt(setting.item)
    assert setting.kinds() == ["issued"]
    cut_off = replace(CertificateState(attempt_started=START), interruptions=3)
    setting.store.save_certificate("a.example", make_new(["other.example"]))
    await setting.item.remember(setting.store, cut_off)
    await setting.attempts.attempt(setting.item)
    assert setting.kept().interruptions == 4
    assert len(setting.issuer.tasks) == 1
