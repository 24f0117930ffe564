"""The disk: private, whole or not at all, no links."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from acme_client import disk
from acme_client.errors import StoreError, UnsafeKeyFile
from tests.acme_client.faulty_disk import fail_with, faults


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """Privacy must not depend on a careful umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_private_and_made_with_those_above(tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == 0o700
    disk.make_directory(tmp_path / "a" / "b")


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="a"):
        disk.make_directory(tmp_path / "a")


def test_new_files_are_private(tmp_path: Path) -> None:
    disk.write_new(tmp_path / "key", b"secret")
    assert mode_of(tmp_path / "key") == 0o600
    assert (tmp_path / "key").read_bytes() == b"secret"


def test_public_files_are_public_whatever_the_umask(tmp_path: Path) -> None:
    os.umask(0o077)
    disk.replace(tmp_path / "ca.pem", b"public", disk.PUBLIC_FILE)
    assert mode_of(tmp_path / "ca.pem") == 0o644


def test_nothing_existing_is_overwritten_and_no_link_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(FileExistsError):
        disk.write_new(tmp_path / "link", b"secret")
    assert not target.exists()


def test_replacing_a_link_replaces_the_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (tmp_path / "link").symlink_to(target)
    disk.replace(tmp_path / "link", b"new")
    assert target.read_text() == "untouched"
    assert (tmp_path / "link").read_bytes() == b"new"


def test_reading_follows_no_link_and_takes_no_device(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="link"):
        disk.read(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="no plain file"):
        disk.read(tmp_path / "pipe")


def test_reading_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(disk.MAX_FILE_BYTES + 1))
    with pytest.raises(StoreError, match="larger than"):
        disk.read(tmp_path / "big")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602, 0o666, 0o777])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    path.write_text("secret")
    path.chmod(mode)
    with pytest.raises(UnsafeKeyFile, match="chmod 600"):
        disk.read_key(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_key_is_read_without_a_word(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key.pem"
    path.write_text("secret")
    path.chmod(mode)
    assert disk.read_key(path) == b"secret"
    assert not caplog.records


def test_a_key_its_group_may_read_gets_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "key.pem"
    path.write_text("secret")
    path.chmod(0o640)
    for _ in range(2):
        assert disk.read_key(path) == b"secret"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_replacement_that_fails_leaves_the_old_content_and_no_litter(
    tmp_path: Path, number: int
) -> None:
    path = tmp_path / "document"
    disk.replace(path, b"old")
    for at in range(1, 4):  # open, write, fsync
        with faults(at, "before", fail_with(number)), pytest.raises(OSError, match="Errno"):
            disk.replace(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["document"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "write", lambda fd, data: os.write(fd, data[:3]))
    disk.write_new(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_system_that_cannot_sync_folders_is_accepted(tmp_path: Path) -> None:
    with faults(1, "before", fail_with(errno.EINVAL)):
        disk.sync_directory(tmp_path)
    with faults(1, "before", fail_with(errno.EIO)), pytest.raises(OSError, match="Errno 5"):
        disk.sync_directory(tmp_path)


def test_removing_what_is_not_there(tmp_path: Path) -> None:
    disk.remove(tmp_path / "nothing")
    disk.remove_tree(tmp_path / "nothing")
