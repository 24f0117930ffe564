"""Forking, and what a new process must do before it is of use.

A child is forked from plain synchronous code: no loop runs in the parent and no thread, so
nothing half-done is copied. Signals are blocked across the fork. Otherwise one that reaches the
child before it has its own handlers would be written into the parent's wake-up socket, and the
parent would take it for its own.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pwd
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from proxy.errors import ConfigError, StartupError

logger = logging.getLogger(__name__)

EXIT_CRASHED = 1
EXIT_CANNOT_EXECUTE = 126

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def fork(run: Callable[[], int]) -> int:
    """Fork a child that calls ``run`` and exits with what it returns; give the child's PID.

    Call it only from a process without threads and without a running loop.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become_child(run, parent)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def run_apart(run: Callable[[], int]) -> int:
    """Run something in a child and wait for it, so that nothing of it stays in this process."""
    _, status = os.waitpid(fork(run), 0)
    return os.waitstatus_to_exitcode(status)


def _become_child(run: Callable[[], int], parent: int) -> NoReturn:
    # os._exit: what the parent's code has on its stack (finally, atexit) is not the child's.
    code = EXIT_CRASHED
    try:
        _reset_signals()
        die_with(parent)
        code = run()
    except (ConfigError, StartupError) as error:
        logger.error("%s", error)
        code = error.exit_code
    except BaseException:
        logger.exception("This process ends by an error nobody expected")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # A terminal sends these to the whole group; what they mean is the parent's decision.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def die_with(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent dies, where it can."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        # It died before the kernel knew of our wish.
        os.kill(os.getpid(), signal.SIGTERM)


def execute(arguments: Sequence[str], folder: Path, environ: Mapping[str, str]) -> int:
    """In a child: become another program, in a process group of its own.

    Its own group, so that Ctrl+C stops the proxy first and the program only when nobody asks it
    any more, and so that the whole of it can be killed.
    """
    os.setpgid(0, 0)
    # Python ignores these (PEP 475 has the reason); a program expects the default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        os.chdir(folder)
        os.execve(arguments[0], list(arguments), dict(environ))
    except OSError as error:
        logger.error("Cannot run %s in %s: %s", arguments[0], folder, error.strerror)
        return EXIT_CANNOT_EXECUTE


@dataclass(frozen=True, slots=True)
class User:
    """Whom to become."""

    name: str
    uid: int
    gid: int
    home: str = "/"


def find_user(name: str) -> User:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"user: there is no user {name!r} on this machine") from None
    return User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def become(user: User) -> None:
    """Give up root for good."""
    if os.geteuid() == user.uid and os.getegid() == user.gid:
        return
    if os.geteuid() != 0:
        raise StartupError(
            f"user: only root can become {user.name!r}; start as root or as that user"
        )
    os.initgroups(user.name, user.gid)
    os.setgid(user.gid)
    os.setuid(user.uid)


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us; a proxy needs two per request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_count(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The CPUs this process may use: its affinity, and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return count or 1
    if quota.isdigit() and period.isdigit() and int(period):
        # Rounded up: half a CPU more is worth a worker, none is worth less than one.
        count = min(count or 1, -(-int(quota) // int(period)))
    return max(count or 1, 1)
