"""Locks: exclusive, dropped with the process, and fenced."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from acme_client.errors import LockHeld, LockLost, StoreError
from acme_client.store.locks import FileLock
from tests.acme_client.faulty_disk import fork


def take(folder: Path) -> FileLock:
    return FileLock.take("a", folder / "a.lock")


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with take(tmp_path) as lock:
        lock.verify()
        with pytest.raises(LockHeld, match="'a'"):
            take(tmp_path)
        assert repr(lock) == "<FileLock a held token=1>"
    assert repr(lock) == "<FileLock a released token=1>"
    take(tmp_path).release()


def test_also_between_threads(tmp_path: Path) -> None:
    refused: list[bool] = []

    def other() -> None:
        try:
            take(tmp_path).release()
        except LockHeld:
            refused.append(True)

    with take(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [True]


def test_tokens_grow(tmp_path: Path) -> None:
    tokens = []
    for _ in range(3):
        with take(tmp_path) as lock:
            tokens.append(lock.token)
    assert tokens == [1, 2, 3]


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    child = fork()
    if child == 0:
        lock = take(tmp_path)
        os.write(tell, str(lock.token).encode())
        signal.pause()
    assert os.read(ready, 10) == b"1"
    with pytest.raises(LockHeld):
        take(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with take(tmp_path) as lock:
        assert lock.token == 2
    os.close(ready)
    os.close(tell)


def test_a_lock_whose_file_was_removed_is_lost(tmp_path: Path) -> None:
    with take(tmp_path) as lock:
        (tmp_path / "a.lock").unlink()
        with pytest.raises(LockLost):
            lock.verify()
        with take(tmp_path) as second:  # the world went on
            second.verify()
            with pytest.raises(LockLost):
                lock.verify()


def test_a_released_lock_is_lost(tmp_path: Path) -> None:
    lock = take(tmp_path)
    lock.release()
    lock.release()
    with pytest.raises(LockLost):
        lock.verify()


def test_an_overtaken_token_is_lost(tmp_path: Path) -> None:
    with take(tmp_path) as lock:
        (tmp_path / "a.lock").write_text("00000000000000000007\n")
        with pytest.raises(LockLost):
            lock.verify()


def test_a_file_that_vanishes_between_opening_and_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    calls = 0

    def removed_first(fd: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            (tmp_path / "a.lock").unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with take(tmp_path) as lock:
        lock.verify()
    assert calls == 3


def test_a_file_that_keeps_vanishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda fd, op: (tmp_path / "a.lock").unlink())
    with pytest.raises(StoreError, match="keeps vanishing"):
        take(tmp_path)


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        take(tmp_path)
