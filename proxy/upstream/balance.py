"""Which upstream gets the next request: a pure decision over a few integers.

The pool keeps one :class:`UpstreamState` per upstream and hands all of them to a
:class:`Balancer`, which answers with one of them, or with None when nobody can take the request.
Nothing is remembered here but what a policy itself needs (a credit, a turn); who is healthy and
how busy each one is stands in the states, which health checks and the pool keep up to date.

The order of the decision is the same for all policies:

1. upstreams that are ``UP``; only when there is none, those that are ``SUSPENDED``. Passive
   health is a guess from recent failures, so it may prefer one upstream to another but never
   turns a request away; ``DOWN`` (an active check failed) does;
2. of these, the ones below their connection limit; when all are at it, the answer is None and
   the pool queues the request;
3. of these, not the one that has just failed this very request, if there is another;
4. of these, the policy's choice.

Hashing is rendezvous hashing (highest random weight, Thaler and Ravishankar 1998) and not a ring:
it needs no table that must be rebuilt, spreads exactly by weight, and when an upstream goes away
only its own keys move. The hash does not depend on the process, so all workers agree.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Literal, TypeAlias, get_args

UP: Final = 0
SUSPENDED: Final = 1
"""Failed lately (passive health): used only when no upstream is up."""
DOWN: Final = 2
"""Fails its active check: never used."""

UNLIMITED: Final = sys.maxsize
MAX_WEIGHT: Final = 1000

Policy: TypeAlias = Literal["round_robin", "least_connections", "random_two", "hash"]
"""``hash`` is for all of address, header and cookie: they differ only in the key."""

_CONDITIONS: Final = ("up", "suspended", "down")
_MASK: Final = (1 << 64) - 1


class UpstreamState:
    """What balancing knows of one upstream. ``active`` is counted by the pool."""

    __slots__ = ("name", "weight", "limit", "active", "condition", "credit", "_seed")

    def __init__(self, name: str, *, weight: int = 1, limit: int = UNLIMITED) -> None:
        if not 1 <= weight <= MAX_WEIGHT:
            raise ValueError(f"weight of upstream {name!r} is {weight}; allowed: 1 to {MAX_WEIGHT}")
        if limit < 1:
            raise ValueError(f"connection limit of upstream {name!r} is {limit}; allowed: from 1")
        self.name = name
        self.weight = weight
        self.limit = limit
        self.active = 0
        self.condition = UP
        self.credit = 0
        self._seed: int | None = None

    @property
    def seed(self) -> int:
        """What this upstream's name adds to every hash."""
        if self._seed is None:
            self._seed = _hash64(self.name.encode("utf-8", "surrogateescape"))
        return self._seed

    def __repr__(self) -> str:
        limit = "" if self.limit == UNLIMITED else f"/{self.limit}"
        return (
            f"<UpstreamState {self.name} {_CONDITIONS[self.condition]},"
            f" active {self.active}{limit}, weight {self.weight}>"
        )


class Balancer(ABC):
    """One policy at work for one pool."""

    __slots__ = ()

    def choose(
        self,
        states: Sequence[UpstreamState],
        key: bytes = b"",
        avoid: UpstreamState | None = None,
    ) -> UpstreamState | None:
        """The upstream for the next request, or None when none is up or all are full."""
        if len(states) == 1:
            # The usual pool; `avoid` means nothing here, another connection is all there is.
            state = states[0]
            if state.condition != DOWN and state.active < state.limit:
                return state
            return None
        candidates = _with_room(states, UP)
        if not candidates:
            if any(state.condition == UP for state in states):
                return None
            candidates = _with_room(states, SUSPENDED)
            if not candidates:
                return None
        if avoid is not None and len(candidates) > 1 and avoid in candidates:
            candidates.remove(avoid)
        if len(candidates) == 1:
            return candidates[0]
        return self._pick(candidates, key)

    @abstractmethod
    def _pick(self, candidates: Sequence[UpstreamState], key: bytes) -> UpstreamState:
        """The policy's choice among at least two that can take the request."""


