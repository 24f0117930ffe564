"""Whether an upstream is fit to be used: pure state machines, told the time by the caller.

Two sources, kept apart because they mean different things:

*Passive health* watches real requests. So many failures within so much time, and the upstream is
out for a while; then one single request may try it (half-open), and its end decides. It is a
guess, so it only makes an upstream ``SUSPENDED``: used last, not never (see ``balance``)::

    SERVING    as many failures within the time as are allowed    -> OUT
    OUT        out_for has passed, or an older request succeeds   -> HALF_OPEN
    HALF_OPEN  a request takes the try                            -> TRYING
    TRYING     it succeeds                                        -> SERVING
               it fails                                           -> OUT
               it ends without a verdict                          -> HALF_OPEN

*Active checks* are requests of our own. ``fall`` bad ones in a row, and the upstream is ``DOWN``;
``rise`` good ones, and it is back. Before the first check it counts as up (a proxy that starts
must not refuse everybody until its first round of checks), and that first check alone decides.

:class:`UpstreamHealth` joins both and keeps ``UpstreamState.condition``, which is all that the
hot path reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from proxy.limits import SECONDS
from proxy.upstream.balance import DOWN, SUSPENDED, UP, UpstreamState

JITTER: Final = 0.1
"""Share of the interval by which checks spread, so that workers do not check in step."""


@dataclass(frozen=True, slots=True)
class StatusRanges:
    """Status codes as ``200-299, 304`` or ``2xx, 3xx``."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> StatusRanges:
        """Read ranges; raises ValueError naming the item that is wrong."""
        return cls(tuple(_status_range(item.strip()) for item in text.split(",")))

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in self.ranges)


def _status_range(item: str) -> tuple[int, int]:
    if len(item) == 3 and item[0] in "12345" and item[1:].lower() == "xx":
        return int(item[0]) * 100, int(item[0]) * 100 + 99
    low, dash, high = item.partition("-")
    first, last = _status(low.strip(), item), _status((high if dash else low).strip(), item)
    if first > last:
        raise ValueError(f"expected status {item!r} runs backwards")
    return first, last


