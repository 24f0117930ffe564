"""The certificate manager: keeps every requested certificate fresh.

One task tends one certificate: it asks ``plan`` what is due and when, waits for that date, does
it, and starts over. The tasks share a number of slots, so that a thousand names do not become a
thousand orders at once, and nothing else: what goes wrong with one certificate stays with it.

The manager itself ends only when it is cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import anyio

from acme_client.attempts import Attempts
from acme_client.care import Care
from acme_client.clock import Clock, SystemClock
from acme_client.errors import LockHeld, RequestError, StoreError
from acme_client.failover import AttemptFailed
from acme_client.hooks import Hook
from acme_client.issuer import Environment, Issuer
from acme_client.plan import Action, Plan
from acme_client.request import CertificateRequest
from acme_client.revocation import revoke_and_replace
from acme_client.state import CertificateState
from acme_client.store.interface import Store, StoredCertificate
from acme_client.tended import Tended
from acme_client.waiting import in_turn
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

CONCURRENCY = 8
"""Orders at a time."""

LOCK_WAIT = timedelta(seconds=5)
"""How soon to look again at a certificate that another process works on."""
LOCK_TRIES = 60
STORE_WAIT = timedelta(minutes=1)
"""How soon to try a store again that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateStatus:
    """What the manager knows about a certificate, for people."""

    certificate_id: str
    request: CertificateRequest
    key_type: str
    stored: StoredCertificate | None
    state: CertificateState
    plan: Plan
    """When the next one is ordered, and by which rule."""


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
        self._store = store
        self._clock = clock or SystemClock()
        self._care = Care(
            environment=Environment(store, self._clock, random or Random()),
            issuers=tuple(issuers),
            hooks=tuple(hooks),
            on_installed=on_installed,
            wake_all=self._wake_all,
        )
        self._attempts = Attempts(self._care)
        self._slots = anyio.Semaphore(concurrency)
        self._tended = self._take_into_care(requests)

    async def run(self) -> None:
        """Tend all certificates until cancelled."""
        try:
            await on_disk(self._store.clean_up)
        except StoreError as error:
            logger.warning("%s", error)
        async with anyio.create_task_group() as group:
            self._care.group = group
            try:
                for item in self._tended.values():
                    group.start_soon(self._tend, item)
                await anyio.sleep_forever()
            finally:
                self._care.group = None

    def replace_requests(self, requests: Iterable[CertificateRequest]) -> None:
        """Take over a new configuration: what is gone is tended no more, what is new is begun."""
        wanted = self._take_into_care(requests)
        for certificate_id in self._tended.keys() - wanted.keys():
            self._tended.pop(certificate_id).drop()
        for certificate_id, item in wanted.items():
            known = self._tended.setdefault(certificate_id, item)
            known.request, known.key_type = item.request, item.key_type
            if known is not item:
                known.wake.set()
            elif self._care.group is not None:
                self._care.group.start_soon(self._tend, item)

    def add_request(self, request: CertificateRequest) -> None:
        """Take one more into care; one that is there already stays as it is."""
        for certificate_id, item in self._take_into_care([request]).items():
            if self._tended.setdefault(certificate_id, item) is item and self._care.group:
                self._care.group.start_soon(self._tend, item)

    def remove_request(self, request: CertificateRequest) -> None:
        """Tend its certificates no more."""
        for certificate_id in request.certificate_ids:
            if (item := self._tended.pop(certificate_id, None)) is not None:
                item.drop()

    async def refresh(self, certificate_id: str) -> None:
        """Look into the store again: another process says that something changed there."""
        item = self._find(certificate_id)
        await self._care.reload(item)
        item.wake.set()

    async def obtain(self, certificate_id: str, *, force: bool = False) -> StoredCertificate:
        """See to it now that this certificate is there and fresh; ``force`` orders a new one.

        Raises what went wrong. Works also while another process runs a manager on the same store.
        """
        item = self._find(certificate_id)

        async def attempt() -> None:
            async with self._slots:
                await self._attempts.attempt(item, urgent=True, force=force)

        await in_turn(
            attempt,
            self._clock,
            every=LOCK_WAIT.total_seconds(),
            tries=LOCK_TRIES,
            too_long=LockHeld(f"another process has been at work on {item.id} for too long"),
        )
        item.wake.set()
        assert item.stored is not None  # it is there, or the attempt raised
        return item.stored

    async def revoke(self, certificate_id: str, reason: str = "unspecified") -> None:
        """Replace this certificate, then revoke it; see ``revocation``."""
        item = self._find(certificate_id)
        await self._care.reload(item)
        await revoke_and_replace(
            item.id,
            item.stored,
            reason,
            issuers=self._care.issuers_of(item),
            environment=self._care.environment,
            replace=lambda: self.obtain(item.id, force=True),
        )

    async def look(self) -> list[CertificateStatus]:
        """``status`` after a look into the store, for when no manager runs in this process."""
        for item in self._tended.values():
            await self._care.reload(item, only_look=True)
        return self.status()

    def status(self) -> list[CertificateStatus]:
        """What is known and planned, certificate by certificate."""
        return list(map(self._status, self._tended.values()))

    def status_of(self, request: CertificateRequest) -> list[CertificateStatus]:
        """The same for one request's certificates."""
        items = map(self._tended.get, request.certificate_ids)
        return [self._status(item) for item in items if item is not None]

    def _status(self, item: Tended) -> CertificateStatus:
        return CertificateStatus(
            certificate_id=item.id,
            request=item.request,
            key_type=item.key_type,
            stored=item.stored,
            state=item.state,
            plan=self._care.issuing_plan(item),
        )

    async def _tend(self, item: Tended) -> None:
        with anyio.CancelScope() as item.scope:
            while not item.dropped:
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
        if item.hold_until is not None:
            await self._clock.wait_until(item.hold_until, item.wake)
            item.hold_until = None
            if self._attempts.in_outage(item):
                # The next probe is due at once, and would be before all else for as long as
                # nobody is reached.
                await self._care.alert_if_due(item)
        if not item.loaded:
            await self._care.reload(item)
        plan = self._care.next_plan(item)
        if plan.at > self._clock.now():
            await self._clock.wait_until(plan.at, item.wake)
            return
        async with self._slots:
            match plan.action:
                case Action.ISSUE | Action.RENEW:
                    # Another certificate may have found these issuers out of reach.
                    item.hold_until = self._attempts.hold(item)
                    if item.hold_until is None:
                        await self._attempts.attempt(item)
                case Action.ASK:
                    await self._care.ask(item)
                case Action.ALERT:
                    await self._care.alert(item)

    def _wake_all(self) -> None:
        for item in self._tended.values():
            item.wake.set()

    def _take_into_care(self, requests: Iterable[CertificateRequest]) -> dict[str, Tended]:
        known = {issuer.name for issuer in self._care.issuers}
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

    def _find(self, certificate_id: str) -> Tended:
        try:
            return self._tended[certificate_id]
        except KeyError:
            raise RequestError(
                f"no certificate {certificate_id!r}; there are {', '.join(sorted(self._tended))}"
            ) from None
