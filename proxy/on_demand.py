"""Sites that come into being when a client first asks for their name: the worker's side.

For a name that no site is configured under, in this order:

1. it is served already: at once;
2. it was refused a moment ago: refused again, from memory;
3. its certificate is in the store (another worker's client was faster; a restart): loaded;
4. the manager is told that it is wanted, and the handshake waits: for the certificate, for a no,
   or for the end of its time.

All of one name share one wait. How many names may wait, be served and be remembered as refused is
bounded, so that a flood of made-up names costs each of them a look into the store and a line to
the manager, and nobody else anything. The least recently used site makes room for a new one and
comes back from the store when it is asked for again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from proxy.errors import ClientHelloError
from proxy.limits import SECONDS
from proxy.sites import ServedSite
from proxy.tls.alerts import Alert

logger = logging.getLogger(__name__)

MAX_SERVED: Final = 4000
"""Names with a context of their own, per worker: about 100 MiB with an ECDSA chain each."""
MAX_REFUSED: Final = 10_000
REFUSED_SECONDS: Final = 10 * SECONDS
"""The manager remembers for longer; this only spares it the questions."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A name that a site stands for: what would serve it, and its certificates' ids."""

    served: ServedSite
    certificate_ids: tuple[str, ...]
    not_after: datetime | None = None
    """Of the certificate that was loaded last; set by whoever fetches it."""

    def usable(self, today: datetime) -> bool:
        if self.served.context.current is None or self.not_after is None:
            return False
        return today < self.not_after


class NamesOnDemand:
    """See the module's docstring.

    Args:
        make: the candidate for a name, or None where no site stands for it.
        want: tells the manager.
        wait: how long a handshake waits, in seconds.
        waiting: names for which handshakes wait at a time.
        now: seconds that never jump.
        today: the date.
        added, removed: called with what begins and ceases to be served.
    """

    def __init__(
        self,
        *,
        make: Callable[[str], Candidate | None],
        want: Callable[[str], None],
        wait: float,
        waiting: int,
        now: Callable[[], float],
        today: Callable[[], datetime],
        added: Callable[[Candidate], None],
        removed: Callable[[Candidate], None],
        max_served: int = MAX_SERVED,
    ) -> None:
        self._make = make
        self._want = want
        self._wait = wait
        self._waiting = waiting
        self._now = now
        self._today = today
        self._added = added
        self._removed = removed
        self._max_served = max_served
        self._served: OrderedDict[str, Candidate] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._coming: dict[str, asyncio.Task[ServedSite | None]] = {}
        self._bringing: dict[str, Candidate] = {}
        self._answers: dict[str, asyncio.Future[bool]] = {}
        self._names: dict[str, str] = {}
        """By certificate id, of what is served and of what is waited for."""

    def __repr__(self) -> str:
        return (
            f"<NamesOnDemand {len(self._served)} served, {len(self._coming)} waited for, "
            f"{len(self._refused)} refused>"
        )

    def served(self, name: str) -> ServedSite | None:
        """The site of a name, if it can be served at once."""
        candidate = self._served.get(name)
        if candidate is None or not candidate.usable(self._today()):
            return None
        self._served.move_to_end(name)
        return candidate.served

    async def bring(self, name: str) -> ServedSite:
        """The site of a name, as soon as it can be had. Raises ClientHelloError."""
        if self._refused.get(name, 0.0) > self._now():
            raise _unknown(name)
        coming = self._coming.get(name)
        if coming is None:
            if len(self._coming) >= self._waiting:
                raise ClientHelloError("too many names are waited for", Alert.INTERNAL_ERROR)
            candidate = self._make(name)
            if candidate is None:
                raise _unknown(name)
            coming = asyncio.get_running_loop().create_task(self._bring(name, candidate))
            self._coming[name] = coming
            coming.add_done_callback(lambda task: self._coming.pop(name, None))
        served = await asyncio.shield(coming)
        if served is None:
            raise _unknown(name)
        return served

    def installed(self, certificate_id: str) -> ServedSite | None:
        """A certificate is new in the store; returns what serves it here and has to load it."""
        name = self._names.get(certificate_id)
        if name is None:
            return None
        self._answer(name, True)
        candidate = self._served.get(name) or self._bringing.get(name)
        return None if candidate is None else candidate.served

    def refused(self, name: str) -> None:
        """The manager does not get a certificate for this name now."""
        if self._answer(name, False) or name not in self._served:
            self._note_refused(name)
        elif not self._served[name].usable(self._today()):
            self._drop(name)

    def withdrawn(self, name: str) -> None:
        """The name is no longer ours."""
        if name in self._served:
            self._drop(name)
        self._note_refused(name)

    def close(self) -> None:
        for task in list(self._coming.values()):
            task.cancel()

    async def _bring(self, name: str, candidate: Candidate) -> ServedSite | None:
        served = candidate.served
        for certificate_id in candidate.certificate_ids:
            self._names[certificate_id] = name
        self._bringing[name] = candidate
        try:
            await served.load()
            if not candidate.usable(self._today()):
                if not await self._wait_for(name):
                    return None
                await served.load()
            if not candidate.usable(self._today()):
                return None
            self._add(name, candidate)
            return served
        finally:
            del self._bringing[name]
            if self._served.get(name) is not candidate:
                self._forget_ids(candidate)

    async def _wait_for(self, name: str) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        try:
            self._want(name)
            async with asyncio.timeout(self._wait):
                return await answer
        except TimeoutError:
            logger.info("%s: its certificate did not come within %g s", name, self._wait)
            return False
        finally:
            del self._answers[name]

    def _answer(self, name: str, yes: bool) -> bool:
        """Tell those who wait; whether anybody did."""
        answer = self._answers.get(name)
        if answer is None or answer.done():
            return False
        answer.set_result(yes)
        return True

    def _add(self, name: str, candidate: Candidate) -> None:
        if name in self._served:
            self._drop(name)
        self._refused.pop(name, None)
        self._served[name] = candidate
        for certificate_id in candidate.certificate_ids:
            self._names[certificate_id] = name
        self._added(candidate)
        if len(self._served) > self._max_served:
            self._drop(next(iter(self._served)))

    def _drop(self, name: str) -> None:
        candidate = self._served.pop(name)
        self._forget_ids(candidate)
        self._removed(candidate)

    def _forget_ids(self, candidate: Candidate) -> None:
        for certificate_id in candidate.certificate_ids:
            self._names.pop(certificate_id, None)

    def _note_refused(self, name: str) -> None:
        self._refused.pop(name, None)
        self._refused[name] = self._now() + REFUSED_SECONDS
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)


def _unknown(name: str) -> ClientHelloError:
    return ClientHelloError(f"no certificate for {name}", Alert.UNRECOGNIZED_NAME)
