"""The store in a folder."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client import disk
from acme_client.errors import BadCertificate, LockHeld, LockLost, StoreError, UnsafeKeyFile
from acme_client.store.files import FileStore
from acme_client.store.interface import NewCertificate, StoredCertificate
from tests.acme_client.faulty_disk import (
    MOMENTS,
    count_calls,
    fail_with,
    faults,
    run_and_kill,
)
from tests.acme_client.support import DAY, MINUTE, START, FakeClock, make_new

NAMES = ("example.com", "www.example.com")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "state", lambda: START)


def save(store: FileStore, number: int = 0) -> StoredCertificate:
    return store.save_certificate("example.com", make_new(NAMES, number=number))


def generations(store: FileStore) -> list[str]:
    return sorted(os.listdir(store.root / "certificates" / "example.com"))


# Certificates.


def test_opening_touches_nothing(store: FileStore) -> None:
    assert store.load_certificate("example.com") is None
    assert store.certificate_ids() == []
    assert store.document_names("accounts") == []
    assert store.get_challenge("http-01", "x") is None
    assert not store.root.exists()


def test_what_is_saved_is_loaded(store: FileStore) -> None:
    new = make_new(NAMES, directory="https://ca.example/dir", profile="short")
    saved = store.save_certificate("example.com", new)
    loaded = store.load_certificate("example.com")
    assert loaded == saved
    assert (loaded.chain_pem, loaded.key_pem) == (new.chain_pem, new.key_pem)
    assert loaded.names == NAMES
    assert (loaded.not_before, loaded.lifetime) == (START, 90 * DAY)
    assert (loaded.directory, loaded.profile) == ("https://ca.example/dir", "short")
    assert (loaded.generation, loaded.saved_at, loaded.key_type) == (1, START, "p256")
    assert loaded.location == store.root / "certificates" / "example.com" / "00000001"
    assert store.certificate_ids() == ["example.com"]


def test_a_key_is_in_no_repr(store: FileStore) -> None:
    new = make_new(NAMES)
    assert "PRIVATE" not in repr(new)
    assert "PRIVATE" not in repr(store.save_certificate("example.com", new))


def test_everything_is_private(store: FileStore) -> None:
    save(store)
    store.put_challenge("http-01", "token", "answer", START + DAY)
    store.save_document("accounts/one", {"key": "secret"})
    store.lock("a").release()
    for folder, _, names in os.walk(store.root):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for name in names:
            assert stat.S_IMODE(os.stat(Path(folder, name)).st_mode) == 0o600


def test_the_newest_of_three_generations_counts(store: FileStore) -> None:
    for number in range(5):
        assert save(store, number).generation == number + 1
    assert generations(store) == ["00000003", "00000004", "00000005"]
    loaded = store.load_certificate("example.com")
    assert loaded is not None
    assert loaded.generation == 5


def test_a_pair_that_does_not_match_is_not_saved(store: FileStore) -> None:
    good = make_new(NAMES)
    bad = NewCertificate(
        chain_pem=good.chain_pem, key_pem=make_new(NAMES, number=1).key_pem, directory="x"
    )
    with pytest.raises(BadCertificate):
        store.save_certificate("example.com", bad)
    assert store.load_certificate("example.com") is None


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "certificate.json"])
@pytest.mark.parametrize("damage", ["remove", "empty", "other", "directory"])
def test_a_damaged_generation_falls_back_to_the_one_before(
    store: FileStore, name: str, damage: str
) -> None:
    old, new = save(store, 0), save(store, 1)
    assert new.location is not None
    path = new.location / name
    path.unlink()
    if damage == "empty":
        disk.write_new(path, b"")
    if damage == "other":
        other = store.save_certificate("other", make_new(["other.example"], number=2))
        assert other.location is not None
        content = (other.location / name).read_bytes()
        disk.write_new(path, content if name != "certificate.json" else b"[]")
    if damage == "directory":
        path.mkdir()
    assert store.load_certificate("example.com") == old


def test_an_unreadable_disk_is_an_error_and_not_an_absence(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store)
    monkeypatch.setattr(disk, "read", lambda path: fail_with(errno.EIO)())
    with pytest.raises(StoreError, match="cannot be read"):
        store.load_certificate("example.com")


def test_a_key_that_everybody_may_read_is_refused(store: FileStore) -> None:
    saved = save(store)
    assert saved.location is not None
    (saved.location / "key.pem").chmod(0o644)
    with pytest.raises(UnsafeKeyFile, match="can be read by everybody"):
        store.load_certificate("example.com")


def test_saving_needs_the_lock_that_it_is_given(store: FileStore) -> None:
    with store.lock("example.com") as lock:
        store.save_certificate("example.com", make_new(NAMES), lock)
        (store.root / "locks" / "example.com.lock").unlink()
        with pytest.raises(LockLost):
            store.save_certificate("example.com", make_new(NAMES, number=1), lock)
    assert generations(store) == ["00000001"]


def test_deleting(store: FileStore) -> None:
    save(store)
    store.delete_certificate("example.com")
    assert store.load_certificate("example.com") is None
    assert store.certificate_ids() == []
    store.delete_certificate("never.example")


def test_deleting_a_key_spares_the_newest_generation(store: FileStore) -> None:
    first, second, third = save(store, 0), save(store, 1), save(store, 0)
    store.delete_key("example.com", first.key_fingerprint)
    assert generations(store) == ["00000002", "00000003"]
    store.delete_key("example.com", second.key_fingerprint)
    assert generations(store) == ["00000003"]
    assert store.load_certificate("example.com") == third


# Crashes: the promise of the store.

NEW = make_new(NAMES, number=3)
LATER = make_new(NAMES, number=4)


class Prepared:
    """Copies of one store that holds some generations."""

    def __init__(self, folder: Path, earlier: int) -> None:
        self._folder = folder
        self._copies = 0
        template = self._open("template")
        template.root.mkdir()
        for number in range(earlier):
            save(template, number)
        self._template = template.root

    def copy(self) -> FileStore:
        self._copies += 1
        store = self._open(f"copy{self._copies}")
        shutil.copytree(self._template, store.root)
        return store

    def _open(self, name: str) -> FileStore:
        return FileStore(self._folder / name, lambda: START)


def loads_old_or_new(store: FileStore, old: StoredCertificate | None) -> bool:
    """Check that a matching pair loads, and tell whether it is the new one."""
    found = store.load_certificate("example.com")
    if found is None or (old is not None and found.fingerprint == old.fingerprint):
        assert (found is None) == (old is None)
        return False
    assert (found.chain_pem, found.key_pem) == (NEW.chain_pem, NEW.key_pem)
    return True


def save_new(store: FileStore) -> StoredCertificate:
    return store.save_certificate("example.com", NEW)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("earlier", [0, 3])
def test_killed_at_every_call_an_old_or_new_pair_loads(
    tmp_path: Path, moment: str, earlier: int
) -> None:
    prepared = Prepared(tmp_path, earlier)
    total = count_calls(partial(save_new, prepared.copy()))
    assert total > 15
    outcomes = []
    for at in range(1, total + 1):
        store = prepared.copy()
        old = store.load_certificate("example.com")
        run_and_kill(partial(save_new, store), at, moment)
        outcomes.append(loads_old_or_new(store, old))
        # The next save is not disturbed by what the dead process left behind.
        saved = store.save_certificate("example.com", LATER)
        assert saved == store.load_certificate("example.com")
        FileStore(store.root, lambda: START + 36500 * DAY).clean_up()
        assert not list(store.root.rglob("*.tmp"))
    assert outcomes == sorted(outcomes), "once the new pair was there, it stayed"
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize(
    ("moment", "number"),
    [("before", errno.ENOSPC), ("half", errno.ENOSPC), ("before", errno.EIO), ("after", errno.EIO)],
)
def test_a_failing_disk_at_every_call(tmp_path: Path, moment: str, number: int) -> None:
    prepared = Prepared(tmp_path, 3)
    for at in range(1, count_calls(partial(save_new, prepared.copy())) + 1):
        store = prepared.copy()
        old = store.load_certificate("example.com")
        saved = True
        with faults(at, moment, fail_with(number)):
            try:
                save_new(store)
            except StoreError:
                saved = False
        assert loads_old_or_new(store, old) or not saved
        later = store.save_certificate("example.com", LATER)
        assert later == store.load_certificate("example.com")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("earlier", [None, {"n": 1}])
def test_killed_at_every_call_an_old_or_new_document_loads(
    tmp_path: Path, moment: str, earlier: dict[str, int] | None
) -> None:
    def prepare(name: str) -> FileStore:
        store = FileStore(tmp_path / name)
        if earlier is not None:
            store.save_document("orders/ca/example", earlier)
        return store

    def work(store: FileStore) -> None:
        store.save_document("orders/ca/example", {"n": 2})

    for at in range(1, count_calls(partial(work, prepare("count"))) + 1):
        store = prepare(str(at))
        run_and_kill(partial(work, store), at, moment)
        assert store.load_document("orders/ca/example") in (earlier, {"n": 2})
        work(store)
        assert store.load_document("orders/ca/example") == {"n": 2}


# Challenge answers.


def test_answers_live_until_their_date(tmp_path: Path) -> None:
    clock = FakeClock()
    store = FileStore(tmp_path, clock.now)
    store.put_challenge("http-01", "token", "answer", START + MINUTE)
    assert store.get_challenge("http-01", "token") == "answer"
    assert store.get_challenge("tls-alpn-01", "token") is None
    assert store.get_challenge("http-01", "toke") is None
    clock.clock.advance(MINUTE)
    assert store.get_challenge("http-01", "token") is None
    assert len(os.listdir(tmp_path / "challenges")) == 1
    store.clean_up()
    assert os.listdir(tmp_path / "challenges") == []


@pytest.mark.parametrize("change", [{"expires": None}, {"expires": "x"}, {"value": ...}])
def test_an_answer_that_makes_no_sense_is_an_error_of_the_store(
    store: FileStore, change: dict[str, Any]
) -> None:
    store.put_challenge("http-01", "token", "answer", START + DAY)
    path = store._challenge_path("http-01", "token")
    answer = {**json.loads(path.read_bytes()), **change}
    path.write_text(json.dumps({key: value for key, value in answer.items() if value is not ...}))
    with pytest.raises(StoreError, match=r"is damaged \(no http-01 answer"):
        store.get_challenge("http-01", "token")


def test_answers_are_replaced_and_deleted(store: FileStore) -> None:
    for value in ("one", "two"):
        store.put_challenge("http-01", "token", value, START + DAY)
    assert store.get_challenge("http-01", "token") == "two"
    store.delete_challenge("http-01", "token")
    store.delete_challenge("http-01", "token")
    assert store.get_challenge("http-01", "token") is None


@given(st.text(max_size=300))
def test_a_token_is_never_a_path(token: str) -> None:
    store = FileStore(Path("/nonexistent"))
    path = store._challenge_path("http-01", token)
    assert path.parent == Path("/nonexistent/challenges")
    assert len(path.name) == 69


# Documents.


def test_documents(store: FileStore) -> None:
    store.save_document("accounts/one", {"a": [1, "é"]})
    store.save_document("orders/ca/_.example.com+rsa2048", {})
    assert store.load_document("accounts/one") == {"a": [1, "é"]}
    assert store.document_names("accounts") == ["accounts/one"]
    assert store.load_document("accounts/two") is None
    store.delete_document("accounts/one")
    store.delete_document("accounts/one")
    assert store.document_names("accounts") == []


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/b\n", "-x"])
def test_names_stay_inside(store: FileStore, name: str) -> None:
    with pytest.raises(StoreError, match="no name for something"):
        store.load_document(name)
    with pytest.raises(StoreError, match="no name for something"):
        store.lock(name.replace("/", "../"))
    with pytest.raises(StoreError, match="no name for something"):
        store.load_certificate("../" + name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_document_is_an_error_that_names_it(store: FileStore, content: bytes) -> None:
    store.save_document("accounts/one", {})
    path = store.root / "documents" / "accounts" / "one.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)):
        store.load_document("accounts/one")


# The rest.


def test_locks_by_name(store: FileStore) -> None:
    with store.lock("a"), store.lock("b"):
        with pytest.raises(LockHeld):
            store.lock("a")


def test_the_write_test_passes_and_leaves_nothing(store: FileStore) -> None:
    store.check_writable()
    assert os.listdir(store.root) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_the_write_test_fails(store: FileStore, number: int) -> None:
    store.check_writable()
    with faults(1, "before", fail_with(number)), pytest.raises(StoreError, match="cannot be writ"):
        store.check_writable()


def test_a_file_system_without_modes_is_refused(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.write_new

    def ignores_modes(path: Path, data: bytes, mode: int = 0) -> None:
        real(path, data)
        path.chmod(0o777)

    monkeypatch.setattr(disk, "write_new", ignores_modes)
    with pytest.raises(StoreError, match="ignores file modes"):
        store.check_writable()


def test_publishing(store: FileStore) -> None:
    store.publish("ca.pem", "one")
    path = store.publish("ca.pem", "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_cleaning_up_spares_what_is_fresh(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.save_document("accounts/one", {})
    fresh = tmp_path / "documents" / "accounts" / ".two.json.0123.tmp"
    old = tmp_path / "documents" / "accounts" / ".three.json.0123.tmp"
    for path in (fresh, old):
        path.write_text("{")
    os.utime(old, (0, 0))
    store.clean_up()
    assert fresh.exists()
    assert not old.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"expires": "soon"}'])
def test_cleaning_up_removes_answers_that_nobody_can_read(tmp_path: Path, content: bytes) -> None:
    store = FileStore(tmp_path)
    store.put_challenge("http-01", "token", "answer", datetime.now(UTC) + timedelta(hours=1))
    damaged = tmp_path / "challenges" / "0.json"
    damaged.write_bytes(content)
    store.clean_up()
    assert not damaged.exists()
    assert store.get_challenge("http-01", "token") == "answer"


def test_an_old_generation_that_cannot_be_removed_is_no_failure(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        save(store, number)
    monkeypatch.setattr(disk, "remove_tree", lambda path: fail_with(errno.EBUSY)())
    assert save(store, 3).generation == 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_is_kept_is_json(store: FileStore) -> None:
    saved = save(store)
    assert saved.location is not None
    details = json.loads((saved.location / "certificate.json").read_text())
    assert details["saved_at"] == START.isoformat()
    assert repr(store) == f"<FileStore {store.root}>"
    assert timedelta(0) < saved.lifetime
