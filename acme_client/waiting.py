"""Waiting for one's turn with a lock of the store, which another process may hold.

A lock there is taken at once or not at all, so that nothing blocks a thread; whoever wants to wait
tries again, for as often as is reasonable for what is done under that lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from acme_client.clock import Clock
from acme_client.errors import AcmeClientError, LockHeld

T = TypeVar("T")


async def in_turn(
    call: Callable[[], Awaitable[T]],
    clock: Clock,
    *,
    every: float,
    tries: int,
    too_long: AcmeClientError,
) -> T:
    """Do what takes a lock; while that is held, again ``every`` so many seconds.

    ``too_long`` is raised when it was held at each of the tries.
    """
    for _ in range(tries):
        try:
            return await call()
        except LockHeld:
            await clock.sleep(every)
    raise too_long
