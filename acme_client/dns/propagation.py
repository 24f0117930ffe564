"""Waiting until a zone's authoritative servers give a record out. The decision is pure.

A CA may ask any of a zone's servers, so all of them must have the record before it is told to
look. A server that never answers is another matter: the CA's resolver passes it over, and so do
we - but only after several rounds of silence, and only when another one answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import anyio

from acme_client.dns.lookup import AuthoritativeServer, Lookup, LookupFailed
from acme_client.errors import NotPresented

FIRST_PAUSE = 1.0
LAST_PAUSE = 10.0
PAUSE_GROWTH = 1.5
SILENT_ROUNDS = 3
"""A server that is silent in so many rounds running is passed over."""


class Sight(StrEnum):
    """What a server says of the record."""

    HAS = "has it"
    LACKS = "does not have it"
    SILENT = "does not answer"


@dataclass(slots=True)
class Watch:
    """What the servers have said so far."""

    last: dict[str, Sight] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    """Rounds of silence running, by server."""

    def note(self, seen: Mapping[str, Sight]) -> None:
        for server, sight in seen.items():
            self.last[server] = sight
            self.silent[server] = self.silent.get(server, 0) + 1 if sight is Sight.SILENT else 0

    @property
    def complete(self) -> bool:
        """All that answer have it, one does answer, and the others have had their time."""
        sights = set(self.last.values())
        return (
            Sight.HAS in sights
            and Sight.LACKS not in sights
            and all(
                self.silent[server] >= SILENT_ROUNDS
                for server, sight in self.last.items()
                if sight is Sight.SILENT
            )
        )

    def __str__(self) -> str:
        return ", ".join(f"{server} {sight}" for server, sight in sorted(self.last.items()))


def pauses() -> Iterable[float]:
    """The seconds between rounds: short at first, because most zones are quick."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * PAUSE_GROWTH, LAST_PAUSE)


class Sleep(Protocol):
    def __call__(self, seconds: float, /) -> Awaitable[None]: ...


async def wait_until_served(
    lookup: Lookup,
    name: str,
    value: str,
    *,
    seconds: float,
    sleep: Sleep = anyio.sleep,
    on_round: Callable[[Watch], None] = lambda watch: None,
) -> None:
    """Return when every authoritative server that answers has the record; else ``NotPresented``.

    ``name`` is where the record is, aliases followed already.
    """
    watch = Watch()
    with anyio.move_on_after(seconds):
        zone = await lookup.zone_of(name)
        servers = await lookup.servers_of(zone)
        for pause in pauses():
            watch.note(await _round(lookup, servers, name, value))
            on_round(watch)
            if watch.complete:
                return
            await sleep(pause)
    state = str(watch) or "its zone's servers were not found in that time"
    raise NotPresented(f"after {seconds:g} s the record at {name} is not everywhere: {state}")


async def _round(
    lookup: Lookup, servers: Iterable[AuthoritativeServer], name: str, value: str
) -> dict[str, Sight]:
    """Ask all servers at once."""
    seen: dict[str, Sight] = {}

    async def ask(server: AuthoritativeServer) -> None:
        try:
            texts = await lookup.texts_at(server, name)
        except LookupFailed:
            seen[str(server)] = Sight.SILENT
        else:
            seen[str(server)] = Sight.HAS if value in texts else Sight.LACKS

    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(ask, server)
    return seen
