"""One certificate in the manager's care: what is asked for, stored and remembered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import anyio

from acme_client.backoff import retry_delay
from acme_client.documents import read_if_sound, read_or_set_aside
from acme_client.issuer import IssuanceTask
from acme_client.request import CertificateRequest
from acme_client.state import CertificateState, document_name
from acme_client.store.interface import Store, StoredCertificate
from acme_client.worker import on_disk


@dataclass(slots=True)
class Tended:
    """See the module's docstring. ``stored`` and ``state`` mirror the store since ``load``."""

    request: CertificateRequest
    key_type: str
    stored: StoredCertificate | None = None
    state: CertificateState = field(default_factory=CertificateState)
    loaded: bool = False
    hold_until: datetime | None = None
    """Nothing before this, for a reason that need not survive a restart."""
    wake: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope | None = None
    """That of the task that tends it."""
    dropped: bool = False
    """Not asked for any more."""

    @property
    def id(self) -> str:
        return self.request.certificate_id(self.key_type)

    @property
    def lifetime(self) -> timedelta | None:
        return self.stored.lifetime if self.stored else None

    def drop(self) -> None:
        """End its care, also before that began."""
        self.dropped = True
        if self.scope is not None:
            self.scope.cancel()

    async def load(self, store: Store, *, only_look: bool = False) -> bool:
        """Look into the store; True when somebody else stored a certificate since the last look.

        A damaged record of attempts is put aside and begun anew, unless this is ``only_look``.
        """

        def read() -> tuple[StoredCertificate | None, CertificateState]:
            state = (read_if_sound if only_look else read_or_set_aside)(
                store, document_name(self.id), CertificateState.from_json
            )
            return store.load_certificate(self.id), state or CertificateState()

        before, first = self.stored, not self.loaded
        self.stored, self.state = await on_disk(read)
        self.loaded = self.loaded or not only_look
        return not first and self.stored is not None and self.stored != before

    async def remember(self, store: Store, state: CertificateState) -> None:
        self.state = state
        await on_disk(lambda: store.save_document(document_name(self.id), state.to_json()))

    def task(self) -> IssuanceTask:
        """What an issuer is asked for now."""
        same_names = self.stored and set(self.stored.names) == set(self.request.names)
        last = self.state.last_failure
        return IssuanceTask(
            request=self.request,
            key_type=self.key_type,
            replaces=self.stored if same_names else None,
            rehearse=last is not None and last.kind == "validation",
        )


def after_interruption(
    state: CertificateState, lifetime: timedelta | None, chance: float
) -> CertificateState:
    """The state after an attempt that was begun and neither succeeded nor failed (pure).

    Somebody who held the lock died in mid-attempt. See ``state`` for what that means.
    """
    started = state.attempt_started
    assert started is not None
    times = state.interruptions + 1
    state = replace(state, attempt_started=None, interruptions=times)
    if times == 1:
        return state
    retry_at = started + retry_delay(times - 1, lifetime, chance)
    return replace(state, retry_at=max(retry_at, state.retry_at or retry_at))
