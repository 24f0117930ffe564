"""What a pool is told (:class:`PoolOptions`), and what all pools of a worker share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from proxy.clock import CoarseClock
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.head import HeadReader
from proxy.limits import SECONDS, Limits
from proxy.upstream.balance import Policy
from proxy.upstream.health import ActivePolicy, PassivePolicy


class Awake(Protocol):
    """A pool, to the worker."""

    def sweep(self, now: float) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How a route uses its upstreams.

    Attributes:
        policy: see ``balance``.
        hash_by: what ``hash`` looks at: the client's address, a header, a cookie...
        hash_name: ...of this lower-case name.
        weights: one per upstream, or empty for 1 each.
        connections: at most so many exchanges at once per upstream and worker; 0 is unlimited.
        queue: how many exchanges may wait for room, per worker.
        queue_timeout: and for how long, in seconds.
        passive: when failures suspend an upstream.
        active: how each upstream is checked; None for not at all.
        proxy_protocol: 1 or 2 to announce the client to the backend, which then needs a connection
            for each request, because the announcement is made once per connection; 0 for not.
    """

    policy: Policy = "round_robin"
    hash_by: Literal["address", "header", "cookie"] = "address"
    hash_name: bytes = b""
    weights: tuple[int, ...] = ()
    connections: int = 0
    queue: int = 128
    queue_timeout: float = 10 * SECONDS
    passive: PassivePolicy = field(default_factory=PassivePolicy)
    active: ActivePolicy | None = None
    proxy_protocol: Literal[0, 1, 2] = 0


class PoolShared:
    """What all pools of a worker share.

    ``awake`` are the pools that the sweep must look at: of thousands of sites most are asleep.
    ``encoder`` is for requests; the memory of fields it needs differs from that for responses.
    """

    __slots__ = ("awake", "clock", "encoder", "limits", "random", "read_buffer", "reader")

    def __init__(
        self,
        reader: HeadReader,
        limits: Limits,
        clock: CoarseClock,
        random: Callable[[], float],
        read_buffer: memoryview,
    ) -> None:
        self.reader = reader
        self.limits = limits
        self.clock = clock
        self.random = random
        self.read_buffer = read_buffer
        self.encoder = FieldEncoder()
        self.awake: set[Awake] = set()
