"""Reading a document of the store into a value, with one error for every way to be damaged.

What is damaged (by a disk, an editor, a version to come) must not keep a certificate from being
renewed. So documents without which everything can go on are put aside, where a person can look at
them, and begun anew. The keys in the internal CA's cannot be begun anew without those who trust
it: that one is left in its place, and the error says what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from acme_client.errors import BadCertificate, DamagedDocument
from acme_client.store.interface import Document, Store

logger = logging.getLogger(__name__)

T = TypeVar("T")


def read_document(store: Store, name: str, parse: Callable[[Document], T]) -> T | None:
    """The parsed document, None when there is none, DamagedDocument when it makes no sense."""
    document = store.load_document(name)
    if document is None:
        return None
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, BadCertificate) as error:
        raise DamagedDocument(store.document_place(name), _fault(error)) from error


def read_or_set_aside(store: Store, name: str, parse: Callable[[Document], T]) -> T | None:
    """The parsed document, or None when there is none that makes sense: then it is put aside."""
    try:
        return read_document(store, name, parse)
    except DamagedDocument as error:
        aside = store.set_document_aside(name)
        logger.error(
            "%s is damaged (%s): it is put aside as %s and begun anew",
            error.place,
            error.fault,
            aside,
        )
        return None


def read_if_sound(store: Store, name: str, parse: Callable[[Document], T]) -> T | None:
    """The parsed document, or None when there is none that makes sense; nothing is changed."""
    try:
        return read_document(store, name, parse)
    except DamagedDocument:
        return None


def to_date(text: str) -> datetime:
    """A date of a document; ValueError where it could not be compared with any other."""
    date = datetime.fromisoformat(text)
    if date.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return date


def _fault(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error) or type(error).__name__
