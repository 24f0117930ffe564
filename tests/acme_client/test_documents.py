"""Reading documents: a value, nothing, or one kind of error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acme_client.documents import (
    read_document,
    read_if_sound,
    read_or_set_aside,
    to_date,
)
from acme_client.errors import BadCertificate, DamagedDocument
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

    with pytest.raises(DamagedDocument, match=r"documents/a/b\.json is damaged \(.+\): restore it"):
        read_document(store, "a/b", parse)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b"{}", b'{"n": null}'])
def test_what_is_damaged_is_put_aside_and_begun_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path)
    store.save_document("a/b", {"n": 5})
    path = tmp_path / "documents" / "a" / "b.json"
    path.write_bytes(content)

    def parse(document: dict[str, Any]) -> int:
        return int(document["n"])

    assert read_if_sound(store, "a/b", parse) is None
    assert path.read_bytes() == content
    assert read_or_set_aside(store, "a/b", parse) is None
    assert f"{path} is damaged" in caplog.text
    assert f"it is put aside as {path}.damaged and begun anew" in caplog.text
    assert (tmp_path / "documents" / "a" / "b.json.damaged").read_bytes() == content
    assert (store.load_document("a/b"), store.document_names("a")) == (None, [])
    assert store.set_document_aside("a/b") == f"{path}.damaged"  # nothing is left to be moved
    assert read_or_set_aside(store, "a/b", parse) is None


def test_a_date_without_a_zone_could_not_be_compared() -> None:
    assert to_date("2026-01-01T00:00:00+00:00").year == 2026
    with pytest.raises(ValueError, match="has no time zone"):
        to_date("2026-01-01T00:00:00")
