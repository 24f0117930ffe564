"""The parent: it starts the others, restarts the dead, passes notices and signals on.

It handles no traffic, holds no key, runs no thread and no event loop: children are forked out of
plain code, and a parent that does nearly nothing has nearly nothing to die of. Its loop waits for
three things: a signal (through ``signal.set_wakeup_fd``), a notice from a child, a time.

Children are of two kinds. Those of the *front* (workers, certificate manager) are forked from
this process and have a channel; *backends* (apps) are other programs. A stop asks the front
first and the backends only when the front is gone, because requests in flight need them::

    running --SIGTERM--> stopping front --all gone, or too late: killed--> stopping backends --> end

Ctrl+C during a stop kills everything at once. Other signals do not: they come from programs, which
often send them twice (``timeout`` to its child and to the group, a terminal that is closed and the
shell in it). As PID 1 of a container it also buries the orphans that the kernel hands it.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxy.channel import ChannelEnd, ChannelError, Notice, make_channel
from proxy.errors import ConfigError, StartupError
from proxy.limits import SECONDS
from proxy.processes import EXIT_CRASHED, fork
from proxy.restarts import Restarts

logger = logging.getLogger(__name__)

EXIT_FORCED = 1

KILL_AFTER = 1 * SECONDS
"""How much longer than ``limits.shutdown_timeout`` a child gets before it is killed."""

BACKEND_STOP_SECONDS = 5 * SECONDS

BACKEND_START_SECONDS = 10 * SECONDS
"""How long the announcement that we serve waits for backends; then it comes without them."""

BACKEND_LOOK_SECONDS = 0.05 * SECONDS
"""How often it is looked whether they are up, until then."""

FORK_WAIT = 1 * SECONDS
"""Before the next try when the system has no process to give."""

GIVE_UP_AFTER = 5
"""Deaths in a row of a child of the front that never served: then starting has failed."""

_FATAL = frozenset({ConfigError.exit_code, StartupError.exit_code})
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRole:
    """A child of our own code: ``run`` gets its end of the channel and returns an exit code."""

    name: str
    run: Callable[[ChannelEnd], int]
    vital: bool = True
    """Without it nothing is served: that it cannot start is the end of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRole:
    """Another program: ``run`` becomes it, and returns only where that fails."""

    name: str
    run: Callable[[], int]
    is_up: Callable[[], bool] = lambda: True
    """Whether it can be used already; it does not tell us itself."""


@dataclass(slots=True, eq=False)
class Child:
    """The place of one child; ``pid`` is None between a death and the next start."""

    role: FrontRole | BackendRole
    pid: int | None = None
    channel: ChannelEnd | None = None
    started_at: float = 0.0
    start_at: float | None = 0.0
    """When to start it; None while it lives, and when it shall not be started again."""
    has_served: bool = False
    restarts: Restarts = field(default_factory=Restarts)

    def __str__(self) -> str:
        return self.role.name if self.pid is None else f"{self.role.name} [{self.pid}]"

    @property
    def is_front(self) -> bool:
        return isinstance(self.role, FrontRole)

    @property
    def is_vital(self) -> bool:
        return isinstance(self.role, FrontRole) and self.role.vital