def _status(text: str, item: str) -> int:
    if len(text) == 3 and text.isascii() and text.isdigit() and 100 <= int(text) <= 599:
        return int(text)
    raise ValueError(
        f"expected status {item!r}; allowed: 100 to 599, as in '200-299, 304' or '2xx'"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassivePolicy:
    """When real failures suspend an upstream, and for how long."""

    failures: int = 3
    within: float = 10 * SECONDS
    out_for: float = 10 * SECONDS

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures is {self.failures}; allowed: from 1")
        if self.within <= 0 or self.out_for <= 0:
            raise ValueError("within and out_for must be longer than no time")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePolicy:
    """What an active check asks for, how often, and what it believes."""

    path: str = "/"
    host: str = "localhost"
    """The Host header: apps that check it must be told a name of theirs."""
    interval: float = 10 * SECONDS
    timeout: float = 5 * SECONDS
    expected: StatusRanges = field(default_factory=lambda: StatusRanges(((200, 399),)))
    rise: int = 2
    fall: int = 3

    def __post_init__(self) -> None:
        if self.rise < 1 or self.fall < 1:
            raise ValueError(f"rise is {self.rise}, fall is {self.fall}; allowed: from 1")
        if self.interval <= 0 or self.timeout <= 0:
            raise ValueError("interval and timeout must be longer than no time")
        if not self.path.startswith("/"):
            raise ValueError(f"path is {self.path!r}; it must begin with '/'")


class Phase(Enum):
    """Where passive health stands."""

    SERVING = "serving"
    OUT = "out"
    HALF_OPEN = "half-open"
    TRYING = "trying"


class _Event(Enum):
    LIMIT = "as many failures as are allowed"
    FAILURE = "a request failed"
    SUCCESS = "a request succeeded"
    TIME = "out_for has passed"
    TAKEN = "a request was given to it"
    ABANDONED = "that request ended without a verdict"


# What is not listed changes nothing: a failure beside the try's, the end of an older request.
_TRANSITIONS: Final = {
    (Phase.SERVING, _Event.LIMIT): Phase.OUT,
    (Phase.OUT, _Event.TIME): Phase.HALF_OPEN,
    # Older requests may end well, or all upstreams are out and it was used all the same: worth
    # an early try, not full trust.
    (Phase.OUT, _Event.SUCCESS): Phase.HALF_OPEN,
    (Phase.HALF_OPEN, _Event.TAKEN): Phase.TRYING,
    (Phase.HALF_OPEN, _Event.FAILURE): Phase.OUT,
    (Phase.TRYING, _Event.SUCCESS): Phase.SERVING,
    (Phase.TRYING, _Event.FAILURE): Phase.OUT,
    (Phase.TRYING, _Event.ABANDONED): Phase.HALF_OPEN,
}


class PassiveHealth:
    """The circuit breaker of one upstream."""

    __slots__ = ("_failures", "_out_until", "phase", "policy")

    def __init__(self, policy: PassivePolicy) -> None:
        self.policy = policy
        self.phase = Phase.SERVING
        self._failures: deque[float] = deque(maxlen=policy.failures)
        self._out_until = 0.0

    def __repr__(self) -> str:
        return f"<PassiveHealth {self.phase.value}, failures {len(self._failures)}>"

    @property
    def offers(self) -> bool:
        """Whether a request may be given to this upstream as to any other."""
        return self.phase is Phase.SERVING or self.phase is Phase.HALF_OPEN

    def request_started(self) -> None:
        """A request goes to this upstream; after an outage it is the one try."""
        self._apply(_Event.TAKEN)

    def request_succeeded(self) -> None:
        """The upstream gave a response."""
        self._apply(_Event.SUCCESS)

    def request_abandoned(self) -> None:
        """The request ended and says nothing about the upstream (the client went away)."""
        self._apply(_Event.ABANDONED)

    def request_failed(self, now: float) -> None:
        """The upstream did not give a response: refused, reset, timed out or broke HTTP."""
        if self.phase is not Phase.SERVING:
            self._apply(_Event.FAILURE, now)
            return
        self._failures.append(now)
        oldest = self._failures[0]
        if len(self._failures) == self.policy.failures and now - oldest <= self.policy.within:
            self._apply(_Event.LIMIT, now)

    def time_passed(self, now: float) -> None:
        """Called now and then; ends the time that the upstream is out."""
        if self.phase is Phase.OUT and now >= self._out_until:
            self._apply(_Event.TIME)

    def _apply(self, event: _Event, now: float = 0.0) -> None:
        phase = _TRANSITIONS.get((self.phase, event))
        if phase is None:
            return
        self.phase = phase
        if phase is Phase.OUT:
            self._out_until = now + self.policy.out_for
            self._failures.clear()


class ActiveHealth:
    """What the active checks of one upstream have shown, and when the next is due."""

    __slots__ = ("_random", "_settled", "_streak", "next_check", "policy", "up")

    def __init__(self, policy: ActivePolicy, now: float, random: Callable[[], float]) -> None:
        self.policy = policy
        self.up = True
        self.next_check = now
        self._random = random
        self._settled = False
        self._streak = 0  # results in a row that speak against `up`

    def __repr__(self) -> str:
        return f"<ActiveHealth {'up' if self.up else 'down'}, {self._streak} against it>"

    def check_started(self, now: float) -> None:
        """A check is under way; settles when the next one is due."""
        spread = 1 + JITTER * (2 * self._random() - 1)
        self.next_check = now + self.policy.interval * spread

    def check_ended(self, status: int | None) -> None:
        """The check's status, or None when there was no usable response."""
        good = status is not None and status in self.policy.expected
        if good is self.up:
            self._settled = True
            self._streak = 0
            return
        self._streak += 1
        needed = (self.policy.rise if good else self.policy.fall) if self._settled else 1
        if self._streak >= needed:
            self.up = good
            self._settled = True
            self._streak = 0


class UpstreamHealth:
    """Both kinds of health of one upstream, kept in its state's ``condition``.

    Methods that may change the condition return whether they did, for the log.
    """

    __slots__ = ("active", "passive", "quiet", "state")

    def __init__(
        self,
        state: UpstreamState,
        passive: PassiveHealth | None = None,
        active: ActiveHealth | None = None,
    ) -> None:
        self.state = state
        self.passive = passive
        self.active = active
        self.quiet = True
        """Nothing to be told of requests that start or succeed: the hot path need not call."""

    def __repr__(self) -> str:
        return f"<UpstreamHealth of {self.state!r}: {self.passive!r}, {self.active!r}>"

    def request_started(self) -> bool:
        """See :meth:`PassiveHealth.request_started`."""
        passive = self.passive
        if passive is None or passive.phase is Phase.SERVING:
            return False
        passive.request_started()
        return self._settle()

    def request_succeeded(self) -> bool:
        """See :meth:`PassiveHealth.request_succeeded`."""
        passive = self.passive
        if passive is None or passive.phase is Phase.SERVING:
            return False
        passive.request_succeeded()
        return self._settle()

    def request_abandoned(self) -> bool:
        """See :meth:`PassiveHealth.request_abandoned`."""
        passive = self.passive
        if passive is None or passive.phase is Phase.SERVING:
            return False
        passive.request_abandoned()
        return self._settle()

    def request_failed(self, now: float) -> bool:
        """See :meth:`PassiveHealth.request_failed`."""
        if self.passive is None:
            return False
        self.passive.request_failed(now)
        return self._settle()

    def time_passed(self, now: float) -> bool:
        """See :meth:`PassiveHealth.time_passed`."""
        if self.passive is None:
            return False
        self.passive.time_passed(now)
        return self._settle()

    def check_ended(self, status: int | None) -> bool:
        """See :meth:`ActiveHealth.check_ended`."""
        if self.active is None:
            raise ValueError(f"upstream {self.state.name!r} has no active check")
        self.active.check_ended(status)
        return self._settle()

    def _settle(self) -> bool:
        if self.active is not None and not self.active.up:
            condition = DOWN
        elif self.passive is not None and not self.passive.offers:
            condition = SUSPENDED
        else:
            condition = UP
        serving = self.passive is None or self.passive.phase is Phase.SERVING
        self.quiet = serving and condition == UP
        changed = condition != self.state.condition
        self.state.condition = condition
        return changed
