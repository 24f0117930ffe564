"""What every store can do, whatever it is made of.

All processes of a machine, and all machines of a fleet, meet here: the certificate manager writes,
workers read certificates and challenge answers. Methods are synchronous and may block; call them
in worker threads. They raise StoreError, and nothing else, when the store fails.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from acme_client.checks import CertificateFacts

Document = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """A certificate about to be stored."""

    chain_pem: str
    key_pem: str = field(repr=False)
    directory: str
    """The issuer it is from: the ACME directory's URL, or ``internal``."""
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCertificate:
    """A certificate as the store holds it: a chain, the key that matches it, and the facts."""

    id: str
    generation: int
    chain_pem: str
    key_pem: str = field(repr=False)
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    issuer: str
    key_type: str
    key_fingerprint: str
    fingerprint: str
    directory: str
    profile: str | None
    saved_at: datetime
    location: Path | None
    """Where its files are, for hooks that need paths; None in a store without files."""

    @classmethod
    def made_of(
        cls,
        facts: CertificateFacts,
        *,
        id: str,
        generation: int,
        chain_pem: str,
        key_pem: str,
        directory: str,
        profile: str | None,
        saved_at: datetime,
        location: Path | None,
    ) -> StoredCertificate:
        """From what the store keeps, and the facts that the chain itself tells."""
        return cls(
            id=id,
            generation=generation,
            chain_pem=chain_pem,
            key_pem=key_pem,
            names=facts.names,
            not_before=facts.not_before,
            not_after=facts.not_after,
            serial=facts.serial,
            issuer=facts.issuer,
            key_type=facts.key_type,
            key_fingerprint=facts.key_fingerprint,
            fingerprint=facts.fingerprint,
            directory=directory,
            profile=profile,
            saved_at=saved_at,
            location=location,
        )

    @property
    def lifetime(self) -> timedelta:
        return self.not_after - self.not_before


class Lock(Protocol):
    """A lock that is held; it ends with ``release`` or with the process, however that dies.

    Those who derive from it have the context manager, which releases it.
    """

    name: str
    token: int
    """Grows with every holder, so that a late write of an earlier one can be told and refused."""

    @abstractmethod
    def verify(self) -> None:
        """Raise LockLost if this is not the latest holder (any more)."""

    @abstractmethod
    def release(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Store(Protocol):
    """Certificates, challenge answers, locks and state documents."""

    # Certificates. An id is of the kind that names.certificate_id makes.

    def load_certificate(self, certificate_id: str) -> StoredCertificate | None:
        """The newest generation whose chain and key match, or None."""

    def save_certificate(
        self, certificate_id: str, certificate: NewCertificate, lock: Lock | None = None
    ) -> StoredCertificate:
        """Store a new generation, all or nothing; with a lock, only while that is ours."""

    def certificate_ids(self) -> list[str]: ...

    def delete_certificate(self, certificate_id: str) -> None:
        """Remove all generations."""

    def delete_key(self, certificate_id: str, key_fingerprint: str) -> None:
        """Remove the generations with this (compromised) key, except the newest generation."""

    # Challenge answers: written by the manager, read by every worker.

    def put_challenge(self, kind: str, key: str, value: str, expires: datetime) -> None: ...

    def get_challenge(self, kind: str, key: str) -> str | None: ...

    def delete_challenge(self, kind: str, key: str) -> None: ...

    # State. Names look like paths: "accounts/3fa9...", "orders/example.com".

    def load_document(self, name: str) -> Document | None:
        """None when there is none; DamagedDocument when it is no JSON object."""

    def save_document(self, name: str, document: Document) -> None:
        """Replace a document, all or nothing."""

    def delete_document(self, name: str) -> None: ...

    def document_names(self, folder: str) -> Sequence[str]: ...

    def document_place(self, name: str) -> str:
        """Where a person finds it."""

    def set_document_aside(self, name: str) -> str:
        """Put a damaged document where it is no longer read; returns where a person finds it."""

    # The rest.

    def lock(self, name: str) -> Lock:
        """Take a lock at once, or raise LockHeld."""

    def check_writable(self) -> None:
        """The write test before an order: a private file can be made and kept."""

    def publish(self, name: str, text: str) -> Path:
        """Write a public file (the local CA's root) where people can find it."""

    def clean_up(self) -> None:
        """Remove what crashes left behind, and expired challenge answers."""
