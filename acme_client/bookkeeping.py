"""The ledger of one account, kept in the store: read, changed and written under a lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import anyio

from acme_client.documents import read_if_sound, read_or_set_aside
from acme_client.errors import BudgetSpent, LockHeld
from acme_client.issuer import Environment
from acme_client.ledger import Charge, Ledger, Obstacle
from acme_client.waiting import in_turn
from acme_client.worker import on_disk

WORTH_WAITING = timedelta(seconds=30)
"""An obstacle this short is waited for; a longer one ends the attempt."""

LOCK_WAIT = 0.05
LOCK_TRIES = 200


class Bookkeeper:
    """Reserves what an order costs before it is sent."""

    def __init__(self, environment: Environment, slug: str) -> None:
        self._environment = environment
        self._document = f"ledger/{slug}"
        self._lock_name = f"ledger-{slug}"
        self._turn = anyio.Lock()

    async def reserve(
        self,
        charges: tuple[Charge, ...],
        *,
        scopes: tuple[str, ...],
        and_room_for: tuple[Charge, ...] = (),
    ) -> None:
        """Charge the ledger, or raise BudgetSpent with the date when that is possible.

        ``and_room_for`` is not charged now, but must be possible: it is what a failure costs.
        """
        clock = self._environment.clock
        while True:
            found: Obstacle | None = None

            def reserve(ledger: Ledger) -> Ledger:
                nonlocal found
                now = clock.now()
                found = ledger.block_on(scopes, now) or ledger.obstacle(charges + and_room_for, now)
                return ledger if found else ledger.charge(charges, now)

            await self._change(reserve)
            if found is None:
                return
            wait = found.until - clock.now()
            if wait > WORTH_WAITING:
                raise BudgetSpent(
                    f"not sent, the CA would refuse: {found.why}; "
                    f"from {found.until:%Y-%m-%d %H:%M} UTC on",
                    retry_at=found.until,
                )
            await clock.sleep(max(wait.total_seconds(), LOCK_WAIT))

    async def charge(self, charges: tuple[Charge, ...]) -> None:
        """Note what has happened whether it was allowed or not."""
        if charges:
            await self._change(lambda book: book.charge(charges, self._environment.clock.now()))

    async def refund(self, charges: tuple[Charge, ...]) -> None:
        """Take back what did not come about."""
        if charges:
            await self._change(lambda book: book.refund(charges))

    async def block(self, scope: str, obstacle: Obstacle) -> None:
        await self._change(lambda book: book.block(scope, obstacle))

    async def ledger(self) -> Ledger:
        """As it is; nothing is changed, not even where it is damaged."""
        store = self._environment.store
        found = await on_disk(lambda: read_if_sound(store, self._document, Ledger.from_json))
        return found or Ledger()

    async def _change(self, change: Callable[[Ledger], Ledger]) -> None:
        store, clock = self._environment.store, self._environment.clock

        def read_change_write() -> None:
            with store.lock(self._lock_name):
                before = self._read()
                after = change(before)
                if after != before:
                    store.save_document(self._document, after.tidied(clock.now()).to_json())

        async with self._turn:
            await in_turn(
                lambda: on_disk(read_change_write),
                clock,
                every=LOCK_WAIT,
                tries=LOCK_TRIES,
                too_long=LockHeld(f"another process holds {self._lock_name} for too long"),
            )

    def _read(self) -> Ledger:
        store = self._environment.store
        return read_or_set_aside(store, self._document, Ledger.from_json) or Ledger()
