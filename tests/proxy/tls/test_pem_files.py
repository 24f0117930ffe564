"""proxy.tls.pem_files"""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.errors import CertificateFileError
from proxy.limits import PEM_FILE_BYTES
from proxy.tls import pem_files
from proxy.tls.pem_files import (
    FileStamp,
    FileWatch,
    PairFollower,
    follow,
    load_pair,
    take_stamps,
)
from proxy.tls.pem_pair import PemPair
from tests.proxy.tls.certificates import UTC, Authority, write_pair

NOW = dt.datetime(2026, 6, 1, tzinfo=UTC)
BEFORE, AFTER = NOW - dt.timedelta(days=30), NOW + dt.timedelta(days=30)


def issue(authority: Authority, **dates: dt.datetime) -> PemPair:
    return authority.issue(
        not_before=dates.get("not_before", BEFORE), not_after=dates.get("not_after", AFTER)
    )


@pytest.fixture
def open_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as reachable by everybody (pytest's own are 0700)."""
    monkeypatch.setattr(pem_files, "_reachable_by_all", lambda path: True)
    return tmp_path


class TestLoadPair:
    def test_good(self, tmp_path: Path, ecdsa_pair: PemPair) -> None:
        assert load_pair(*write_pair(ecdsa_pair, tmp_path)) == ecdsa_pair

    @pytest.mark.parametrize("which", ["tls.crt", "tls.key"])
    def test_missing(self, tmp_path: Path, ecdsa_pair: PemPair, which: str) -> None:
        chain, key = write_pair(ecdsa_pair, tmp_path)
        (tmp_path / which).unlink()
        with pytest.raises(CertificateFileError, match=f"{which} cannot be read: No such file"):
            load_pair(chain, key)

    def test_folder_fifo_and_device(self, tmp_path: Path, ecdsa_pair: PemPair) -> None:
        chain, key = write_pair(ecdsa_pair, tmp_path)
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        with pytest.raises(CertificateFileError, match=r"the key .*fifo is no file"):
            load_pair(chain, fifo)
        with pytest.raises(CertificateFileError, match="Is a directory"):
            load_pair(tmp_path, key)
        with pytest.raises(CertificateFileError, match="/dev/zero is no file"):
            load_pair(Path("/dev/zero"), key)

    def test_too_large(self, tmp_path: Path, ecdsa_pair: PemPair) -> None:
        chain, key = write_pair(ecdsa_pair, tmp_path)
        chain.write_bytes(bytes(PEM_FILE_BYTES + 1))
        with pytest.raises(CertificateFileError, match=r"tls\.crt is larger than 1048576 bytes"):
            load_pair(chain, key)

    def test_messages_name_the_files(self, tmp_path: Path, authority: Authority) -> None:
        chain, key = write_pair(authority.issue(), tmp_path)
        key.write_bytes(authority.issue().key_pem)
        with pytest.raises(CertificateFileError, match=r"tls\.key does not belong .*tls\.crt"):
            load_pair(chain, key)


class TestKeyMode:
    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
    def test_owner_only(self, open_folder: Path, ecdsa_pair: PemPair, mode: int) -> None:
        chain, key = write_pair(ecdsa_pair, open_folder)
        key.chmod(mode)
        assert load_pair(chain, key).warnings == ()

    def test_group_is_warned_of(self, open_folder: Path, ecdsa_pair: PemPair) -> None:
        chain, key = write_pair(ecdsa_pair, open_folder)
        key.chmod(0o640)
        assert load_pair(chain, key).warnings == (
            f"the key {key} is readable by its group (mode 0640)",
        )

    @pytest.mark.parametrize("mode", [0o644, 0o604])
    def test_everybody_is_refused(self, open_folder: Path, ecdsa_pair: PemPair, mode: int) -> None:
        chain, key = write_pair(ecdsa_pair, open_folder)
        key.chmod(mode)
        with pytest.raises(CertificateFileError, match=r"readable by everybody.*chmod 600"):
            load_pair(chain, key)

    def test_the_chain_may_be_public(self, open_folder: Path, ecdsa_pair: PemPair) -> None:
        chain, key = write_pair(ecdsa_pair, open_folder)
        chain.chmod(0o644)
        assert load_pair(chain, key).warnings == ()

    def test_a_folder_that_nobody_else_can_enter_protects(
        self, tmp_path: Path, ecdsa_pair: PemPair
    ) -> None:
        chain, key = write_pair(ecdsa_pair, tmp_path)
        key.chmod(0o644)
        tmp_path.chmod(0o700)
        assert load_pair(chain, key).warnings == ()

    def test_folders_are_those_behind_the_symlink(
        self, tmp_path: Path, ecdsa_pair: PemPair
    ) -> None:
        # As in certbot's live folder, which is closed, with a key that is not behind it.
        live, open_to_all = tmp_path / "live", Path("/dev/shm") / f"vestibule-test-{os.getpid()}"
        live.mkdir(mode=0o700)
        open_to_all.mkdir(mode=0o755)
        try:
            chain, key = write_pair(ecdsa_pair, open_to_all)
            key.chmod(0o644)
            link = live / "tls.key"
            link.symlink_to(key)
            with pytest.raises(CertificateFileError, match="readable by everybody"):
                load_pair(chain, link)
        finally:
            for path in open_to_all.iterdir():
                path.unlink()
            open_to_all.rmdir()

    def test_folders_that_cannot_be_looked_at(
        self, tmp_path: Path, ecdsa_pair: PemPair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chain, key = write_pair(ecdsa_pair, tmp_path)
        key.chmod(0o644)

        def forbidden(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
            raise PermissionError(errno.EACCES, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", forbidden)
            with pytest.raises(CertificateFileError) as caught:
                load_pair(chain, key)
        assert str(caught.value) == (
            f"the folders of the key {key} cannot be checked: Permission denied"
        )


class TestFileWatch:
    A = (FileStamp(1, 1, 1, 1, 1),)
    B = (FileStamp(1, 2, 1, 1, 1),)
    C = (FileStamp(1, 3, 1, 1, 1),)

    def test_nothing_new(self) -> None:
        watch = FileWatch()
        watch.settle(self.A)
        assert not watch.should_load(self.A)
        assert not watch.should_load(self.A)

    def test_a_change_must_stay(self) -> None:
        watch = FileWatch()
        watch.settle(self.A)
        assert [watch.should_load(s) for s in (self.B, self.C, self.C)] == [False, False, True]
        watch.settle(self.C)
        assert not watch.should_load(self.C)

    def test_what_was_not_settled_is_tried_again(self) -> None:
        watch = FileWatch()
        watch.settle(self.A)
        assert [watch.should_load(self.B) for _ in range(3)] == [False, True, True]

    def test_changed_back(self) -> None:
        watch = FileWatch()
        watch.settle(self.A)
        assert [watch.should_load(s) for s in (self.B, self.A, self.A)] == [False, False, False]

    def test_missing_files_count(self) -> None:
        watch = FileWatch()
        watch.settle(self.A)
        assert [watch.should_load((None,)) for _ in range(2)] == [False, True]


class TestStamps:
    def test_each_way_of_replacing(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        seen = [take_stamps(path)]
        assert seen == [(None,)]

        def step(action: Callable[[], object]) -> None:
            action()
            seen.append(take_stamps(path))
            assert seen[-1] != seen[-2]

        step(lambda: path.write_text("one"))
        step(lambda: path.write_text("longer"))
        other = tmp_path / "other"
        other.write_text("longer")
        step(lambda: other.rename(path))
        step(lambda: path.chmod(0o600))
        path.unlink()
        (tmp_path / "target").write_text("longer")
        step(lambda: path.symlink_to("target"))


@pytest.fixture
def follower(tmp_path: Path, authority: Authority) -> PairFollower:
    """Loaded, with a pair that is valid now."""
    follower = PairFollower(*write_pair(issue(authority), tmp_path), lambda: NOW)
    follower.load()
    return follower


def replace_files(follower: PairFollower, pair: PemPair) -> None:
    """Put new files in the place of the old, as most tools do."""
    for path, content in (
        (follower.chain_path, pair.chain_pem),
        (follower.key_path, pair.key_pem),
    ):
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.rename(path)


class TestPairFollower:
    def test_load(self, tmp_path: Path, authority: Authority) -> None:
        pair = issue(authority)
        follower = PairFollower(*write_pair(pair, tmp_path), lambda: NOW)
        assert repr(follower).endswith("tls.crt: nothing loaded>")
        assert follower.load() == pair
        assert follower.current == pair
        assert repr(follower).endswith(f"tls.crt: {pair.fingerprint[:16]}>")
        assert follower.poll() is None

    def test_an_expired_pair_is_loaded_with_a_warning(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        pair = issue(authority, not_after=NOW - dt.timedelta(days=1))
        chain, key = write_pair(pair, tmp_path)
        loaded = PairFollower(chain, key, lambda: NOW).load()
        assert loaded.warnings == (f"the certificate {chain}: it expired on 2026-05-31 00:00 UTC",)

    def test_replaced(self, follower: PairFollower, authority: Authority) -> None:
        new = issue(authority)
        replace_files(follower, new)
        assert [follower.poll() for _ in range(4)] == [None, new, None, None]
        assert follower.current == new

    def test_written_over_in_place(self, follower: PairFollower, authority: Authority) -> None:
        new = issue(authority)
        follower.chain_path.write_bytes(new.chain_pem)
        follower.key_path.write_bytes(new.key_pem)
        assert [follower.poll() for _ in range(2)] == [None, new]

    def test_touched_only(self, follower: PairFollower) -> None:
        os.utime(follower.chain_path, ns=(1, 1))
        assert [follower.poll() for _ in range(3)] == [None, None, None]

    def test_half_written(
        self, follower: PairFollower, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        old, new = follower.current, issue(authority)
        follower.chain_path.write_bytes(new.chain_pem)
        assert [follower.poll() for _ in range(5)] == [None] * 5
        assert follower.current == old
        assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
            (
                logging.ERROR,
                "cannot use the changed certificate, the one in use stays: "
                f"{follower.key_path} does not belong to the certificate in "
                f"{follower.chain_path}",
            )
        ]
        follower.key_path.write_bytes(new.key_pem)
        assert [follower.poll() for _ in range(2)] == [None, new]

    def test_each_new_fault_is_logged_once(
        self, follower: PairFollower, caplog: pytest.LogCaptureFixture
    ) -> None:
        for content in (b"rubbish", b"other rubbish"):
            follower.chain_path.write_bytes(content)
            assert [follower.poll() for _ in range(4)] == [None] * 4
        follower.chain_path.unlink()
        assert [follower.poll() for _ in range(4)] == [None] * 4
        reasons = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
        chain = follower.chain_path
        assert reasons == [
            f"{chain} holds no certificate in PEM form",
            f"{chain} holds no certificate in PEM form",
            f"the certificate chain {chain} cannot be read: No such file or directory",
        ]

    def test_an_expired_one_does_not_replace_a_valid_one(
        self, follower: PairFollower, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        replace_files(follower, issue(authority, not_after=NOW - dt.timedelta(days=1)))
        assert [follower.poll() for _ in range(3)] == [None] * 3
        assert "it expired on 2026-05-31" in caplog.text

    def test_nothing_is_worse_than_an_expired_one(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        old = issue(authority, not_after=NOW - dt.timedelta(days=2))
        new = issue(authority, not_after=NOW - dt.timedelta(days=1))
        follower = PairFollower(*write_pair(old, tmp_path), lambda: NOW)
        follower.load()
        replace_files(follower, new)
        assert [follower.poll() for _ in range(2)] == [None, new]

    def test_moved_while_it_was_read(
        self, follower: PairFollower, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = issue(authority), issue(authority)
        replace_files(follower, first)
        assert follower.poll() is None

        def load_and_move(chain: Path, key: Path) -> PemPair:
            pair = load_pair(chain, key)
            replace_files(follower, second)
            return pair

        with monkeypatch.context() as patch:
            patch.setattr(pem_files, "load_pair", load_and_move)
            assert follower.poll() is None
        assert [follower.poll() for _ in range(2)] == [None, second]

    def test_first_pair_after_a_failed_start(
        self, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        follower = PairFollower(tmp_path / "tls.crt", tmp_path / "tls.key", lambda: NOW)
        with pytest.raises(CertificateFileError):
            follower.load()
        assert [follower.poll() for _ in range(2)] == [None, None]
        assert "there is none to use" in caplog.text
        pair = issue(authority)
        write_pair(pair, tmp_path)
        assert [follower.poll() for _ in range(2)] == [None, pair]

    def test_warnings_of_a_new_pair_are_logged(
        self,
        open_folder: Path,
        follower: PairFollower,
        authority: Authority,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        replace_files(follower, issue(authority))
        follower.key_path.chmod(0o640)
        assert [follower.poll() is None for _ in range(2)] == [True, False]
        assert [r.levelno for r in caplog.records] == [logging.WARNING]
        assert "readable by its group" in caplog.text

    def test_a_mode_that_is_put_right(
        self, open_folder: Path, follower: PairFollower, authority: Authority
    ) -> None:
        new = issue(authority)
        replace_files(follower, new)
        follower.key_path.chmod(0o644)
        assert [follower.poll() for _ in range(3)] == [None] * 3
        follower.key_path.chmod(0o600)
        assert [follower.poll() for _ in range(2)] == [None, new]


class TestToolsThatReplace:
    def test_certbot(self, tmp_path: Path, authority: Authority) -> None:
        """live/NAME/*.pem are symlinks into archive/NAME, moved one by one."""
        archive, live = tmp_path / "archive", tmp_path / "live"
        archive.mkdir()
        live.mkdir()

        def write(number: int, pair: PemPair) -> None:
            (archive / f"fullchain{number}.pem").write_bytes(pair.chain_pem)
            (archive / f"privkey{number}.pem").touch(mode=0o600)
            (archive / f"privkey{number}.pem").write_bytes(pair.key_pem)

        def point(name: str, number: int) -> None:
            (live / f"{name}.pem").unlink(missing_ok=True)
            (live / f"{name}.pem").symlink_to(f"../archive/{name}{number}.pem")

        old, new = issue(authority), issue(authority)
        write(1, old)
        point("fullchain", 1)
        point("privkey", 1)
        follower = PairFollower(live / "fullchain.pem", live / "privkey.pem", lambda: NOW)
        assert follower.load() == old

        write(2, new)
        point("privkey", 2)
        assert [follower.poll() for _ in range(2)] == [None, None]
        point("fullchain", 2)
        assert [follower.poll() for _ in range(2)] == [None, new]

    def test_kubernetes(self, tmp_path: Path, authority: Authority) -> None:
        """tls.crt -> ..data/tls.crt, and ..data -> a folder per version, swapped by rename."""

        def write(version: str, pair: PemPair) -> None:
            (tmp_path / version).mkdir()
            write_pair(pair, tmp_path / version)
            (tmp_path / "..data_tmp").symlink_to(version)
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")

        old, new = issue(authority), issue(authority)
        write("..2026_01", old)
        for name in ("tls.crt", "tls.key"):
            (tmp_path / name).symlink_to(f"..data/{name}")
        follower = PairFollower(tmp_path / "tls.crt", tmp_path / "tls.key", lambda: NOW)
        assert follower.load() == old
        write("..2026_02", new)
        assert [follower.poll() for _ in range(2)] == [None, new]


class ScriptOverError(Exception):
    pass


class Script:
    """A sleep in which something happens; it ends the test when nothing is left to happen."""

    def __init__(self, *happenings: Callable[[], object]) -> None:
        self.happenings = list(happenings)
        self.intervals: list[float] = []

    async def sleep(self, interval: float) -> None:
        self.intervals.append(interval)
        if not self.happenings:
            raise ScriptOverError
        self.happenings.pop(0)()


def nothing() -> None:
    pass


@pytest.mark.anyio
class TestFollow:
    async def test_calls_back_with_each_new_pair(
        self, follower: PairFollower, authority: Authority
    ) -> None:
        first, second = issue(authority), issue(authority)
        calls = []

        async def on_change(which: PairFollower, pair: PemPair) -> None:
            calls.append((which, pair))

        script = Script(
            lambda: replace_files(follower, first),
            nothing,
            nothing,
            lambda: replace_files(follower, second),
            nothing,
        )
        with pytest.raises(ScriptOverError):
            await follow([follower], on_change, interval=5, sleep=script.sleep)
        assert calls == [(follower, first), (follower, second)]
        assert script.intervals == [5] * 6

    async def test_a_refused_pair_is_logged_and_does_not_end_it(
        self, follower: PairFollower, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = issue(authority), issue(authority)
        calls = []

        async def on_change(which: PairFollower, pair: PemPair) -> None:
            if pair == first:
                raise CertificateFileError("OpenSSL refuses it")
            calls.append(pair)

        script = Script(
            lambda: replace_files(follower, first),
            nothing,
            lambda: replace_files(follower, second),
            nothing,
        )
        with pytest.raises(ScriptOverError):
            await follow([follower], on_change, sleep=script.sleep)
        assert calls == [second]
        assert "the one in use stays: OpenSSL refuses it" in caplog.text

    async def test_looks_are_made_off_the_loop(self, tmp_path: Path) -> None:
        threads = []

        class Recorder(PairFollower):
            def poll(self) -> None:
                threads.append(threading.get_ident())

        async def on_change(which: PairFollower, pair: PemPair) -> None:
            raise AssertionError("nothing changed")

        recorder = Recorder(tmp_path, tmp_path, lambda: NOW)
        with pytest.raises(ScriptOverError):
            await follow([recorder], on_change, sleep=Script(nothing).sleep)
        assert len(threads) == 1
        assert threads != [threading.get_ident()]
