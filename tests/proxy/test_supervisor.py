"""The parent with children that say on stdout what happens to them.

Each test runs the parent in a process of its own, because signals and children belong to a
process as a whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PRELUDE = """
import os, select, signal, sys, time
from functools import partial
from proxy import logs
from proxy.channel import ChannelEnd, Notice
from proxy.errors import StartupError
from proxy.processes import execute
from proxy.supervisor import BackendRole, FrontRole, Supervisor

logs.configure("info")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may do it under nohup

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def leave(name, *_):
    say(name, "stopped")
    os._exit(0)

def worker(name, channel, ready=True, on_term=leave):
    signal.signal(signal.SIGTERM, partial(on_term, name))
    say(name, "started", os.getpid())
    if ready:
        channel.send(Notice("ready"))
    while not channel.closed_by_peer:
        select.select([channel], [], [])
        for notice in channel.receive():
            say(name, "got", notice.kind, notice.name)
    say(name, "orphaned")
    return 0

def front(name, run=worker, vital=True, **options):
    return FrontRole(name=name, run=lambda channel: run(name, channel, **options), vital=vital)

def backend(name, code):
    arguments = [sys.executable, "-c", code]
    return BackendRole(name=name, run=lambda: execute(arguments, "/", os.environ))

def supervise(*roles, shutdown_timeout=10.0):
    supervisor = Supervisor(
        roles,
        shutdown_timeout=shutdown_timeout,
        on_ready=lambda: say("ready"),
        on_stop=lambda: say("stopping"),
    )
    say("parent", os.getpid())
    sys.exit(supervisor.run())
"""


class Parent:
    """A parent under test."""

    def __init__(self, script: str, stderr: Path) -> None:
        with stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PRELUDE + script],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._stderr = stderr
        self.seen: list[str] = []
        self.pid = int(self.expect("parent").split()[1])

    def expect(self, start: str) -> str:
        """The next line that starts so; those before it are in ``seen``."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(line.rstrip())
            if line.startswith(start):
                return line.rstrip()
        raise AssertionError(f"no line {start!r} in {self.seen}; {self.errors}")

    def pid_of(self, name: str) -> int:
        return int(self.expect(f"{name} started").split()[-1])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        assert self.process.stdout is not None
        self.seen += [line.rstrip() for line in self.process.stdout]
        return self.process.wait()

    @property
    def errors(self) -> str:
        return self._stderr.read_text()


class Starter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[Parent] = []

    def __call__(self, script: str) -> Parent:
        parent = Parent(script, self._folder / "stderr")
        self.started.append(parent)
        return parent


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for parent in starter.started:
        parent.process.kill()
        parent.end()
        if parent.process.stdout is not None:
            parent.process.stdout.close()


def test_all_serve_and_all_stop(start: Starter) -> None:
    parent = start('supervise(front("a"), front("b"))')
    parent.expect("ready")
    assert sorted(line.split()[0] for line in parent.seen[1:-1]) == ["a", "b"]
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert parent.seen.count("ready") == 1
    assert sorted(parent.seen[-2:]) == ["a stopped", "b stopped"]
    assert parent.seen[-3] == "stopping"
    assert parent.errors == "INFO:     Shutting down; press CTRL+C to force\n"


def test_the_announcement_waits_for_backends(start: Starter, tmp_path: Path) -> None:
    up = tmp_path / "up"
    parent = start(
        f"""
def is_up():
    say("asked")
    return os.path.exists({str(up)!r})

arguments = [sys.executable, "-c", "import time; time.sleep(1000)"]
run = lambda: execute(arguments, "/", os.environ)
supervise(front("a"), BackendRole(name="b", run=run, is_up=is_up))
"""
    )
    parent.expect("asked")
    parent.expect("asked")
    assert "ready" not in parent.seen
    up.touch()
    parent.expect("ready")
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert parent.seen.count("ready") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_else_stops(start: Starter, number: signal.Signals) -> None:
    parent = start('supervise(front("a"))')
    parent.expect("ready")
    parent.send(number)
    assert parent.end() == 0
    assert parent.seen[-1] == "a stopped"


def test_under_nohup_the_end_of_the_terminal_is_not_ours(start: Starter) -> None:
    parent = start(
        """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
supervise(front("a"))
"""
    )
    parent.expect("ready")
    parent.send(signal.SIGHUP)
    parent.send(signal.SIGTERM)
    assert parent.end() == 0, "the second of two would have forced it"
    assert parent.seen[-2:] == ["stopping", "a stopped"]


def test_a_killed_worker_is_replaced_and_the_others_stay(start: Starter) -> None:
    parent = start('supervise(front("a"), front("b"))')
    parent.expect("ready")
    pids = {line.split()[0]: int(line.split()[2]) for line in parent.seen if " started " in line}
    os.kill(pids["a"], signal.SIGKILL)
    assert parent.pid_of("a") != pids["a"]
    parent.send(signal.SIGINT)
    assert parent.end() == 0
    assert not any(line.startswith("b started") for line in parent.seen[4:])
    assert f"a [{pids['a']}] was ended by SIGKILL; another is started at once" in parent.errors


def test_what_refuses_to_start_ends_everything_with_its_code(start: Starter) -> None:
    parent = start(
        """
def refuse(name, channel):
    raise StartupError("The key file cannot be read")
supervise(front("a"), front("b", refuse))
"""
    )
    assert parent.end() == 3
    assert parent.errors == "ERROR:    The key file cannot be read\n"


