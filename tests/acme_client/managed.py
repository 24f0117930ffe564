"""A manager before scripted issuers, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import anyio

from acme_client.hooks import CertificateEvent, Hook
from acme_client.manager import CertificateManager, CertificateStatus
from acme_client.request import CertificateRequest
from acme_client.store.files import FileStore
from tests.acme_client.support import FakeClock, ScriptedIssuer


class Managed:
    """Everything around one manager; another one on the same folder is a restart."""

    def __init__(
        self,
        folder: Path,
        *requests: CertificateRequest,
        clock: FakeClock | None = None,
        issuers: Sequence[ScriptedIssuer] = (),
        concurrency: int = 8,
    ) -> None:
        self.clock = clock or FakeClock()
        self.store = FileStore(folder, self.clock.now)
        self.issuers = list(issuers) or [ScriptedIssuer(self.clock)]
        self.installed: list[str] = []
        self.events: list[CertificateEvent] = []
        self.manager = CertificateManager(
            requests=requests,
            issuers=self.issuers,
            store=self.store,
            clock=self.clock,
            random=Random(3),
            on_installed=self.installed.append,
            hooks=[Hook(run=self._note, events=("issued", "renewed", "failed", "expiring"))],
            concurrency=concurrency,
        )

    @property
    def issuer(self) -> ScriptedIssuer:
        return self.issuers[0]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.manager.run)
            await self.clock.advance(timedelta(0))
            yield
            group.cancel_scope.cancel()

    def status(self, certificate_id: str = "a.example") -> CertificateStatus:
        return next(s for s in self.manager.status() if s.certificate_id == certificate_id)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def _note(self, event: CertificateEvent) -> None:
        self.events.append(event)


def request(*names: str, **options: object) -> CertificateRequest:
    return CertificateRequest(names=names or ("a.example",), **options)  # type: ignore[arg-type]
