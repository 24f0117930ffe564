"""The objects of RFC 8555 §7.1 as the CA keeps them, and as JSON.

They know their own state and nothing of the wire: URLs come from the :class:`Urls` handed to
``document``. A test reads them as ``ca.orders``, ``ca.certificates`` and so on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from josepy.jwk import JWK

from acme_client.testing.identifiers import Identifier
from acme_client.testing.problems import Problem


class Status(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    READY = "ready"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where each object lives below the base URL."""

    base: str

    def of(self, kind: str, number: int) -> str:
        return f"{self.base}/{kind}/{number}"


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True, eq=False, repr=False)
class Account:
    id: int
    key: JWK
    thumbprint: str
    created: datetime
    contact: tuple[str, ...] = ()
    agreed: bool = False
    status: Status = Status.VALID
    external_account: dict[str, Any] | None = None
    orders: list[Order] = field(default_factory=list)
    authorizations: dict[tuple[Identifier, bool], Authorization] = field(default_factory=dict)
    """The newest authorization of each identifier, wildcard or not."""

    def __repr__(self) -> str:
        return f"<Account {self.id} {self.status}, {len(self.orders)} orders>"

    def document(self, urls: Urls) -> dict[str, Any]:
        document: dict[str, Any] = {
            "status": self.status,
            "contact": list(self.contact),
            "termsOfServiceAgreed": self.agreed,
            "orders": urls.of("orders", self.id),
        }
        if self.external_account is not None:
            document["externalAccountBinding"] = self.external_account
        return document


@dataclass(slots=True, eq=False, repr=False)
class Challenge:
    id: int
    kind: str
    token: str
    authorization: Authorization
    status: Status = Status.PENDING
    validated: datetime | None = None
    error: Problem | None = None
    issuer_names: tuple[str, ...] = ()
    """dns-persist-01 only: one of these must stand in the record."""

    def __repr__(self) -> str:
        return f"<Challenge {self.id} {self.kind} {self.status}>"

    @property
    def key_authorization(self) -> str:
        """RFC 8555 §8.1."""
        return f"{self.token}.{self.authorization.account.thumbprint}"

    def document(self, urls: Urls) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": self.kind,
            "url": urls.of("challenge", self.id),
            "status": self.status,
        }
        if self.issuer_names:
            document["accounturi"] = urls.of("account", self.authorization.account.id)
            document["issuer-domain-names"] = list(self.issuer_names)
        else:
            document["token"] = self.token
        if self.validated is not None:
            document["validated"] = rfc3339(self.validated)
        if self.error is not None:
            document["error"] = self.error.document()
        return document


@dataclass(slots=True, eq=False, repr=False)
class Authorization:
    id: int
    account: Account
    identifier: Identifier
    wildcard: bool
    expires: datetime
    status: Status = Status.PENDING
    challenges: list[Challenge] = field(default_factory=list)

    def __repr__(self) -> str:
        star = "*." if self.wildcard else ""
        return f"<Authorization {self.id} {star}{self.identifier.value} {self.status}>"

    @property
    def requested(self) -> Identifier:
        """The identifier as the order named it."""
        if not self.wildcard:
            return self.identifier
        return Identifier(self.identifier.type, f"*.{self.identifier.value}")

    def document(self, urls: Urls) -> dict[str, Any]:
        challenges = self.challenges
        if self.status is not Status.PENDING:
            # RFC 8555 §7.1.4: once decided, only the challenges that were tried remain.
            tried = [c for c in challenges if c.status in (Status.VALID, Status.INVALID)]
            challenges = tried or challenges
        document: dict[str, Any] = {
            "identifier": self.identifier.document(),
            "status": self.status,
            "expires": rfc3339(self.expires),
            "challenges": [challenge.document(urls) for challenge in challenges],
        }
        if self.wildcard:
            document["wildcard"] = True
        return document


@dataclass(slots=True, eq=False, repr=False)
class Order:
    id: int
    account: Account
    identifiers: tuple[Identifier, ...]
    authorizations: list[Authorization]
    created: datetime
    expires: datetime
    profile: str | None = None
    replaces: Certificate | None = None
    status: Status = Status.PENDING
    error: Problem | None = None
    csr: x509.CertificateSigningRequest | None = None
    certificate: Certificate | None = None
    stuck_until: datetime | None = None
    """While PROCESSING: when it becomes valid; ``None`` is never."""

    def __repr__(self) -> str:
        return f"<Order {self.id} {self.status} for {', '.join(self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(identifier.value for identifier in self.identifiers)

    def document(self, urls: Urls) -> dict[str, Any]:
        document: dict[str, Any] = {
            "status": self.status,
            "expires": rfc3339(self.expires),
            "identifiers": [identifier.document() for identifier in self.identifiers],
            "authorizations": [urls.of("authorization", a.id) for a in self.authorizations],
            "finalize": urls.of("finalize", self.id),
        }
        if self.profile is not None:
            document["profile"] = self.profile
        if self.replaces is not None:
            document["replaces"] = self.replaces.renewal_id
        if self.error is not None:
            document["error"] = self.error.document()
        if self.certificate is not None and self.status is Status.VALID:
            document["certificate"] = urls.of("certificate", self.certificate.id)
        return document


@dataclass(slots=True, eq=False, repr=False)
class Certificate:
    id: int
    order: Order
    leaf: x509.Certificate
    renewal_id: str
    """RFC 9773 §4.1: how ``replaces`` and renewalInfo name it."""
    chains: tuple[bytes, ...]
    """PEM as downloaded: the default chain, then the alternates."""
    not_before: datetime
    not_after: datetime
    replaced_by: Order | None = None
    revoked: datetime | None = None
    reason: int | None = None
    window: tuple[datetime, datetime] | None = None
    """The renewal window that the test has set; otherwise it follows from the lifetime."""
    explanation: str | None = None

    def __repr__(self) -> str:
        return (
            f"<Certificate {self.id} for {', '.join(self.order.names)}, "
            f"{self.not_before:%Y-%m-%d %H:%M} to {self.not_after:%Y-%m-%d %H:%M}>"
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.order.names

    @property
    def account(self) -> Account:
        return self.order.account
