"""Reading documents: a value, nothing, or one kind of error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acme_client.documents import read_document
from acme_client.errors import BadCertificate, StoreError
from acme_client.store.files import FileStore


def test_a_value_or_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert read_document(store, "a/b", lambda document: document["n"]) is None
    store.save_document("a/b", {"n": 5})
    assert read_document(store, "a/b", lambda document: document["n"]) == 5


@pytest.mark.parametrize(
    "error", [KeyError("n"), TypeError(), ValueError(), AttributeError(), BadCertificate("x")]
)
def test_a_document_that_makes_no_sense_is_named(tmp_path: Path, error: Exception) -> None:
    store = FileStore(tmp_path)
    store.save_document("a/b", {})

    def parse(document: dict[str, Any]) -> None:
        raise error

    with pytest.raises(StoreError, match="the document a/b in the store is damaged"):
        read_document(store, "a/b", parse)
