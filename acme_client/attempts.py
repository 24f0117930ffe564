"""Attempts to have a certificate issued, and what becomes of them.

An attempt is, in order:

1. take the certificate's lock, and look into the store again: another process may have been faster,
2. test that the disk can be written, and write down that an attempt begins,
3. go through the issuers until one delivers (``failover``),
4. check the pair, try it out, store it as a new generation, note the success,
5. tell the server (``on_installed``), then the hooks.

Whatever fails is written down with the date of the next try.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from acme_client.backoff import STEPS, clamp_retry_after, retry_delay
from acme_client.care import Care
from acme_client.checks import check_pair
from acme_client.errors import BadCertificate
from acme_client.failover import AttemptFailed, Miss, Outcome, issue_from_first
from acme_client.issuer import IssuanceTask
from acme_client.outage import Outages
from acme_client.renewal import is_hurried, is_out_of_turn
from acme_client.state import CertificateState, failure_of
from acme_client.store.interface import Lock, NewCertificate, StoredCertificate
from acme_client.tended import Tended, after_interruption
from acme_client.trial import try_certificate
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)


class Attempts:
    """See the module's docstring."""

    def __init__(self, care: Care) -> None:
        self._care = care
        self._outages = Outages()

    def hold(self, item: Tended) -> datetime | None:
        """Until when its issuers count as out of reach; None lets the attempt go."""
        care = self._care
        return self._outages.hold(care.issuer_names(item), care.now(), care.chance())

    def in_outage(self, item: Tended) -> bool:
        """Whether its issuers were out of reach at the last try."""
        return self._outages.is_known(self._care.issuer_names(item))

    async def attempt(self, item: Tended, *, urgent: bool = False, force: bool = False) -> None:
        """Issue if that is (still) due, if ``urgent`` also during a back-off, by ``force`` anyway.

        Raises AttemptFailed after noting the failure; LockHeld and StoreError before.
        """
        care, store = self._care, self._care.environment.store
        with await on_disk(lambda: store.lock(item.id)) as lock:
            await care.reload(item)
            if item.state.attempt_started is not None:
                await self._note_interruption(item)
            if not force and care.issuing_plan(item, urgent=urgent).at > care.now():
                return
            await on_disk(store.check_writable)
            task, issuers = item.task(), care.issuers_of(item)
            await care.remember(item, replace(item.state, attempt_started=care.now()))
            try:
                outcome = await issue_from_first(issuers, task, care.environment)
                stored = await self._install(item, task, outcome, lock)
            except AttemptFailed as failed:
                await self._note_failure(item, failed)
                raise
        self._end_outage(item)
        await care.tell(
            item,
            "issued" if task.replaces is None else "renewed",
            f"from {outcome.issuer.name}, valid until {stored.not_after:%Y-%m-%d %H:%M} UTC",
        )

    async def _install(
        self, item: Tended, task: IssuanceTask, outcome: Outcome, lock: Lock
    ) -> StoredCertificate:
        care, store = self._care, self._care.environment.store
        new, issuer, now = outcome.certificate, outcome.issuer, care.now()
        try:
            await on_disk(lambda: _verify(new, task.request.names, now))
        except BadCertificate as error:
            # To resume the order would bring the same certificate again.
            await issuer.settle(task, care.environment)
            raise AttemptFailed([Miss(issuer.name, error)]) from error
        before = item.stored
        stored = await on_disk(lambda: store.save_certificate(item.id, new, lock))
        item.stored = stored
        if before is not None and care.is_compromised(before.key_fingerprint):
            # Older generations are there to fall back on; this one must never be.
            await on_disk(lambda: store.delete_key(item.id, before.key_fingerprint))
        old = task.replaces
        dates = None if old is None else (old.not_before, old.not_after)
        state = CertificateState(
            fingerprint=stored.fingerprint,
            hurried=dates is not None and is_hurried(*dates, now),
            out_of_turn=dates is None or is_out_of_turn(*dates, now),
        )
        await care.remember(item, state)
        await issuer.settle(task, care.environment)
        care.installed(item)
        return stored

    async def _note_failure(self, item: Tended, failed: AttemptFailed) -> None:
        care, now, chief = self._care, self._care.now(), failed.chief
        state = replace(
            item.state,
            attempt_started=None,
            interruptions=0,
            last_failure=failure_of(chief.error, chief.issuer, now),
        )
        if failed.outage:
            self._note_outage(item, failed)
            await care.remember(item, state)
            return
        self._end_outage(item)
        retry_at = now
        if failed.counts:
            state = replace(state, failures=state.failures + 1)
            steps = min(state.failures, len(STEPS)) if failed.resumable else state.failures
            retry_at += retry_delay(steps, item.lifetime, care.chance())
        if failed.retry_at is not None:
            retry_at = max(retry_at, clamp_retry_after(failed.retry_at, now))
        await care.remember(item, replace(state, retry_at=retry_at))
        await care.tell(
            item, "failed", f"{failed}; next try {retry_at:%Y-%m-%d %H:%M:%S} UTC", retry_at
        )

    def _note_outage(self, item: Tended, failed: AttemptFailed) -> None:
        care = self._care
        outage = self._outages.begin(care.issuer_names(item), care.now(), care.chance())
        item.hold_until = outage.until
        if outage.is_news():
            logger.warning("%s; next try %s UTC", failed, f"{outage.until:%H:%M:%S}")

    def _end_outage(self, item: Tended) -> None:
        names = self._care.issuer_names(item)
        if self._outages.end(names):
            logger.info("%s can be reached again", ", ".join(names))
            self._care.wake_all()

    async def _note_interruption(self, item: Tended) -> None:
        state = after_interruption(item.state, item.lifetime, self._care.chance())
        if state.interruptions > 1 and state.retry_at is not None:
            logger.warning(
                "%s: %d attempts in a row were cut off; next try %s UTC",
                item.id,
                state.interruptions,
                f"{state.retry_at:%Y-%m-%d %H:%M:%S}",
            )
        await self._care.remember(item, state)


def _verify(new: NewCertificate, names: tuple[str, ...], now: datetime) -> None:
    check_pair(new.chain_pem, new.key_pem, names=names, exact=True, now=now)
    try_certificate(new.chain_pem, new.key_pem)
