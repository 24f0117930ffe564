"""The store: certificates, challenge answers, locks and state, shared by all processes.

``open_store`` turns the configuration's ``storage`` value into a :class:`Store`. Whoever adds
another kind of store adds a scheme here.
"""

from __future__ import annotations

from pathlib import Path

from acme_client.errors import RequestError
from acme_client.store.files import FileStore
from acme_client.store.interface import Document, Lock, NewCertificate, Store, StoredCertificate


def open_store(url: str) -> Store:
    """Open the store that ``url`` names: ``file:PATH``. Opening touches nothing yet."""
    scheme, colon, path = url.partition(":")
    if scheme != "file" or not colon or not path:
        raise RequestError(f"storage {url!r}: allowed is file:PATH, such as file:./state")
    # RFC 8089 §2 allows an empty authority: file:///var/lib/vestibule
    return FileStore(Path(path.removeprefix("//")).absolute())


__all__ = [
    "open_store",
    "Store",
    "StoredCertificate",
    "NewCertificate",
    "Lock",
    "Document",
    "FileStore",
]
