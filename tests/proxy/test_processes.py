"""Forking and what follows it; children are forked from a fresh interpreter."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import ConfigError, StartupError
from proxy.processes import User, become, cpu_count, find_user

PRELUDE = """
import os, signal, sys
from proxy import logs
from proxy.errors import ConfigError
from proxy.processes import become, execute, find_user, fork, run_apart
logs.configure("info")
def outcome(run):
    return os.waitstatus_to_exitcode(os.waitpid(fork(run), 0)[1])
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, check=False
    )


def test_a_child_exits_with_what_it_returns() -> None:
    assert run("print(outcome(lambda: 7))").stdout == "7\n"


def test_running_apart() -> None:
    assert run("print(run_apart(lambda: 7))").stdout == "7\n"


def test_what_the_parent_has_not_yet_written_is_not_written_twice() -> None:
    assert run("print('once', end=''); outcome(lambda: 0)").stdout == "once"


def test_errors_become_lines_and_codes() -> None:
    done = run("""
def refuse():
    raise ConfigError("user: nobody")
print(outcome(refuse), outcome(lambda: 1 / 0))
""")
    assert done.stdout == "2 1\n"
    assert done.stderr.startswith("ERROR:    user: nobody\n")
    assert "ZeroDivisionError" in done.stderr


def test_signals_are_the_childs_own() -> None:
    done = run("""
signal.signal(signal.SIGTERM, lambda *_: print("parent's handler"))
def child():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return 0
print(outcome(child), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
""")
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM} set()\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")
def test_a_child_dies_with_its_parent() -> None:
    done = run("""
read, write = os.pipe()
def parent():
    def child():
        os.write(write, b"x")
        signal.pause()
        return 0
    fork(child)
    signal.pause()
    return 0
pid = fork(parent)
os.close(write)
os.read(read, 1)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
# The pipe ends only when the grandchild is gone, too.
print(os.read(read, 1))
""")
    assert done.stdout == "b''\n"


def test_a_program_gets_a_clean_start(tmp_path: Path) -> None:
    code = (
        "import os, signal; "
        "print(os.getcwd(), os.environ['A'], os.getpgrp() == os.getpid(), "
        "signal.getsignal(signal.SIGINT) == signal.default_int_handler, os.read(0, 1))"
    )
    done = run(f"""
arguments = [sys.executable, "-c", {code!r}]
print(outcome(lambda: execute(arguments, {str(tmp_path)!r}, {{"A": "1"}})))
""")
    assert done.stdout == f"{tmp_path} 1 True True b''\n0\n"


def test_a_program_that_is_not_there() -> None:
    done = run('print(outcome(lambda: execute(["/no/such"], "/", {})))')
    assert done.stdout == "126\n"
    assert done.stderr == "ERROR:    Cannot run /no/such in /: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_is_given_up_for_good() -> None:
    done = run("""
def child():
    become(find_user("nobody"))
    become(find_user("nobody"))
    print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())
    try:
        os.setuid(0)
    except PermissionError:
        return 5
    return 0
print(outcome(child))
""")
    nobody = pwd.getpwnam("nobody")
    assert done.stdout.startswith(f"{nobody.pw_uid} {nobody.pw_uid} {nobody.pw_gid} [")
    assert done.stdout.endswith("5\n")


def test_a_user_has_a_home() -> None:
    entry = pwd.getpwuid(os.geteuid())
    assert find_user(entry.pw_name).home == entry.pw_dir


def test_a_user_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="there is no user 'no-such-user'"):
        find_user("no-such-user")


def test_becoming_oneself_needs_no_root() -> None:
    become(find_user(pwd.getpwuid(os.geteuid()).pw_name))


def test_only_root_can_become_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StartupError, match="start as root or as that user"):
        become(User("www-data", 33, 33))


@pytest.mark.parametrize(
    ("text", "most"),
    [("50000 100000\n", 1), ("100000 100000\n", 1), ("max 100000\n", None), ("nonsense", None)],
)
def test_a_containers_quota_counts(tmp_path: Path, text: str, most: int | None) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text)
    unlimited = cpu_count(tmp_path / "none")
    assert cpu_count(path) == (unlimited if most is None else most)
    assert unlimited >= 1