class RoundRobin(Balancer):
    """Smooth weighted round robin, as nginx does it.

    Each candidate earns its weight in credit; the richest is chosen and pays what all earned.
    With weights 5, 1, 1 this gives a a b a c a a and never five in a row.
    """

    __slots__ = ()

    def _pick(self, candidates: Sequence[UpstreamState], key: bytes) -> UpstreamState:
        best = candidates[0]
        total = 0
        for state in candidates:
            weight = state.weight
            total += weight
            state.credit += weight
            if state.credit > best.credit:
                best = state
        best.credit -= total
        return best


class LeastConnections(Balancer):
    """The least busy for its weight; equals take turns."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        self._turn = 0

    def _pick(self, candidates: Sequence[UpstreamState], key: bytes) -> UpstreamState:
        # Begin one further each time, so that equals (all idle, above all) take turns.
        self._turn = turn = (self._turn + 1) % len(candidates)
        best = candidates[turn]
        for index in range(turn + 1, turn + len(candidates)):
            state = candidates[index % len(candidates)]
            if _less_loaded(state, best):
                best = state
        return best


class RandomTwo(Balancer):
    """The less busy of two taken at random.

    Near to least connections in its result, without the herd: workers that do not know of each
    other's connections do not all run to the same upstream (Mitzenmacher 2001).
    """

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def _pick(self, candidates: Sequence[UpstreamState], key: bytes) -> UpstreamState:
        count = len(candidates)
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        if second >= first:
            second += 1
        one, other = candidates[first], candidates[second]
        return other if _less_loaded(other, one) else one


class RendezvousHash(Balancer):
    """The same key goes to the same upstream for as long as that one is there.

    A request without a key (no such cookie yet) takes its turn by round robin.
    """

    __slots__ = ("_without_key",)

    def __init__(self) -> None:
        self._without_key = RoundRobin()

    def _pick(self, candidates: Sequence[UpstreamState], key: bytes) -> UpstreamState:
        if not key:
            return self._without_key._pick(candidates, key)
        hashed = _hash64(key)
        best = candidates[0]
        best_score = -1.0
        for state in candidates:
            # In (0, 1), so that the logarithm is finite and below zero. An upstream of weight w
            # wins with the chance w / total (Schindelhauer and Schomaker 2005).
            uniform = ((_mix(hashed ^ state.seed) >> 11) + 0.5) * 2.0**-53
            score = -state.weight / math.log(uniform)
            if score > best_score:
                best, best_score = state, score
        return best


def make_balancer(policy: Policy, random: Callable[[], float]) -> Balancer:
    """The balancer of a policy's name; ``random`` gives floats in [0, 1)."""
    match policy:
        case "round_robin":
            return RoundRobin()
        case "least_connections":
            return LeastConnections()
        case "random_two":
            return RandomTwo(random)
        case "hash":
            return RendezvousHash()
    raise ValueError(f"balancing policy {policy!r}; allowed: {', '.join(get_args(Policy))}")


def cookie_value(cookie: bytes, name: bytes) -> bytes:
    """The value of the cookie ``name`` in a Cookie header, or nothing (RFC 6265 §4.2.1)."""
    for pair in cookie.split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            return value.strip(b" \t")
    return b""


def _with_room(states: Sequence[UpstreamState], condition: int) -> list[UpstreamState]:
    return [s for s in states if s.condition == condition and s.active < s.limit]


def _less_loaded(one: UpstreamState, other: UpstreamState) -> bool:
    # As each would be with this request: so at rest the heavier one is preferred.
    return (one.active + 1) * other.weight < (other.active + 1) * one.weight


def _hash64(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def _mix(value: int) -> int:
    """The finaliser of SplitMix64: every bit of the input moves half of the output's."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
