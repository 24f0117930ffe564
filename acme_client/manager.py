"""The certificate manager: keeps every requested certificate fresh.

One task tends one certificate: it asks ``plan`` what is due and when, waits for that date, does
it, and starts over. The tasks share a number of slots, so that a thousand names do not become a
thousand orders at once, and nothing else: what goes wrong with one certificate stays with it.

An attempt to issue is, in order:

1. take the certificate's lock, and look into the store again: another process may have been faster,
2. test that the disk can be written, and write down that an attempt begins,
3. go through the issuers until one delivers (``attempt``),
4. check the pair, try it out, store it as a new generation, note the success,
5. tell the server (``on_installed``), then the hooks.

Whatever fails is written down with the date of the next try. The manager itself ends only when it
is cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

import anyio
import anyio.abc

from acme_client.attempt import AttemptFailed, Miss, Outcome, issue_from_first
from acme_client.backoff import clamp_retry_after, retry_delay
from acme_client.checks import check_pair
from acme_client.clock import Clock, SystemClock
from acme_client.compromised import compromised_keys
from acme_client.errors import BadCertificate, IssuerError, LockHeld, RequestError, StoreError
from acme_client.hooks import CertificateEvent, Hook, run_hooks
from acme_client.issuer import Environment, IssuanceTask, Issuer
from acme_client.outage import Outages
from acme_client.plan import Action, Plan, next_plan
from acme_client.renewal import ask_time
from acme_client.request import CertificateRequest
from acme_client.state import CertificateState, failure_of
from acme_client.store.interface import Lock, NewCertificate, Store, StoredCertificate
from acme_client.tended import Tended, after_interruption
from acme_client.trial import try_certificate
from acme_client.worker import on_disk

logger = logging.getLogger("vestibule.acme")

CONCURRENCY = 8
"""Orders at a time."""

LOCK_WAIT = timedelta(seconds=5)
"""How soon to look again at a certificate that another process works on."""
LOCK_TRIES = 60
STORE_WAIT = timedelta(minutes=1)
"""How soon to try a store again that failed."""


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """What the manager knows about a certificate, for people."""

    certificate_id: str
    request: CertificateRequest
    key_type: str
    stored: StoredCertificate | None
    state: CertificateState
    plan: Plan


class CertificateManager:
    """Keeps certificates fresh; see the module's docstring."""

    def __init__(
        self,
        *,
        requests: Iterable[CertificateRequest],
        issuers: Sequence[Issuer],
        store: Store,
        clock: Clock | None = None,
        random: Random | None = None,
        on_installed: Callable[[str], None] = lambda request_id: None,
        hooks: Iterable[Hook] = (),
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._issuers = tuple(issuers)
        self._store = store
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._environment = Environment(self._store, self._clock, self._random)
        self._on_installed = on_installed
        self._hooks = tuple(hooks)
        self._slots = anyio.Semaphore(concurrency)
        self._compromised: frozenset[str] = frozenset()
        self._outages = Outages()
        self._group: anyio.abc.TaskGroup | None = None
        self._tended = self._care_for(requests)

    async def run(self) -> None:
        """Tend all certificates until cancelled."""
        try:
            await on_disk(self._store.clean_up)
        except StoreError as error:
            logger.warning("%s", error)
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                for item in self._tended.values():
                    group.start_soon(self._tend, item)
                await anyio.sleep_forever()
            finally:
                self._group = None

    def replace_requests(self, requests: Iterable[CertificateRequest]) -> None:
        """Take over a new configuration: what is gone is tended no more, what is new is begun."""
        wanted = self._care_for(requests)
        for certificate_id in self._tended.keys() - wanted.keys():
            self._tended.pop(certificate_id).scope.cancel()
        for certificate_id, item in wanted.items():
            known = self._tended.setdefault(certificate_id, item)
            known.request, known.key_type = item.request, item.key_type
            if known is not item:
                known.wake.set()
            elif self._group is not None:
                self._group.start_soon(self._tend, item)

    async def obtain(self, certificate_id: str, *, force: bool = False) -> StoredCertificate:
        """See to it now that this certificate is there and fresh; ``force`` orders a new one.

        Raises what went wrong. Works also while another process runs a manager on the same store.
        """
        item = self._find(certificate_id)
        for _ in range(LOCK_TRIES):
            try:
                async with self._slots:
                    await self._attempt(item, urgent=True, force=force)
            except LockHeld:
                await self._clock.sleep(LOCK_WAIT.total_seconds())
                continue
            item.wake.set()
            assert item.stored is not None  # it is there, or the attempt raised
            return item.stored
        raise LockHeld(f"another process has been at work on {certificate_id} for too long")

    def status(self) -> list[CertificateStatus]:
        """What is known and planned, certificate by certificate."""
        return [
            CertificateStatus(
                item.id, item.request, item.key_type, item.stored, item.state, self._plan(item)
            )
            for item in self._tended.values()
        ]

    # One certificate's life.

    async def _tend(self, item: Tended) -> None:
        with item.scope:
            while True:
                try:
                    await self._step(item)
                except AttemptFailed:
                    continue  # noted, with the date of the next try
                except LockHeld:
                    item.hold_until = self._clock.now() + LOCK_WAIT
                except StoreError as error:
                    logger.error("%s: %s", item.id, error)
                    item.hold_until = self._clock.now() + STORE_WAIT

    async def _step(self, item: Tended) -> None:
        """Wait for what is due next, and do it."""
        item.wake = anyio.Event()
        if not item.loaded:
            await self._reload(item)
        plan = self._plan(item)
        at = max(plan.at, item.hold_until) if item.hold_until else plan.at
        if at > self._clock.now():
            await self._clock.wait_until(at, item.wake)
            return
        item.hold_until = None
        match plan.action:
            case Action.ISSUE | Action.RENEW:
                async with self._slots:
                    # Another certificate may just have found these issuers out of reach.
                    outage = self._outages.until(self._issuers_of(item), self._clock.now())
                    if outage is None:
                        await self._attempt(item)
                    else:
                        item.hold_until = outage
            case Action.ASK:
                async with self._slots:
                    await self._ask(item)
            case Action.ALERT:
                await self._alert(item)

    def _plan(self, item: Tended, state: CertificateState | None = None) -> Plan:
        return next_plan(
            item.request,
            item.key_type,
            item.stored,
            state or item.state,
            directories=[issuer.directory for issuer in self._issuers_of(item)],
            compromised=self._compromised,
            now=self._clock.now(),
        )

    async def _reload(self, item: Tended) -> None:
        """Look into the store: the first time, and whenever others may have written there."""
        self._compromised = await on_disk(lambda: compromised_keys(self._store))
        if await item.load(self._store):
            self._on_installed(item.request.id)

    # Issuing.

    async def _attempt(self, item: Tended, *, urgent: bool = False, force: bool = False) -> None:
        """Issue if that is (still) due, if ``urgent`` also during a back-off, by ``force`` anyway.

        Raises AttemptFailed after noting the failure; LockHeld and StoreError before.
        """
        with await on_disk(lambda: self._store.lock(item.id)) as lock:
            await self._reload(item)
            if item.state.attempt_started is not None:
                await self._note_interruption(item)
            if not force and not self._is_due(item, urgent):
                return
            await on_disk(self._store.check_writable)
            task, issuers = item.task(), self._issuers_of(item)
            await item.remember(self._store, replace(item.state, attempt_started=self._clock.now()))
            try:
                outcome = await issue_from_first(issuers, task, self._environment)
                stored = await self._install(item, task, outcome, lock)
            except AttemptFailed as failed:
                await self._note_failure(item, failed)
                raise
        self._outages.over(issuers)
        await self._tell(
            item,
            "issued" if task.replaces is None else "renewed",
            f"from {outcome.issuer.name}, valid until {stored.not_after:%Y-%m-%d %H:%M} UTC",
        )

    def _is_due(self, item: Tended, urgent: bool) -> bool:
        plan = self._plan(item, replace(item.state, retry_at=None) if urgent else item.state)
        return plan.action in (Action.ISSUE, Action.RENEW) and plan.at <= self._clock.now()

    async def _install(
        self, item: Tended, task: IssuanceTask, outcome: Outcome, lock: Lock
    ) -> StoredCertificate:
        new, issuer, now = outcome.certificate, outcome.issuer, self._clock.now()
        try:
            await on_disk(lambda: _verify(new, task.request.names, now))
        except BadCertificate as error:
            # To resume the order would bring the same certificate again.
            await issuer.settle(task, self._environment)
            raise AttemptFailed([Miss(issuer.name, error)]) from error
        stored = await on_disk(lambda: self._store.save_certificate(item.id, new, lock))
        item.stored = stored
        await item.remember(self._store, CertificateState(fingerprint=stored.fingerprint))
        await issuer.settle(task, self._environment)
        self._on_installed(item.request.id)
        return stored

    # Renewal windows and alerts.

    async def _ask(self, item: Tended) -> None:
        """Ask the issuer of the stored certificate when it would like to renew it (ARI)."""
        assert item.stored is not None
        stored, now = item.stored, self._clock.now()
        state = item.state.about(stored.fingerprint)
        issuer = next(i for i in self._issuers_of(item) if i.directory == stored.directory)
        try:
            info = await issuer.renewal_info(stored, self._environment)
        except IssuerError as error:
            # RFC 9773 §4.3.3: keep what was known, ask again later.
            logger.info("%s: no renewal window from %s: %s", item.id, issuer.name, error)
            await item.remember(self._store, replace(state, ask_at=ask_time(now, None)))
            return
        if info is None:
            await item.remember(self._store, replace(state, ask_at=ask_time(now, timedelta.max)))
            return
        if info.window != state.window and info.window is not None:
            logger.info(
                "%s: %s suggests to renew between %s and %s%s",
                item.id,
                issuer.name,
                info.window.start,
                info.window.end,
                f" ({info.window.explanation_url})" if info.window.explanation_url else "",
            )
        await item.remember(self._store, replace(state, window=info.window, ask_at=info.ask_at))

    async def _alert(self, item: Tended) -> None:
        assert item.stored is not None
        message = f"not renewed yet, valid until {item.stored.not_after:%Y-%m-%d %H:%M} UTC"
        if item.state.last_failure is not None:
            message += f"; last failure: {item.state.last_failure.message}"
        state = item.state.about(item.stored.fingerprint)
        await item.remember(self._store, replace(state, alerted=True))
        await self._tell(item, "expiring", message)

    # Notes.

    async def _note_failure(self, item: Tended, failed: AttemptFailed) -> None:
        now, chief = self._clock.now(), failed.chief
        state = replace(
            item.state,
            attempt_started=None,
            interruptions=0,
            last_failure=failure_of(chief.error, chief.issuer, now),
        )
        if failed.outage:
            self._note_outage(item, failed)
            await item.remember(self._store, state)
            return
        self._outages.over(self._issuers_of(item))
        retry_at = now
        if failed.counts:
            state = replace(state, failures=state.failures + 1)
            retry_at += retry_delay(state.failures, item.lifetime, self._random.random())
        if failed.retry_at is not None:
            retry_at = max(retry_at, clamp_retry_after(failed.retry_at, now))
        await item.remember(self._store, replace(state, retry_at=retry_at))
        await self._tell(
            item, "failed", f"{failed}; next try {retry_at:%Y-%m-%d %H:%M:%S} UTC", retry_at
        )

    def _note_outage(self, item: Tended, failed: AttemptFailed) -> None:
        now, issuers = self._clock.now(), self._issuers_of(item)
        news = self._outages.note(issuers, now, self._random.random())
        item.hold_until = self._outages.until(issuers, now)
        if news:
            logger.warning("%s; next try %s UTC", failed, f"{item.hold_until:%H:%M:%S}")

    async def _note_interruption(self, item: Tended) -> None:
        state = after_interruption(item.state, item.lifetime, self._random.random())
        if state.interruptions > 1:
            logger.warning(
                "%s: %d attempts in a row were cut off; the next is at %s",
                item.id,
                state.interruptions,
                state.retry_at,
            )
        await item.remember(self._store, state)

    async def _tell(
        self, item: Tended, kind: str, message: str, retry_at: datetime | None = None
    ) -> None:
        level = logging.INFO if kind in ("issued", "renewed") else logging.WARNING
        logger.log(level, "%s: %s: %s", item.id, kind, message)
        event = CertificateEvent(
            kind=kind,
            certificate_id=item.id,
            names=item.request.names,
            message=message,
            certificate=item.stored,
            retry_at=retry_at,
        )
        if self._group is not None:
            self._group.start_soon(run_hooks, self._hooks, event)
        else:
            await run_hooks(self._hooks, event)

    # Small things.

    def _care_for(self, requests: Iterable[CertificateRequest]) -> dict[str, Tended]:
        known = {issuer.name for issuer in self._issuers}
        items: dict[str, Tended] = {}
        for request in requests:
            for name in request.issuers:
                if name not in known:
                    allowed = ", ".join(sorted(known)) or "none"
                    raise RequestError(f"{request.id}: issuer {name!r}: allowed are {allowed}")
            for key_type in request.key_types:
                item = Tended(request, key_type)
                if items.setdefault(item.id, item) is not item:
                    raise RequestError(
                        f"two certificates are asked for under the first name {request.names[0]}"
                    )
        return items

    def _issuers_of(self, item: Tended) -> tuple[Issuer, ...]:
        if not item.request.issuers:
            return self._issuers
        by_name = {issuer.name: issuer for issuer in self._issuers}
        return tuple(by_name[name] for name in item.request.issuers)

    def _find(self, certificate_id: str) -> Tended:
        try:
            return self._tended[certificate_id]
        except KeyError:
            raise RequestError(
                f"no certificate {certificate_id!r}; there are {', '.join(sorted(self._tended))}"
            ) from None


def _verify(new: NewCertificate, names: tuple[str, ...], now: datetime) -> None:
    check_pair(new.chain_pem, new.key_pem, names=names, exact=True, now=now)
    try_certificate(new.chain_pem, new.key_pem)
