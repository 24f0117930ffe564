"""Reading a document of the store into a value, with one error for every way to be damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from acme_client.errors import BadCertificate, StoreError
from acme_client.store.interface import Document, Store

T = TypeVar("T")


def read_document(store: Store, name: str, parse: Callable[[Document], T]) -> T | None:
    """The parsed document, None when there is none, StoreError when it makes no sense."""
    document = store.load_document(name)
    if document is None:
        return None
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, BadCertificate) as error:
        raise StoreError(f"the document {name} in the store is damaged: {error!r}") from error