def test_a_worker_that_never_serves_is_given_up(start: Starter) -> None:
    parent = start(
        """
def crash(name, channel):
    say("trying")
    return 9
supervise(front("a", crash))
"""
    )
    assert parent.end() == 1
    assert parent.seen.count("trying") == 5
    assert "ended with exit code 9 5 times without serving" in parent.errors


def test_without_what_is_not_vital_the_others_serve(start: Starter) -> None:
    parent = start(
        """
def refuse(name, channel):
    raise StartupError("The CA's file cannot be read")
supervise(front("a"), front("b", refuse, vital=False))
"""
    )
    parent.expect("ready")
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert "ERROR:    The CA's file cannot be read" in parent.errors
    assert "ended with exit code 3; another is started at once" in parent.errors


def test_an_error_nobody_expected_is_shown(start: Starter) -> None:
    parent = start(
        """
def crash(name, channel):
    say(name, "began")
    channel.send(Notice("ready"))
    raise RuntimeError("surprise")
supervise(front("a", crash), front("b"))
"""
    )
    parent.expect("a began")
    parent.expect("a began")  # so the first has ended
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert "RuntimeError: surprise" in parent.errors


def test_a_notice_reaches_all_others(start: Starter) -> None:
    parent = start(
        """
def sender(name, channel):
    channel.send(Notice("installed", "x.example"))
    return worker(name, channel)
supervise(front("b"), front("c"), front("a", sender))
"""
    )
    lines: set[str] = set()
    while len(lines) < 2:
        line = parent.expect("")
        if " got " in line:
            lines.add(line)
    assert lines == {"b got installed x.example", "c got installed x.example"}
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert not any(line.startswith("a got") for line in parent.seen)


def test_a_child_that_does_not_read_holds_nobody_up(start: Starter) -> None:
    parent = start(
        """
def deaf(name, channel):
    say(name, "started", os.getpid())
    channel.send(Notice("ready"))
    signal.pause()
def chatty(name, channel):
    for number in range(20000):
        channel.send(Notice("installed", "x" * 100))
        while channel.has_unsent:
            select.select([], [channel], [])
            channel.flush()
    return worker(name, channel)
supervise(front("a", deaf), front("b", chatty))
"""
    )
    parent.expect("ready")
    parent.send(signal.SIGTERM)
    assert parent.end() == 0


def test_a_child_that_speaks_nonsense_is_replaced(start: Starter) -> None:
    parent = start(
        """
def speaker(name, channel):
    say(name, "started", os.getpid())  # before it can be killed for what it says next
    channel._sock.send(b"nonsense\\n")
    signal.pause()
supervise(front("a", speaker))
"""
    )
    first = parent.pid_of("a")
    assert parent.pid_of("a") != first
    parent.send(signal.SIGTERM)
    parent.end()
    assert "it is killed" in parent.errors


def test_who_does_not_stop_in_time_is_killed(start: Starter) -> None:
    parent = start('supervise(front("a", on_term=lambda *_: say("deaf")), shutdown_timeout=0.1)')
    parent.expect("ready")
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert parent.seen[-1] == "deaf"
    assert "did not end in time and is killed" in parent.errors


def test_a_second_ctrl_c_forces(start: Starter) -> None:
    parent = start('supervise(front("a", on_term=lambda *_: say("deaf")), shutdown_timeout=60)')
    parent.expect("ready")
    parent.send(signal.SIGINT)
    parent.expect("deaf")
    parent.send(signal.SIGINT)
    assert parent.end() == 1
    assert "Forced to end" in parent.errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_that_come_twice_force_nothing(
    start: Starter, tmp_path: Path, number: signal.Signals
) -> None:
    """``timeout`` sends its signal twice, and so do a closed terminal and the shell in it."""
    parent = start(
        f"""
def finish(name, *rest):
    say(name, "in flight")
    while not os.path.exists({str(tmp_path / "done")!r}):
        time.sleep(0.01)
    leave(name, *rest)
supervise(front("a", on_term=finish), shutdown_timeout=60)
"""
    )
    parent.expect("ready")
    parent.send(number)
    parent.expect("a in flight")
    parent.send(number)
    (tmp_path / "done").touch()
    assert parent.end() == 0
    assert parent.errors == "INFO:     Shutting down; press CTRL+C to force\n"
    assert parent.seen[-1] == "a stopped"


def test_children_end_with_their_parent(start: Starter) -> None:
    parent = start(
        """
def ignoring(name, *_):
    say(name, "asked to stop")
supervise(front("a", on_term=ignoring), front("b"))
"""
    )
    parent.expect("ready")
    parent.send(signal.SIGKILL)
    # Our end of the pipe closes only when the last of them is gone.
    assert parent.end() == -signal.SIGKILL
    assert "a orphaned" in parent.seen


def test_backends_stop_after_the_front(start: Starter) -> None:
    parent = start(
        '''
code = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"app stopped\\\\n"), sys.exit(0)))
os.write(1, b"app started %d\\\\n" % os.getpid())
while True:
    signal.pause()
"""
supervise(backend("app", code), front("a"))
'''
    )
    first = parent.pid_of("app")
    os.kill(first, signal.SIGKILL)
    assert parent.pid_of("app") != first
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert parent.seen[-2:] == ["a stopped", "app stopped"]


def test_a_program_that_is_not_there_is_said_once_per_try(start: Starter) -> None:
    parent = start(
        """
missing = BackendRole(name="app", run=lambda: execute(["/no/such"], "/", {}))
supervise(missing, front("a"))
"""
    )
    parent.expect("ready")
    parent.send(signal.SIGTERM)
    assert parent.end() == 0
    assert "Cannot run /no/such in /: No such file or directory" in parent.errors
