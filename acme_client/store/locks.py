"""Locks between processes, made of ``flock``.

The kernel drops an ``flock`` when the holder's last descriptor closes, so a lock never outlives a
process that was killed. Two things can still go wrong, and both are looked for:

- between opening the lock file and locking it, somebody removed the file: then the lock is on a
  file that nobody else will ever open. So the path is looked up again after locking.
- somebody cleans the folder while we hold the lock: the next process locks a new file. So every
  holder writes a token one higher than the last, and ``verify`` (called right before a save)
  notices a path that is no longer our file, or a token that is no longer ours.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from acme_client import disk
from acme_client.errors import LockHeld, LockLost, StoreError
from acme_client.store.interface import Lock

ATTEMPTS = 10
"""How often a lock file may vanish under us before that is an error."""


class FileLock(Lock):
    """A held lock; see :class:`acme_client.store.interface.Lock`."""

    def __init__(self, name: str, path: Path, fd: int, token: int) -> None:
        self.name = name
        self.token = token
        self._path = path
        self._fd: int | None = fd

    @classmethod
    def take(cls, name: str, path: Path) -> FileLock:
        """Lock at once, or raise LockHeld."""
        for _ in range(ATTEMPTS):
            fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, disk.PRIVATE_FILE
            )
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same_file(fd, path):
                    return cls(name, path, fd, _next_token(fd))
            except BlockingIOError as error:
                os.close(fd)
                raise LockHeld(f"another process holds the lock {name!r}") from error
            except OSError:
                os.close(fd)
                raise
            os.close(fd)
        raise StoreError(f"the lock file {path} keeps vanishing")

    def verify(self) -> None:
        if (
            self._fd is None
            or not _same_file(self._fd, self._path)
            or _read_token(self._fd) != self.token
        ):
            raise LockLost(f"the lock {self.name!r} is no longer ours")

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __repr__(self) -> str:
        state = "released" if self._fd is None else "held"
        return f"<FileLock {self.name} {state} token={self.token}>"


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _read_token(fd: int) -> int:
    text = os.pread(fd, 32, 0)
    return int(text) if text.strip().isdigit() else 0


def _next_token(fd: int) -> int:
    token = _read_token(fd) + 1
    os.pwrite(fd, f"{token:020}\n".encode(), 0)
    return token
