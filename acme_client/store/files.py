"""The store in a folder.

::

    state/
      certificates/example.com/00000007/   one generation: chain.pem key.pem certificate.json
      challenges/5b1f….json                one answer, under a hash: a token is never a path
      documents/accounts/….json            state of the manager; ….json.damaged: put aside
      locks/example.com.lock
      internal-ca.pem                      what is published

A new generation is written into a temporary folder, file by file with fsync, and appears by one
rename. Readers take the highest number whose chain and key match, so that any crash leaves the old
or the new pair. Three generations are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from acme_client import disk
from acme_client.checks import check_pair
from acme_client.errors import BadCertificate, DamagedDocument, StoreError, UnsafeKeyFile
from acme_client.store.interface import Document, Lock, NewCertificate, StoredCertificate
from acme_client.store.locks import FileLock

logger = logging.getLogger(__name__)

KEPT_GENERATIONS = 3

LEFTOVER_SECONDS = 3600.0
"""A temporary file this old belongs to no running write."""

DAMAGED = ".damaged"

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,240}\Z")


class FileStore:
    """See :class:`acme_client.store.interface.Store`."""

    def __init__(self, root: Path, now: Callable[[], datetime] | None = None) -> None:
        self.root = root
        self._now = now or (lambda: datetime.now(UTC))
        self._saving = threading.Lock()

    def __repr__(self) -> str:
        return f"<FileStore {self.root}>"

    # Certificates.

    def load_certificate(self, certificate_id: str) -> StoredCertificate | None:
        folder = self._certificate_folder(certificate_id)
        unreadable: OSError | None = None
        for generation in reversed(_generations(folder)):
            try:
                return _load_generation(certificate_id, folder, generation)
            except FileNotFoundError:
                # Pruned since the folder was listed, or half there after a restored backup.
                continue
            except OSError as error:
                unreadable = error
                logger.warning("%s cannot be read: %s", folder / _number(generation), error)
            except UnsafeKeyFile:
                raise
            except (BadCertificate, StoreError) as error:
                logger.warning("%s is of no use: %s", folder / _number(generation), error)
        if unreadable is not None:
            raise StoreError(
                f"certificate {certificate_id} cannot be read: {unreadable}"
            ) from unreadable
        return None

    def save_certificate(
        self, certificate_id: str, certificate: NewCertificate, lock: Lock | None = None
    ) -> StoredCertificate:
        check_pair(certificate.chain_pem, certificate.key_pem)
        folder = self._certificate_folder(certificate_id)
        details = {
            "directory": certificate.directory,
            "profile": certificate.profile,
            "saved_at": self._now().isoformat(),
        }
        with self._saving, _translated(f"certificate {certificate_id} cannot be saved"):
            disk.make_directory(folder)
            temporary = disk.temporary_name(folder / "generation")
            try:
                disk.mkdir(temporary)
                disk.write_new(temporary / "key.pem", certificate.key_pem.encode())
                disk.write_new(temporary / "chain.pem", certificate.chain_pem.encode())
                disk.write_new(temporary / "certificate.json", _to_json(details))
                disk.sync_directory(temporary)
                if lock is not None:
                    lock.verify()
                generation = max(_generations(folder), default=0) + 1
                disk.rename(temporary, folder / _number(generation))
            except (OSError, StoreError):
                _discard(temporary)
                raise
            disk.sync_directory(folder)
            stored = _load_generation(certificate_id, folder, generation)
        self._prune(folder)
        return stored

    def certificate_ids(self) -> list[str]:
        with _translated("the certificates cannot be listed"):
            return sorted(
                path.name
                for path in _children(self.root / "certificates")
                if _ID.match(path.name) and _generations(path)
            )

    def delete_certificate(self, certificate_id: str) -> None:
        folder = self._certificate_folder(certificate_id)
        with self._saving, _translated(f"certificate {certificate_id} cannot be deleted"):
            for generation in _generations(folder):
                _remove_generation(folder, generation)

    def delete_key(self, certificate_id: str, key_fingerprint: str) -> None:
        folder = self._certificate_folder(certificate_id)
        with self._saving, _translated(f"the key of {certificate_id} cannot be deleted"):
            for generation in _generations(folder)[:-1]:
                try:
                    found = _load_generation(certificate_id, folder, generation)
                except (FileNotFoundError, BadCertificate):
                    continue
                if found.key_fingerprint == key_fingerprint:
                    _remove_generation(folder, generation)

    def _prune(self, folder: Path) -> None:
        # The new pair is safe by now: an old one that cannot be removed is no failure.
        try:
            for generation in _generations(folder)[:-KEPT_GENERATIONS]:
                _remove_generation(folder, generation)
        except OSError as error:
            logger.warning("old generations in %s cannot be removed: %s", folder, error)

    def _certificate_folder(self, certificate_id: str) -> Path:
        _check_name(certificate_id)
        return self.root / "certificates" / certificate_id

    # Challenge answers.

    def put_challenge(self, kind: str, key: str, value: str, expires: datetime) -> None:
        path = self._challenge_path(kind, key)
        answer = {"kind": kind, "key": key, "value": value, "expires": expires.isoformat()}
        with _translated(f"the {kind} answer cannot be stored"):
            disk.make_directory(path.parent)
            disk.replace(path, _to_json(answer))

    def get_challenge(self, kind: str, key: str) -> str | None:
        path = self._challenge_path(kind, key)
        with _translated(f"the {kind} answer cannot be read"):
            answer = _read_json(path)
        if answer is None or (answer.get("kind"), answer.get("key")) != (kind, key):
            return None
        try:
            expired = datetime.fromisoformat(answer["expires"]) <= self._now()
            return None if expired else str(answer["value"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedDocument(str(path), f"no {kind} answer: {error!r}") from error

    def delete_challenge(self, kind: str, key: str) -> None:
        with _translated(f"the {kind} answer cannot be removed"):
            disk.remove(self._challenge_path(kind, key))

    def _challenge_path(self, kind: str, key: str) -> Path:
        digest = hashlib.sha256(f"{kind}\0{key}".encode()).hexdigest()
        return self.root / "challenges" / f"{digest}.json"

    # Documents.

    def load_document(self, name: str) -> Document | None:
        with _translated(f"the document {name} cannot be read"):
            return _read_json(self._document_path(name))

    def save_document(self, name: str, document: Document) -> None:
        path = self._document_path(name)
        with _translated(f"the document {name} cannot be saved"):
            disk.make_directory(path.parent)
            disk.replace(path, _to_json(document))

    def delete_document(self, name: str) -> None:
        path = self._document_path(name)
        with _translated(f"the document {name} cannot be deleted"):
            disk.remove(path)

    def document_names(self, folder: str) -> Sequence[str]:
        _check_name(folder)
        with _translated(f"the documents in {folder} cannot be listed"):
            return sorted(
                f"{folder}/{path.stem}"
                for path in _children(self.root / "documents" / folder)
                if path.suffix == ".json"
            )

    def document_place(self, name: str) -> str:
        return str(self._document_path(name))

    def set_document_aside(self, name: str) -> str:
        path = self._document_path(name)
        aside = path.with_name(f"{path.name}{DAMAGED}")
        with _translated(f"the document {name} cannot be put aside"):
            try:
                disk.rename(path, aside)
            except FileNotFoundError:
                pass  # another process has just done it
            else:
                disk.sync_directory(path.parent)
        return str(aside)

    def _document_path(self, name: str) -> Path:
        *folders, last = name.split("/")
        for part in (*folders, last):
            _check_name(part)
        return self.root.joinpath("documents", *folders, f"{last}.json")

    # The rest.

    def lock(self, name: str) -> FileLock:
        _check_name(name)
        with _translated(f"the lock {name} cannot be taken"):
            disk.make_directory(self.root / "locks")
            return FileLock.take(name, self.root / "locks" / f"{name}.lock")

    def check_writable(self) -> None:
        with _translated(f"{self.root} cannot be written"):
            disk.make_directory(self.root)
            probe = disk.temporary_name(self.root / "write-test")
            try:
                # As much as a generation takes, so that a full disk shows before an order.
                disk.write_new(probe, bytes(64 * 1024))
                mode = stat.S_IMODE(probe.stat().st_mode)
            finally:
                disk.remove(probe)
        if fault := disk.key_file_fault(mode):
            raise StoreError(
                f"the file system of {self.root} ignores file modes: a private key there {fault}"
            )

    def publish(self, name: str, text: str) -> Path:
        _check_name(name)
        path = self.root / name
        with _translated(f"{path} cannot be written"):
            disk.make_directory(self.root)
            disk.replace(path, text.encode(), disk.PUBLIC_FILE)
        return path

    def clean_up(self) -> None:
        with _translated("leftovers cannot be removed"):
            for folder in (self.root / "certificates", self.root / "documents"):
                for path in _children(folder):
                    if path.is_dir():
                        self._remove_leftovers(path)
            for folder in (self.root, self.root / "documents", self.root / "challenges"):
                self._remove_leftovers(folder)
            for path in _children(self.root / "challenges"):
                if self._is_of_no_use(path):
                    disk.remove(path)

    def _is_of_no_use(self, answer: Path) -> bool:
        """Whether a challenge answer has expired, or can be read by nobody."""
        try:
            document = _read_json(answer)
            return (
                document is not None and datetime.fromisoformat(document["expires"]) <= self._now()
            )
        except (DamagedDocument, KeyError, TypeError, ValueError):
            return True

    def _remove_leftovers(self, folder: Path) -> None:
        for path in _children(folder):
            if not disk.is_temporary(path):
                continue
            try:
                age = self._now().timestamp() - path.lstat().st_mtime
            except FileNotFoundError:
                continue
            if age > LEFTOVER_SECONDS:
                _discard(path)


def _load_generation(certificate_id: str, folder: Path, generation: int) -> StoredCertificate:
    place = folder / _number(generation)
    key_pem = disk.read_key(place / "key.pem").decode("ascii", "replace")
    chain_pem = disk.read(place / "chain.pem").decode("ascii", "replace")
    try:
        details = json.loads(disk.read(place / "certificate.json"))
        directory, profile = details["directory"], details["profile"]
        saved_at = datetime.fromisoformat(details["saved_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadCertificate(f"certificate.json cannot be read: {error!r}") from error
    return StoredCertificate.made_of(
        check_pair(chain_pem, key_pem),
        id=certificate_id,
        generation=generation,
        chain_pem=chain_pem,
        key_pem=key_pem,
        directory=directory,
        profile=profile,
        saved_at=saved_at,
        location=place,
    )


def _generations(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in _children(folder) if path.name.isdecimal())


def _number(generation: int) -> str:
    return f"{generation:08}"


def _remove_generation(folder: Path, generation: int) -> None:
    # Renamed first: a reader never meets a generation that is half removed.
    place = folder / _number(generation)
    temporary = disk.temporary_name(place)
    disk.rename(place, temporary)
    disk.remove_tree(temporary)


def _discard(path: Path) -> None:
    """Remove what failed to be written; what is left of it is a leftover for ``clean_up``."""
    try:
        if path.is_dir():
            disk.remove_tree(path)
        else:
            disk.remove(path)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error)


def _children(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _check_name(name: str) -> None:
    if not _ID.match(name):
        raise StoreError(f"{name!r} is no name for something in the store")


def _to_json(document: Document) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _read_json(path: Path) -> Document | None:
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return None
    try:
        document = json.loads(data)
    except ValueError as error:
        raise DamagedDocument(str(path), f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DamagedDocument(str(path), "no JSON object")
    return document


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error}") from error
