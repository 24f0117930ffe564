"""Keys that somebody else may know: remembered for good, never used again."""

from __future__ import annotations

from datetime import datetime

from acme_client.store.interface import Store

FOLDER = "compromised-keys"


def mark_compromised(store: Store, key_fingerprint: str, at: datetime, why: str) -> None:
    store.save_document(f"{FOLDER}/{key_fingerprint}", {"at": at.isoformat(), "why": why})


def compromised_keys(store: Store) -> frozenset[str]:
    return frozenset(name.split("/")[1] for name in store.document_names(FOLDER))
