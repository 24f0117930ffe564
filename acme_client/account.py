"""Our account at a CA: made once, kept, recovered, renewed (RFC 8555 §7.3).

One document per directory holds the key and the URL, so that the two never part. The key is
written before the CA hears of it: if the process dies while registering, the same key registers
again, which brings the same account (§7.3), and no account is lost.

A roll-over writes the new key beside the old one before it asks the CA. A process that finds two
keys asks the CA which one it knows.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from acme_client.authority import Authority, Credentials, ExternalAccount
from acme_client.documents import read_document, read_or_set_aside
from acme_client.errors import AccountUnknown, RequestError
from acme_client.keys import CertificateKey, certificate_key_from_pem, generate_key, key_to_pem
from acme_client.store.interface import Store

logger = logging.getLogger(__name__)

ACCOUNT_KEY_TYPE = "p256"
"""Every CA takes ES256 (RFC 8555 §6.2 requires it), and it is the cheapest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """What is kept about an account."""

    directory: str
    key_pem: str = field(repr=False)
    url: str | None
    contact: tuple[str, ...]
    next_key_pem: str | None = field(default=None, repr=False)
    """The key of a roll-over that is under way."""

    @property
    def key(self) -> CertificateKey:
        return certificate_key_from_pem(self.key_pem)

    def to_json(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "key_pem": self.key_pem,
            "url": self.url,
            "contact": list(self.contact),
            "next_key_pem": self.next_key_pem,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> AccountRecord:
        record = cls(
            directory=document["directory"],
            key_pem=document["key_pem"],
            url=document["url"],
            contact=tuple(document["contact"]),
            next_key_pem=document["next_key_pem"],
        )
        _ = record.key  # one that is none must show now, not at every order
        return record


def directory_slug(directory_url: str) -> str:
    """A name for a directory in the store: readable, and no two are the same."""
    host = urlsplit(directory_url).hostname or "directory"
    digest = hashlib.sha256(directory_url.encode()).hexdigest()[:8]
    return f"{host.replace(':', '-')}-{digest}"


class AccountKeeper:
    """The account of one directory. Methods block, and are called under the account's lock."""

    def __init__(
        self,
        store: Store,
        authority: Authority,
        *,
        contact: tuple[str, ...],
        external: ExternalAccount | None,
    ) -> None:
        self._store = store
        self._authority = authority
        self._contact = contact
        self._external = external
        self._slug = directory_slug(authority.directory_url)
        self._used: AccountRecord | None = None

    @property
    def lock_name(self) -> str:
        return f"account-{self._slug}"

    def exists(self) -> bool:
        """Whether opening needs no new account."""
        return self._load() is not None

    def url(self) -> str | None:
        """Where the CA keeps it, when there is one; an error when what is kept is damaged."""
        record = self._look()
        return None if record is None else record.url

    def is_open(self) -> bool:
        """Whether what is in use is what is kept: another process may have changed the key."""
        return self._used is not None and self._load() == self._used

    def open(self) -> None:
        """Give the authority an account that the CA knows."""
        record = self._load()
        if record is not None and record.next_key_pem is not None:
            record = self._finish_roll_over(record)
        if record is None or record.url is None:
            record = self._register(record)
        self._use(record)
        if record.contact != self._contact:
            self._authority.update_contact(self._contact)
            record = replace(record, contact=self._contact)
            self._save(record)
            self._use(record)

    def replace_unknown(self, now: datetime) -> None:
        """The CA does not know the account: keep the old one apart and register anew."""
        record = self._load()
        if record is not None:
            archive = f"accounts-archive/{self._slug}.{now:%Y%m%dT%H%M%S}"
            self._store.save_document(archive, record.to_json())
            self._store.delete_document(self._document)
            logger.warning(
                "%s does not know our account %s; it is archived as %s, a new one is registered",
                self._authority.directory_url,
                record.url,
                archive,
            )
        self._authority.credentials = None
        self.open()

    def roll_over(self) -> None:
        """Give the account a new key."""
        record = self._load()
        if record is None or record.url is None:
            raise RequestError(f"there is no account at {self._authority.directory_url} yet")
        self._use(record)
        new_key = generate_key(ACCOUNT_KEY_TYPE)
        record = replace(record, next_key_pem=key_to_pem(new_key))
        self._save(record)
        self._authority.change_key(new_key)
        self._use(self._promote(record))

    def recover(self, key_pem: str) -> None:
        """Take over the account that the CA has for this key (RFC 8555 §7.3.1)."""
        key = certificate_key_from_pem(key_pem)
        account = self._authority.find_account(key)
        record = AccountRecord(
            directory=self._authority.directory_url,
            key_pem=key_to_pem(key),
            url=account.url,
            contact=account.contact,
        )
        self._save(record)
        self.open()

    def deactivate(self) -> None:
        """End the account at the CA and forget it (RFC 8555 §7.3.6)."""
        record = self._load()
        if record is None or record.url is None:
            raise RequestError(f"there is no account at {self._authority.directory_url}")
        self._use(record)
        self._authority.deactivate_account()
        self._store.delete_document(self._document)
        self._authority.credentials = None
        self._used = None

    def _register(self, record: AccountRecord | None) -> AccountRecord:
        if record is None:
            key_pem = key_to_pem(generate_key(ACCOUNT_KEY_TYPE))
            record = AccountRecord(
                directory=self._authority.directory_url,
                key_pem=key_pem,
                url=None,
                contact=self._contact,
            )
            self._save(record)
        account = self._authority.register(record.key, self._contact, self._external)
        record = replace(record, url=account.url, contact=self._contact)
        self._save(record)
        terms = self._authority.directory().terms_of_service
        logger.info(
            "registered the account %s%s", account.url, f", agreeing to {terms}" if terms else ""
        )
        return record

    def _finish_roll_over(self, record: AccountRecord) -> AccountRecord:
        assert record.next_key_pem is not None
        try:
            self._authority.find_account(certificate_key_from_pem(record.next_key_pem))
        except AccountUnknown:
            record = replace(record, next_key_pem=None)
            self._save(record)
            return record
        return self._promote(record)

    def _promote(self, record: AccountRecord) -> AccountRecord:
        assert record.next_key_pem is not None
        record = replace(record, key_pem=record.next_key_pem, next_key_pem=None)
        self._save(record)
        return record

    def _use(self, record: AccountRecord) -> None:
        self._used = record
        self._authority.credentials = Credentials(record.key, record.url)

    @property
    def _document(self) -> str:
        return f"accounts/{self._slug}"

    def _look(self) -> AccountRecord | None:
        """For those who only want to know: they are told, and nothing is changed."""
        return read_document(self._store, self._document, AccountRecord.from_json)

    def _load(self) -> AccountRecord | None:
        return read_or_set_aside(self._store, self._document, AccountRecord.from_json)

    def _save(self, record: AccountRecord) -> None:
        self._store.save_document(self._document, record.to_json())
