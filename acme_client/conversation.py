"""Talking with a CA from the event loop: one request at a time in a worker thread, waits between.

The CA decides how long an order takes; we decide how long we watch. All waiting is by the clock of
the environment and bounded by a monotonic deadline; when that passes, the order is not lost, it is
kept and resumed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from acme_client.authority import Authority
from acme_client.chains import check_download
from acme_client.errors import OrderStuck
from acme_client.issuer import Environment
from acme_client.resources import Authorization, Challenge, Download, Order
from acme_client.worker import at_the_ca

T = TypeVar("T")
Polled = TypeVar("Polled", Order, Authorization)

PATIENCE_SECONDS = 300.0
"""How long one stage of an order (validation, issuance) is watched."""

FIRST_WAIT = 0.25
LONGEST_WAIT = 5.0
LONGEST_WISH = timedelta(seconds=60)
"""A Retry-After on a poll is obeyed up to this."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One account's dealings with one CA."""

    authority: Authority
    environment: Environment

    async def ask(self, call: Callable[[Authority], T]) -> T:
        """Run one request."""
        return await at_the_ca(lambda: call(self.authority))

    async def order(self, url: str) -> Order:
        return await self.ask(lambda authority: authority.order(url))

    async def authorization(self, url: str) -> Authorization:
        return await self.ask(lambda authority: authority.authorization(url))

    async def answer(self, challenge: Challenge) -> None:
        await self.ask(lambda authority: authority.answer(challenge))

    async def download(self, url: str) -> Download:
        found = await self.ask(lambda authority: authority.download(url))
        check_download(found.chain_pem)
        return found

    async def watch(
        self,
        fetch: Callable[[], Awaitable[Polled]],
        unfinished: Callable[[Polled], bool],
        what: str,
    ) -> Polled:
        """Fetch until it is finished; OrderStuck when that takes too long."""
        clock = self.environment.clock
        deadline = clock.monotonic() + PATIENCE_SECONDS
        wait = FIRST_WAIT
        while unfinished(found := await fetch()):
            pause = wait
            if found.retry_after is not None:
                pause = max(pause, min(found.retry_after, LONGEST_WISH).total_seconds())
            if clock.monotonic() + pause > deadline:
                raise OrderStuck(
                    f"{what} is still {found.status} after {PATIENCE_SECONDS:.0f} s; "
                    "the order is kept and resumed"
                )
            await clock.sleep(pause)
            wait = min(wait * 1.5, LONGEST_WAIT)
        return found
