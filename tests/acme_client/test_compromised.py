"""Compromised keys are remembered."""

from __future__ import annotations

from pathlib import Path

from acme_client.compromised import compromised_keys, mark_compromised
from acme_client.store.files import FileStore
from tests.acme_client.support import START


def test_marked_keys_stay_marked(tmp_path: Path) -> None:
    assert compromised_keys(FileStore(tmp_path)) == frozenset()
    mark_compromised(FileStore(tmp_path), "ab12", START, "leaked")
    mark_compromised(FileStore(tmp_path), "cd34", START, "leaked")
    assert compromised_keys(FileStore(tmp_path)) == {"ab12", "cd34"}
