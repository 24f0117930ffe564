"""What every issuer of certificates can do, ACME or not.

An issuer is configuration with behaviour: it keeps nothing that must survive in itself, but in the
store of the :class:`Environment` that every call is given. So the same issuer object serves a
manager that runs for months and a command that runs once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Protocol

from acme_client.clock import Clock
from acme_client.renewal import RenewalWindow
from acme_client.request import CertificateRequest
from acme_client.store.interface import NewCertificate, Store, StoredCertificate


@dataclass(frozen=True, slots=True)
class Environment:
    """What an issuer works with."""

    store: Store
    clock: Clock
    random: Random


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceTask:
    """One certificate to be had now. The caller holds its lock."""

    request: CertificateRequest
    key_type: str
    replaces: StoredCertificate | None = None
    """The certificate that is renewed, when it is for the same names."""
    rehearse: bool = False
    """The last try failed: where the CA has a staging directory, succeed there first."""

    @property
    def certificate_id(self) -> str:
        return self.request.certificate_id(self.key_type)


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """An issuer's word on when to renew, and when to ask again."""

    window: RenewalWindow | None
    ask_at: datetime


class Issuer(Protocol):
    """A source of certificates."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def directory(self) -> str:
        """What its certificates are stored under: the ACME directory's URL, or ``internal``."""

    async def issue(self, task: IssuanceTask, environment: Environment) -> NewCertificate:
        """A chain and key, checked; or IssuerError, StoreError, BadCertificate."""

    async def settle(self, task: IssuanceTask, environment: Environment) -> None:
        """Forget what was kept to resume the task: its certificate is stored."""

    async def renewal_info(
        self, certificate: StoredCertificate, environment: Environment
    ) -> RenewalInfo | None:
        """When it suggests to renew; None from an issuer that never says."""

    async def revoke(
        self, certificate: StoredCertificate, reason: int, environment: Environment
    ) -> None:
        """Revoke (RFC 8555 §7.6), with a reason code of RFC 5280 §5.3.1."""
