"""A store in memory: for simulations that would wear out a disk. One process, no crashes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from acme_client.checks import check_pair
from acme_client.errors import LockHeld, StoreError
from acme_client.store.interface import Document, Lock, NewCertificate, StoredCertificate


class MemoryLock(Lock):
    """See :class:`acme_client.store.interface.Lock`."""

    def __init__(self, name: str, held: set[str]) -> None:
        if name in held:
            raise LockHeld(name)
        held.add(name)
        self.name = name
        self.token = 1
        self._held = held

    def verify(self) -> None:
        assert self.name in self._held

    def release(self) -> None:
        self._held.discard(self.name)


class MemoryStore:
    """See :class:`acme_client.store.interface.Store`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._certificates: dict[str, StoredCertificate] = {}
        self._challenges: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._documents: dict[str, Document] = {}
        self._held: set[str] = set()
        self.saved: list[StoredCertificate] = []
        self.by_fingerprint: dict[str, StoredCertificate] = {}

    def load_certificate(self, certificate_id: str) -> StoredCertificate | None:
        return self._certificates.get(certificate_id)

    def save_certificate(
        self, certificate_id: str, certificate: NewCertificate, lock: Lock | None = None
    ) -> StoredCertificate:
        before = self._certificates.get(certificate_id)
        stored = StoredCertificate.made_of(
            check_pair(certificate.chain_pem, certificate.key_pem),
            id=certificate_id,
            generation=before.generation + 1 if before else 1,
            chain_pem=certificate.chain_pem,
            key_pem=certificate.key_pem,
            directory=certificate.directory,
            profile=certificate.profile,
            saved_at=self._now(),
            location=None,
        )
        self._certificates[certificate_id] = stored
        self.saved.append(stored)
        self.by_fingerprint[stored.fingerprint] = stored
        return stored

    def certificate_ids(self) -> list[str]:
        return sorted(self._certificates)

    def delete_certificate(self, certificate_id: str) -> None:
        self._certificates.pop(certificate_id, None)

    def delete_key(self, certificate_id: str, key_fingerprint: str) -> None:
        """There are no older generations."""

    def put_challenge(self, kind: str, key: str, value: str, expires: datetime) -> None:
        self._challenges[kind, key] = (value, expires)

    def get_challenge(self, kind: str, key: str) -> str | None:
        value, expires = self._challenges.get((kind, key), ("", self._now()))
        return value if expires > self._now() else None

    def delete_challenge(self, kind: str, key: str) -> None:
        self._challenges.pop((kind, key), None)

    def load_document(self, name: str) -> Document | None:
        return copy.deepcopy(self._documents.get(name))

    def save_document(self, name: str, document: Document) -> None:
        self._documents[name] = copy.deepcopy(document)

    def delete_document(self, name: str) -> None:
        self._documents.pop(name, None)

    def document_names(self, folder: str) -> Sequence[str]:
        return [name for name in self._documents if name.rpartition("/")[0] == folder]

    def document_place(self, name: str) -> str:
        return name

    def set_document_aside(self, name: str) -> str:
        self._documents.pop(name, None)
        return name

    def lock(self, name: str) -> MemoryLock:
        return MemoryLock(name, self._held)

    def check_writable(self) -> None:
        """Memory always can."""

    def publish(self, name: str, text: str) -> Path:
        raise StoreError(f"{name} cannot be published: there are no files")

    def clean_up(self) -> None:
        """Nothing is left behind."""
