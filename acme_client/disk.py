"""Every operation of the file store on the disk, one system call each.

The store promises that after a crash at any point a matching old or new pair loads. A promise
like that is kept by few and small operations in one place, which a test can break one by one: it
replaces the functions of ``PRIMITIVES`` by ones that fail or kill the process at the n-th call.

What the rest of the module builds from them:

- a new file is created with ``O_EXCL`` and ``O_NOFOLLOW``, so that no link planted under its name
  is ever followed or overwritten; it is private (0600) from its first moment,
- a file is replaced by writing a new one beside it, fsync, rename, fsync of the folder: readers
  see the old or the new content, whole, also after a power cut,
- a private key that others may read is refused; one its group may read gets a warning, because
  some mounts (Kubernetes' fsGroup) hand keys out that way.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
from pathlib import Path

from acme_client.errors import StoreError, UnsafeKeyFile

logger = logging.getLogger(__name__)

PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644
PRIVATE_DIRECTORY = 0o700

MAX_FILE_BYTES = 1024 * 1024
"""No file of the store is near this; what is larger is not ours."""

PRIMITIVES = ("mkdir", "open_new", "write", "fsync", "rename", "unlink", "rmdir")

MAX_WARNED = 1000
_warned: set[Path] = set()
"""Keys that were warned of, to say it once for each; with so many it has been said enough."""


def mkdir(path: Path) -> None:
    os.mkdir(path, PRIVATE_DIRECTORY)


def open_new(path: Path, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def write(fd: int, data: bytes | memoryview) -> int:
    return os.write(fd, data)


def fsync(fd: int) -> None:
    os.fsync(fd)


def rename(source: Path, target: Path) -> None:
    os.rename(source, target)


def unlink(path: Path) -> None:
    os.unlink(path)


def rmdir(path: Path) -> None:
    os.rmdir(path)


def make_directory(path: Path) -> None:
    """Make a private folder and those above it, each made durable in its parent."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        mkdir(path)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(fd)
    except OSError as error:
        # Some network and FUSE file systems cannot fsync a folder and say so.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def write_new(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Create a file and make its content durable; its name becomes so with its folder."""
    fd = open_new(path, mode)
    try:
        if mode != PRIVATE_FILE:
            os.fchmod(fd, mode)  # the umask must not decide who reads a public file
        rest = memoryview(data)
        while rest:
            rest = rest[write(fd, rest) :]
        fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Give a file new content, all or nothing."""
    temporary = temporary_name(path)
    try:
        write_new(temporary, data, mode)
        rename(temporary, path)
    except OSError:
        remove(temporary)
        raise
    sync_directory(path.parent)


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no reader looks at and nobody can guess."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")


def is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    try:
        unlink(path)
    except FileNotFoundError:
        return


def remove_tree(path: Path) -> None:
    """Remove a folder of plain files, as far as it is there."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    for name in names:
        remove(path / name)
    rmdir(path)


def read(path: Path) -> bytes:
    """Read a plain file whole; links are not followed."""
    return _read(path)[0]


def read_key(path: Path) -> bytes:
    """Read a private key, if nobody else can."""
    data, mode = _read(path)
    if fault := key_file_fault(mode):
        raise UnsafeKeyFile(f"{path} {fault}: change it with chmod 600, or replace the key")
    if mode & stat.S_IRGRP and path not in _warned and len(_warned) < MAX_WARNED:
        _warned.add(path)
        logger.warning("%s can be read by its group; chmod 600 makes it private", path)
    return data


def key_file_fault(mode: int) -> str | None:
    """Why a key file of this mode is refused, or None."""
    if mode & stat.S_IROTH:
        return "can be read by everybody"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by others than its owner"
    return None


def _read(path: Path) -> tuple[bytes, int]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise StoreError(f"{path} is no plain file")
        data = b""
        while chunk := os.read(fd, MAX_FILE_BYTES):
            data += chunk
            if len(data) > MAX_FILE_BYTES:
                raise StoreError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    finally:
        os.close(fd)
    return data, mode
