"""How a command tells a running manager what it changed."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from acme_client import CertificateManager, CertificateRequest, InternalIssuer, open_store
from acme_client.store import FileStore
from proxy.changes import follow_changes, note_change
from tests.acme_client.support import START

pytestmark = pytest.mark.anyio


class Manager(CertificateManager):
    """One that tells what it looks at again."""

    def __init__(self, store: FileStore) -> None:
        requests = [CertificateRequest(names=("a.example",))]
        super().__init__(requests=requests, issuers=[InternalIssuer()], store=store)
        self.looked_at: list[str] = []
        self.looked = anyio.Event()

    async def refresh(self, certificate_id: str) -> None:
        await super().refresh(certificate_id)
        self.looked_at.append(certificate_id)
        self.looked.set()


async def test_notes_are_read_and_removed(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path}")
    assert isinstance(store, FileStore)
    manager = Manager(store)
    unknown = anyio.Event()

    async def look_again() -> None:
        unknown.set()

    note_change(store, "a.example", START)
    note_change(store, "b.example", START)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: follow_changes(manager, store, look_again, every=0.01))
        await manager.looked.wait()
        await unknown.wait()
        manager.looked = anyio.Event()
        note_change(store, "a.example", START)
        await manager.looked.wait()
        group.cancel_scope.cancel()
    assert manager.looked_at == ["a.example", "a.example"]
    assert not store.document_names("changes")


async def test_a_store_that_fails_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(f"file:{tmp_path}")
    assert isinstance(store, FileStore)
    manager = Manager(store)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "changes").mkdir()
    (tmp_path / "documents" / "changes" / "a.example.json").mkdir()

    async def nothing() -> None: ...

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: follow_changes(manager, store, nothing, every=0.01))
        while "notes of commands" not in caplog.text:  # noqa: ASYNC110 - a log sets no event
            await anyio.sleep(0.01)
        (tmp_path / "documents" / "changes" / "a.example.json").rmdir()
        note_change(store, "a.example", START)
        await manager.looked.wait()
        group.cancel_scope.cancel()
