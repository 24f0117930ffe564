"""Opening a store by its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_client.errors import RequestError
from acme_client.store import FileStore, open_store


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("file:/var/lib/vestibule", Path("/var/lib/vestibule")),
        ("file:///var/lib/vestibule", Path("/var/lib/vestibule")),
        ("file:./state", Path.cwd() / "state"),
        ("file:state", Path.cwd() / "state"),
    ],
)
def test_files(url: str, root: Path) -> None:
    store = open_store(url)
    assert isinstance(store, FileStore)
    assert store.root == root


@pytest.mark.parametrize("url", ["", "state", "file:", "files:x", "redis://localhost"])
def test_anything_else_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(RequestError, match="allowed is file:PATH"):
        open_store(url)
