"""A site's own PEM files: read, checked, and followed when another tool replaces them.

certbot points a symlink at a new file, cert-manager and Kubernetes swap the folder behind one,
scripts copy over the file in place. All three change what ``stat`` says behind the symlinks, so
that is what is polled: one look at all files of all sites every few seconds, in a worker thread.
(inotify would be told of less: not of a symlink's target, not on network mounts.)

Chain and key are two files, and nobody replaces both at once. So a change is taken only when it
stayed the same for one more look, when nothing moved while it was read, and when the pair fits
together. Otherwise the pair in use stays, the reason is logged once, and every look tries again::

    same as in use ──change──> changed ──quiet──> load ──good──> same as in use
          ^                       ^  ^─────change───┤
          └──────changed back─────┘                 └─bad──> logged once; load at the next look

A key that everybody on the machine may read is refused, one that its group may read is warned of
(Kubernetes gives a pod's group read access through ``fsGroup``; and ``defaultMode: 0400`` keeps
the rest out). Folders count: old certbot wrote keys with 0644 into a folder that only root can
enter, and those are as safe as with 0600.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import anyio
from anyio import to_thread

from proxy.errors import CertificateFileError
from proxy.limits import PEM_FILE_BYTES, PEM_POLL_SECONDS
from proxy.tls.pem_pair import PemPair, date_fault, parse_pair

logger = logging.getLogger(__name__)


def load_pair(chain_path: Path, key_path: Path) -> PemPair:
    """Read and check a pair of files; blocking. Warnings are in the pair, not logged."""
    chain_pem, _ = _read(chain_path, "certificate chain")
    key_pem, mode = _read(key_path, "key")
    warning = _check_key_mode(key_path, mode)
    pair = parse_pair(chain_pem, key_pem, chain_name=str(chain_path), key_name=str(key_path))
    return replace(pair, warnings=(warning, *pair.warnings)) if warning else pair


def _read(path: Path, what: str) -> tuple[bytes, int]:
    """The content of a file and its mode."""
    try:
        # Without O_NONBLOCK opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            content = file.read(PEM_FILE_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise CertificateFileError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise CertificateFileError(f"the {what} {path} is no file")
    if len(content) > PEM_FILE_BYTES:
        raise CertificateFileError(f"the {what} {path} is larger than {PEM_FILE_BYTES} bytes")
    return content, mode


def _check_key_mode(path: Path, mode: int) -> str | None:
    """Refuse a key that everybody can read; the warning for one that its group can."""
    if mode & stat.S_IROTH and _reachable_by_all(path):
        raise CertificateFileError(
            f"the key {path} is readable by everybody (mode {stat.S_IMODE(mode):04o}); "
            "it must be for its owner only: chmod 600, in Kubernetes defaultMode: 0400"
        )
    if mode & stat.S_IRGRP and mode & stat.S_IROTH == 0:
        return f"the key {path} is readable by its group (mode {stat.S_IMODE(mode):04o})"
    return None


def _reachable_by_all(path: Path) -> bool:
    try:
        return all(os.stat(folder).st_mode & stat.S_IXOTH for folder in path.resolve().parents)
    except OSError as error:
        raise CertificateFileError(
            f"the folders of the key {path} cannot be checked: {error.strerror}"
        ) from error


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells one content of a file from the next, without reading it.

    With the change time beside the modification time, so that a corrected mode counts too.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


Stamps = tuple[FileStamp | None, ...]


def take_stamps(*paths: Path) -> Stamps:
    """The stamps of files, behind their symlinks; None for one that cannot be seen. Blocking."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> FileStamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # the attempt to read it will say why
    return FileStamp(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


class FileWatch:
    """Decides from stamps when files are to be read again (pure)."""

    __slots__ = ("_settled", "_seen")

    def __init__(self) -> None:
        self._settled: Stamps | None = None
        self._seen: Stamps | None = None

    def should_load(self, stamps: Stamps) -> bool:
        """Whether the files have changed, and not since the look before this one."""
        quiet = stamps == self._seen
        self._seen = stamps
        return quiet and stamps != self._settled

    def settle(self, stamps: Stamps) -> None:
        """What was read under these stamps is in use."""
        self._settled = self._seen = stamps


class PairFollower:
    """One pair of files over time. ``load`` and ``poll`` block: call them in a thread."""

    __slots__ = ("chain_path", "key_path", "current", "_now", "_watch", "_complaint")

    def __init__(self, chain_path: Path, key_path: Path, now: Callable[[], datetime]) -> None:
        self.chain_path = chain_path
        self.key_path = key_path
        self.current: PemPair | None = None
        """The last good pair."""
        self._now = now
        self._watch = FileWatch()
        self._complaint: tuple[Stamps, str] | None = None

    def __repr__(self) -> str:
        state = self.current.fingerprint[:16] if self.current else "nothing loaded"
        return f"<PairFollower {self.chain_path}: {state}>"

    def load(self) -> PemPair:
        """Read the pair for the first time; raises :class:`CertificateFileError`.

        Dates only give a warning here: a server must start with an expired certificate too.
        """
        stamps = take_stamps(self.chain_path, self.key_path)
        pair = load_pair(self.chain_path, self.key_path)
        if fault := date_fault(pair, self._now()):
            pair = replace(
                pair, warnings=(*pair.warnings, f"the certificate {self.chain_path}: {fault}")
            )
        self._watch.settle(stamps)
        self.current = pair
        return pair

    def poll(self) -> PemPair | None:
        """Look once; the new pair when there is one to be used from now on."""
        stamps = take_stamps(self.chain_path, self.key_path)
        if not self._watch.should_load(stamps):
            return None
        try:
            pair = load_pair(self.chain_path, self.key_path)
            self._check_replacement(pair)
        except CertificateFileError as error:
            self._complain(stamps, str(error))
            return None
        if take_stamps(self.chain_path, self.key_path) != stamps:
            return None  # replaced while it was read: the next look decides
        self._watch.settle(stamps)
        self._complaint = None
        previous, self.current = self.current, pair
        if previous is not None and _same_content(previous, pair):
            return None
        for warning in pair.warnings:
            logger.warning("%s", warning)
        return pair

    def _check_replacement(self, pair: PemPair) -> None:
        """Refuse a pair that is out of date in place of one that is not."""
        now = self._now()
        fault = date_fault(pair, now)
        if fault and self.current is not None and not date_fault(self.current, now):
            raise CertificateFileError(f"the certificate {self.chain_path}: {fault}")

    def _complain(self, stamps: Stamps, reason: str) -> None:
        if self._complaint != (stamps, reason):
            self._complaint = (stamps, reason)
            kept = "the one in use stays" if self.current else "there is none to use"
            logger.error("cannot use the changed certificate, %s: %s", kept, reason)


def _same_content(a: PemPair, b: PemPair) -> bool:
    return a.chain_pem == b.chain_pem and a.key_pem == b.key_pem


async def follow(
    followers: Sequence[PairFollower],
    on_change: Callable[[PairFollower, PemPair], Awaitable[None]],
    *,
    interval: float = PEM_POLL_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Watch all pairs until cancelled; ``on_change`` is called with each new good pair.

    It may refuse a pair by :class:`CertificateFileError`, which is logged.
    """
    while True:
        await sleep(interval)
        # Abandoned when cancelled: a network mount that hangs must not hold up the stop.
        changes = await to_thread.run_sync(_poll_all, followers, abandon_on_cancel=True)
        for follower, pair in changes:
            try:
                await on_change(follower, pair)
            except CertificateFileError as error:
                logger.error("cannot use the changed certificate, the one in use stays: %s", error)


def _poll_all(followers: Sequence[PairFollower]) -> list[tuple[PairFollower, PemPair]]:
    looks = ((follower, follower.poll()) for follower in followers)
    return [(follower, pair) for follower, pair in looks if pair is not None]
