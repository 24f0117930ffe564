"""What is done with a certificate in care, besides issuing it.

Looking into the store, deciding what is due, asking for the renewal window, and telling others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import anyio.abc

from acme_client.compromised import compromised_keys
from acme_client.errors import IssuerError, said_of
from acme_client.hooks import CertificateEvent, Hook, run_hooks
from acme_client.issuer import Environment, Issuer
from acme_client.plan import Circumstances, Plan, issuing_plan, next_plan
from acme_client.renewal import ASK_AGAIN_SOONEST, alert_time, ask_time
from acme_client.state import CertificateState
from acme_client.tended import Tended
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

NEVER_SAYS_ASK_AGAIN = timedelta(days=7)
"""How soon an issuer without ARI is asked whether it has some now."""


class Care:
    """What the certificates in care share. ``group`` runs the hooks, while there is one."""

    def __init__(
        self,
        *,
        environment: Environment,
        issuers: tuple[Issuer, ...],
        hooks: tuple[Hook, ...],
        on_installed: Callable[[str], None],
        wake_all: Callable[[], None],
    ) -> None:
        self.environment = environment
        self.issuers = issuers
        self.group: anyio.abc.TaskGroup | None = None
        self.wake_all = wake_all
        self._hooks = hooks
        self._on_installed = on_installed
        self._compromised: frozenset[str] = frozenset()

    def now(self) -> datetime:
        return self.environment.clock.now()

    def chance(self) -> float:
        return self.environment.random.random()

    def issuers_of(self, item: Tended) -> tuple[Issuer, ...]:
        if not item.request.issuers:
            return self.issuers
        by_name = {issuer.name: issuer for issuer in self.issuers}
        return tuple(by_name[name] for name in item.request.issuers)

    def issuer_names(self, item: Tended) -> tuple[str, ...]:
        return tuple(issuer.name for issuer in self.issuers_of(item))

    async def reload(self, item: Tended, *, only_look: bool = False) -> None:
        """Look into the store: the first time, and whenever others may have written there."""
        store = self.environment.store
        self._compromised = await on_disk(lambda: compromised_keys(store))
        if await item.load(store, only_look=only_look):
            self.installed(item)

    async def remember(self, item: Tended, state: CertificateState) -> None:
        await item.remember(self.environment.store, state)

    def is_compromised(self, key_fingerprint: str) -> bool:
        """As of the last look into the store."""
        return key_fingerprint in self._compromised

    def next_plan(self, item: Tended) -> Plan:
        """What is due next."""
        return next_plan(
            item.request, item.key_type, item.stored, item.state, self._circumstances(item)
        )

    def issuing_plan(self, item: Tended, *, urgent: bool = False) -> Plan:
        """When the next certificate is due; ``urgent`` ignores a back-off."""
        state = replace(item.state, retry_at=None) if urgent else item.state
        return issuing_plan(
            item.request, item.key_type, item.stored, state, self._circumstances(item)
        )

    async def ask(self, item: Tended) -> None:
        """Ask the issuer of the stored certificate when it would like to renew it (ARI)."""
        assert item.stored is not None
        stored, now = item.stored, self.now()
        state = item.state.about(stored.fingerprint)
        issuer = next(i for i in self.issuers_of(item) if i.directory == stored.directory)
        try:
            info = await issuer.renewal_info(stored, self.environment)
        except IssuerError as error:
            # RFC 9773 §4.3.3: keep what was known, ask again later.
            told = said_of(issuer.name, str(error))
            logger.info("%s: no renewal window: %s", item.id, told)
            await self.remember(item, replace(state, ask_at=ask_time(now, None)))
            return
        if info is None:
            await self.remember(item, replace(state, ask_at=now + NEVER_SAYS_ASK_AGAIN))
            return
        if info.window is not None and info.window != state.window:
            logger.info("%s: %s suggests to renew %s", item.id, issuer.name, info.window)
        ask_at = max(info.ask_at, now + ASK_AGAIN_SOONEST)
        await self.remember(item, replace(state, window=info.window, ask_at=ask_at))

    async def alert_if_due(self, item: Tended) -> None:
        """The same as the plan does, for when a renewal that is due waits in the way of that."""
        stored = item.stored
        if stored is None or item.state.about(stored.fingerprint).alerted:
            return
        if self.now() >= alert_time(stored.not_before, stored.not_after):
            await self.alert(item)

    async def alert(self, item: Tended) -> None:
        """Say that a certificate nears its end."""
        assert item.stored is not None
        message = f"not renewed yet, valid until {item.stored.not_after:%Y-%m-%d %H:%M} UTC"
        if item.state.last_failure is not None:
            message += f"; last failure: {item.state.last_failure.message}"
        state = item.state.about(item.stored.fingerprint)
        await self.remember(item, replace(state, alerted=True))
        await self.tell(item, "expiring", message)

    def installed(self, item: Tended) -> None:
        self._on_installed(item.request.id)

    async def tell(
        self, item: Tended, kind: str, message: str, retry_at: datetime | None = None
    ) -> None:
        """Log what happened, and run the hooks, which nothing waits for while a manager runs."""
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
        if self.group is not None:
            self.group.start_soon(run_hooks, self._hooks, event)
        else:
            await run_hooks(self._hooks, event)

    def _circumstances(self, item: Tended) -> Circumstances:
        return Circumstances(
            directories=[issuer.directory for issuer in self.issuers_of(item)],
            compromised=self._compromised,
            now=self.now(),
        )
