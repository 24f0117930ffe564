"""An order that was placed: kept until its certificate is stored, so that it can be resumed.

A crash, a restart or a CA that takes its time must not cost a second order. What is needed to go
on is the order's URL and the key that its certificate will be for; what is needed to tell whether
it is still wanted is what it was placed for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from acme_client.documents import read_or_set_aside, to_date
from acme_client.issuer import IssuanceTask
from acme_client.keys import certificate_key_from_pem, fingerprint
from acme_client.store.interface import Store

MAX_AGE = timedelta(days=1)
"""A certificate that was ready longer ago has lost part of its life: better a new order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """See the module's docstring."""

    url: str
    account_url: str
    names: tuple[str, ...]
    key_type: str
    profile: str | None
    successor_of: str | None
    """The fingerprint of the certificate it was to replace."""
    key_pem: str = field(repr=False)
    placed_at: datetime

    @property
    def key_fingerprint(self) -> str:
        return fingerprint(certificate_key_from_pem(self.key_pem).public_key())

    def fits(
        self, task: IssuanceTask, account_url: str | None, profile: str | None, now: datetime
    ) -> bool:
        """Whether this order, if it is resumed, brings what the task wants."""
        return (
            self.account_url == account_url
            and set(self.names) == set(task.request.names)
            and self.key_type == task.key_type
            and self.profile == profile
            and self.successor_of == successor_of(task)
            and now - MAX_AGE < self.placed_at <= now + MAX_AGE
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "account_url": self.account_url,
            "names": list(self.names),
            "key_type": self.key_type,
            "profile": self.profile,
            "successor_of": self.successor_of,
            "key_pem": self.key_pem,
            "placed_at": self.placed_at.isoformat(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PlacedOrder:
        placed = cls(
            url=document["url"],
            account_url=document["account_url"],
            names=tuple(document["names"]),
            key_type=document["key_type"],
            profile=document["profile"],
            successor_of=document["successor_of"],
            key_pem=document["key_pem"],
            placed_at=to_date(document["placed_at"]),
        )
        _ = placed.key_fingerprint  # a key that is none must show now, not when it is used
        return placed


def successor_of(task: IssuanceTask) -> str | None:
    return task.replaces.fingerprint if task.replaces else None


def document_name(slug: str, certificate_id: str) -> str:
    return f"orders/{slug}/{certificate_id}"


def load_order(store: Store, slug: str, certificate_id: str) -> PlacedOrder | None:
    return read_or_set_aside(store, document_name(slug, certificate_id), PlacedOrder.from_json)


def save_order(store: Store, slug: str, certificate_id: str, order: PlacedOrder) -> None:
    store.save_document(document_name(slug, certificate_id), order.to_json())


def forget_order(store: Store, slug: str, certificate_id: str) -> None:
    store.delete_document(document_name(slug, certificate_id))