class Supervisor:
    """Runs the children until a signal; :meth:`run` returns the exit code.

    ``on_ready`` is called once, when all of the front serve and the backends are up (or have had
    their time); ``on_stop`` when a stop begins, to close the parent's copies of the listening
    sockets.
    """

    def __init__(
        self,
        roles: Sequence[FrontRole | BackendRole],
        *,
        shutdown_timeout: float,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [Child(role) for role in roles]
        self._shutdown_timeout = shutdown_timeout
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._clock = clock
        self._selector = selectors.PollSelector()
        self._wakeup, self._wakeup_in = socket.socketpair()
        self._all_have_served = False
        self._announce_by: float | None = None
        self._stopping = False
        self._stopping_backends = False
        self._kill_at: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        self._wakeup.setblocking(False)
        self._wakeup_in.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        before = {number: signal.signal(number, _only_wake_up) for number in _signals()}
        wakeup_before = signal.set_wakeup_fd(self._wakeup_in.fileno(), warn_on_full_buffer=False)
        try:
            while self._has_work():
                self._start_due()
                self._wait()
                self._bury()
                self._kill_late()
                self._announce_when_up()
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._close()
        return self._exit_code

    def _has_work(self) -> bool:
        return not self._stopping or any(child.pid is not None for child in self._children)

    # --- starting ---

    def _start_due(self) -> None:
        now = self._clock()
        for child in self._children:
            if child.start_at is not None and child.start_at <= now:
                self._start(child)

    def _start(self, child: Child) -> None:
        child.start_at = None
        child.started_at = self._clock()
        try:
            if isinstance(child.role, BackendRole):
                child.pid = self._fork(child.role.run)
            else:
                self._start_front(child, child.role)
        except OSError as error:
            wait = child.restarts.wait_after_death(0.0) + FORK_WAIT
            logger.error("Cannot start %s: %s; tried again in %g s", child, error.strerror, wait)
            child.start_at = self._clock() + wait

    def _start_front(self, child: Child, role: FrontRole) -> None:
        ours, theirs = make_channel()
        child.channel = ours
        self._selector.register(ours, selectors.EVENT_READ, child)
        try:
            child.pid = self._fork(lambda: role.run(theirs))
        except OSError:
            self._close_channel(child)
            raise
        finally:
            theirs.close()

    def _fork(self, run: Callable[[], int]) -> int:
        def run_in_child() -> int:
            # What is the parent's: a copied end would hide the parent's death from a sibling.
            self._wakeup.close()
            self._wakeup_in.close()
            for sibling in self._children:
                if sibling.channel is not None:
                    sibling.channel.close()
            return run()

        return fork(run_in_child)

    # --- waiting ---

    def _wait(self) -> None:
        for key, _ in self._selector.select(self._time_to_wait()):
            if key.data is None:
                self._read_signals()
            else:
                self._serve_channel(key.data)

    def _time_to_wait(self) -> float | None:
        times = [child.start_at for child in self._children if child.start_at is not None]
        if self._kill_at is not None:
            times.append(self._kill_at)
        if self._announce_by is not None:
            times.append(self._clock() + BACKEND_LOOK_SECONDS)
        return max(0.0, min(times) - self._clock()) if times else None

    def _read_signals(self) -> None:
        try:
            received = self._wakeup.recv(4096)
        except BlockingIOError:
            return
        for number in received:
            if number in _STOPS:
                self._stop_or_force(number)

    def _serve_channel(self, child: Child) -> None:
        channel = child.channel
        if channel is None:
            return
        try:
            notices = channel.receive()
        except ChannelError as error:
            logger.error("%s sent %s; it is killed", child, error)
            self._signal(child, signal.SIGKILL)
            return
        for notice in notices:
            self._take(notice, child)
        channel.flush()
        if channel.closed_by_peer:
            self._close_channel(child)
        self._watch(child)

    def _take(self, notice: Notice, sender: Child) -> None:
        if notice.kind == "ready":
            self._note_serving(sender)
            return
        for child in self._children:
            if child is not sender and child.channel is not None:
                child.channel.send(notice)
                self._watch(child)

    def _note_serving(self, child: Child) -> None:
        child.has_served = True
        front = [child for child in self._children if child.is_front]
        if self._stopping or self._all_have_served:
            return
        if all(child.has_served for child in front):
            self._all_have_served = True
            self._announce_by = self._clock() + BACKEND_START_SECONDS

    def _announce_when_up(self) -> None:
        """Whoever reads that we serve may come at once, so the apps shall be there."""
        if self._announce_by is None:
            return
        roles = [child.role for child in self._children]
        if self._clock() >= self._announce_by or all(
            role.is_up() for role in roles if isinstance(role, BackendRole)
        ):
            self._announce_by = None
            self._on_ready()

    def _watch(self, child: Child) -> None:
        """Wait for room to write only while something waits to be written."""
        if child.channel is not None:
            writing = selectors.EVENT_WRITE if child.channel.has_unsent else 0
            self._selector.modify(child.channel, selectors.EVENT_READ | writing, child)

    # --- deaths ---

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((child for child in self._children if child.pid == pid), None)
            if child is not None:
                self._after_death(child, os.waitstatus_to_exitcode(status))

    def _after_death(self, child: Child, code: int) -> None:
        name = str(child)
        if not child.is_front:
            # What the program left behind of its own children would keep its socket.
            _kill_group(child.pid)
        child.pid = None
        self._close_channel(child)
        if self._stopping:
            if not any(child.pid is not None for child in self._children if child.is_front):
                self._stop_backends()
            return
        wait = child.restarts.wait_after_death(self._clock() - child.started_at)
        if child.is_front and not child.is_vital:
            # The others need not wait for it any longer, and serve without it.
            self._note_serving(child)
        elif child.is_vital and not child.has_served:
            if code in _FATAL:
                # It has said why. What it refuses now it will refuse again.
                self._exit_code = code
            elif child.restarts.deaths >= GIVE_UP_AFTER:
                logger.error("%s %s %d times without serving", name, _how(code), GIVE_UP_AFTER)
                self._exit_code = EXIT_CRASHED
            if self._exit_code:
                self._stop()
                return
        when = f"in {wait:g} s" if wait else "at once"
        logger.warning("%s %s; another is started %s", name, _how(code), when)
        child.start_at = self._clock() + wait

    def _close_channel(self, child: Child) -> None:
        if child.channel is not None:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    # --- stopping ---

    def _stop_or_force(self, number: int) -> None:
        if not self._stopping:
            again = " again" if number == signal.SIGINT else ""
            logger.info("Shutting down; press CTRL+C%s to force", again)
            self._stop()
            return
        if number != signal.SIGINT:
            return
        logger.warning("Forced to end: what was in flight is cut off")
        self._exit_code = self._exit_code or EXIT_FORCED
        self._kill_all()

    def _stop(self) -> None:
        self._stopping = True
        self._announce_by = None
        self._on_stop()
        for child in self._children:
            child.start_at = None
        front = [child for child in self._children if child.is_front and child.pid is not None]
        self._kill_at = self._clock() + self._shutdown_timeout + KILL_AFTER
        for child in front:
            self._signal(child, signal.SIGTERM)
        if not front:
            self._stop_backends()

    def _stop_backends(self) -> None:
        if self._stopping_backends:
            return
        self._stopping_backends = True
        self._kill_at = self._clock() + BACKEND_STOP_SECONDS
        for child in self._children:
            if not child.is_front:
                self._signal(child, signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._kill_at is None or self._clock() < self._kill_at:
            return
        self._kill_at = None
        late = [child for child in self._children if child.pid is not None]
        front = [child for child in late if child.is_front]
        for child in front or late:
            logger.warning("%s did not end in time and is killed", child)
            self._signal(child, signal.SIGKILL)

    def _kill_all(self) -> None:
        for child in self._children:
            self._signal(child, signal.SIGKILL)

    def _signal(self, child: Child, number: signal.Signals) -> None:
        # The PID cannot be another's: it stays taken until we have buried it.
        if child.pid is None:
            return
        if number == signal.SIGKILL and not child.is_front:
            _kill_group(child.pid)
        os.kill(child.pid, number)

    def _close(self) -> None:
        self._kill_all()
        for child in self._children:
            self._close_channel(child)
        self._selector.close()
        self._wakeup.close()
        self._wakeup_in.close()


def _signals() -> list[signal.Signals]:
    """Those to act on. Under nohup the end of the terminal is not to be the end of us."""
    told_to_ignore = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [
        number
        for number in (*_STOPS, signal.SIGCHLD)
        if not (number == signal.SIGHUP and told_to_ignore)
    ]


def _only_wake_up(number: int, frame: object) -> None:
    """The signal's number reaches the loop through the wake-up socket."""


def _kill_group(pid: int | None) -> None:
    if pid is None:
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nobody is left in the group, or it was not made yet.
        return


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
