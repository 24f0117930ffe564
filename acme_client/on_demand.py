"""Certificates for names that nobody configured, when they are first asked for.

A handshake with an unknown name is a request by a stranger. What becomes of it, in this order,
each step cheaper than the next::

    1. a name that is no name                          refused
    2. a name in care                                  its certificate comes, or its back-off holds
    3. a name refused lately                           refused from memory
    4. a question about it is under way                 no second one
    5. too many questions wait                          refused, and nothing is remembered
    6. ``ask`` says no, or nothing                      refused, remembered (no: longer)
    7. as many new names as an hour may have           refused until there is room again
    8. taken into the manager's care                   an order

So a flood of made-up names costs one question each, at a bounded pace and in bounded memory, and
the CA hears of none of them. The cap per hour is kept in the store: a restart does not lift it.

A name that has its certificate is asked about again once a day; after a no its certificate is
renewed no more, and removed. Without an answer everything stays as it is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.abc

from acme_client.ask import Ask, AskFailed
from acme_client.clock import Clock
from acme_client.directories import Limit
from acme_client.documents import read_or_set_aside, to_date
from acme_client.errors import LockHeld, RequestError, StoreError
from acme_client.ledger import Charge, Ledger
from acme_client.manager import CertificateManager
from acme_client.names import ip_address, is_wildcard, normalise
from acme_client.request import CertificateRequest
from acme_client.store.interface import Store
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

FOLDER = "on-demand"
LEDGER_DOCUMENT = "ledger/on-demand"

QUESTIONS = 8
"""Asked at a time."""
WAITING_QUESTIONS = 256
REMEMBERED = 10_000
"""Answers kept; the oldest go first."""
NO_ANSWER_SECONDS = 10.0
"""How long a name is refused for which ``ask`` had no answer."""

ASK_AGAIN = timedelta(days=1)
LOOK_SECONDS = 600.0
"""How often it is looked whose day is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandLimits:
    """What strangers may cause."""

    remember_yes: float = 3600.0
    remember_no: float = 300.0
    names_per_hour: int = 60


@dataclass(frozen=True, slots=True)
class _HourlyNames:
    """The ledger of new names, and the cap it was kept under."""

    ledger: Ledger
    names_per_hour: int | None

    def to_json(self) -> dict[str, Any]:
        return {**self.ledger.to_json(), "names_per_hour": self.names_per_hour}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> _HourlyNames:
        # Documents of earlier versions do not have the cap.
        count = document.get("names_per_hour")
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ValueError(f"names_per_hour: {count!r}")
        return cls(Ledger.from_json(document), count)


def _per_hour(count: int) -> Limit:
    return Limit(count, timedelta(hours=1))


def remember(store: Store, name: str, request_id: str, asked_at: datetime) -> None:
    """Write down that a name is ours, so that it is tended from the next start on."""
    store.save_document(f"{FOLDER}/{request_id}", {"name": name, "asked_at": asked_at.isoformat()})


def remembered(store: Store) -> list[tuple[str, datetime]]:
    """The names that were written down, and when they were asked about."""
    found = []
    for path in store.document_names(FOLDER):
        known = read_or_set_aside(
            store, path, lambda document: (str(document["name"]), to_date(document["asked_at"]))
        )
        if known is None:
            known = _recovered(store, path.removeprefix(f"{FOLDER}/"))
        if known is not None:
            found.append(known)
    return found


def _recovered(store: Store, request_id: str) -> tuple[str, datetime] | None:
    """A name that has its certificate is ours, whatever became of what was written down."""
    stored = store.load_certificate(request_id)
    if stored is None:
        return None
    name, asked_at = stored.names[0], stored.saved_at
    remember(store, name, request_id, asked_at)
    return name, asked_at


@dataclass(slots=True)
class Answers:
    """Answers about names, until they are too old or too many."""

    limits: OnDemandLimits
    _known: OrderedDict[str, tuple[bool, float]] = field(default_factory=OrderedDict)

    def note(self, name: str, answer: bool, now: float, seconds: float | None = None) -> None:
        keep = self.limits.remember_yes if answer else self.limits.remember_no
        self._known.pop(name, None)
        self._known[name] = (answer, now + (keep if seconds is None else seconds))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def get(self, name: str, now: float) -> bool | None:
        answer, until = self._known.get(name, (None, 0.0))
        return answer if now < until else None

    def __len__(self) -> int:
        return len(self._known)


class OnDemand:
    """See the module's docstring. ``run`` beside the manager's ``run``.

    Args:
        ask: whether a name is ours.
        manager: takes the names into care.
        make_request: what is asked for; None where the server would not serve the name.
        refused: called with a name that gets no certificate now.
        withdrawn: called with a name that had one and is no longer ours.
    """

    def __init__(
        self,
        *,
        ask: Ask,
        manager: CertificateManager,
        make_request: Callable[[str], CertificateRequest | None],
        store: Store,
        clock: Clock,
        refused: Callable[[str], None],
        withdrawn: Callable[[str], None],
        limits: OnDemandLimits | None = None,
    ) -> None:
        self._ask = ask
        self._manager = manager
        self._make_request = make_request
        self._store = store
        self._clock = clock
        self._refused = refused
        self._withdrawn = withdrawn
        self._limits = limits or OnDemandLimits()
        self.answers = Answers(self._limits)
        self._in_care: dict[str, CertificateRequest] = {}
        self._asked_at: dict[str, datetime] = {}
        self._asking: set[str] = set()
        self._counting = anyio.Lock()
        self._wishes: deque[str] = deque()
        self._wished = anyio.Semaphore(0)
        self._group: anyio.abc.TaskGroup | None = None

    async def run(self) -> None:
        """Answer wishes until cancelled."""
        await self.load()
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                for _ in range(QUESTIONS):
                    group.start_soon(self._answer_wishes)
                group.start_soon(self._ask_again)
                await anyio.sleep_forever()
            finally:
                self._group = None

    def want(self, name: str) -> None:
        """Somebody asked for this name; ``refused`` or the manager's ``on_installed`` follows."""
        try:
            normal = normalise(name)
        except RequestError:
            normal = ""
        if normal != name or is_wildcard(name) or ip_address(name) or "." not in name:
            self._refused(name)
        elif name in self._in_care:
            self._look_at(name)
        elif self.answers.get(name, self._clock.monotonic()) is False:
            self._refused(name)
        elif name in self._asking:
            return  # its answer is on the way
        elif len(self._wishes) >= WAITING_QUESTIONS:
            self._refused(name)
        else:
            self._asking.add(name)
            self._wishes.append(name)
            self._wished.release()

    def installed(self, certificate_id: str) -> None:
        """A certificate is in the store: from now on its name survives a restart."""
        for name, request in self._in_care.items():
            if certificate_id == request.id and self._group is not None:
                self._group.start_soon(self._save, name)
                return

    def failed(self, names: tuple[str, ...]) -> None:
        """An order came to nothing; the manager tries again in its own time."""
        for name in names:
            if name in self._in_care:
                self._refused(name)

    def requests(self) -> list[CertificateRequest]:
        """Those in care."""
        return list(self._in_care.values())

    # Wishes.

    async def _answer_wishes(self) -> None:
        while True:
            await self._wished.acquire()
            name = self._wishes.popleft()
            try:
                if not await self._grant(name):
                    self._refused(name)
            except StoreError as error:
                logger.error("%s: %s", name, error)
                self._refused(name)
            finally:
                self._asking.discard(name)

    async def _grant(self, name: str) -> bool:
        request = self._make_request(name)
        if request is None or not await self._is_ours(name):
            return False
        async with self._counting:
            has_room = await on_disk(self._take_of_the_hour)
        if not has_room:
            logger.warning(
                "%s: refused; %d new names in an hour are the cap (on_demand.names_per_hour)",
                name,
                self._limits.names_per_hour,
            )
            return False
        self._asked_at[name] = self._clock.now()
        self._take(name, request)
        return True

    async def _is_ours(self, name: str) -> bool:
        known = self.answers.get(name, self._clock.monotonic())
        if known is not None:
            return known
        try:
            answer = await self._ask(name)
        except AskFailed as error:
            logger.warning("%s: no answer whether it is ours: %s", name, error)
            self.answers.note(name, False, self._clock.monotonic(), NO_ANSWER_SECONDS)
            return False
        self.answers.note(name, answer, self._clock.monotonic())
        return answer

    def _take_of_the_hour(self) -> bool:
        count = self._limits.names_per_hour
        charge = Charge("names", _per_hour(count), "new names on demand")
        now = self._clock.now()
        found = read_or_set_aside(self._store, LEDGER_DOCUMENT, _HourlyNames.from_json)
        ledger = Ledger() if found is None else found.ledger
        if found is not None and found.names_per_hour is not None:
            ledger = ledger.under(charge, _per_hour(found.names_per_hour), now)
        if ledger.obstacle((charge,), now) is not None:
            return False
        after = _HourlyNames(ledger.charge((charge,), now).tidied(now), count)
        self._store.save_document(LEDGER_DOCUMENT, after.to_json())
        return True

    def _take(self, name: str, request: CertificateRequest) -> None:
        try:
            self._manager.add_request(request)
        except RequestError as error:
            logger.error("%s: %s", name, error)
            self._refused(name)
            return
        self._in_care[name] = request

    def _look_at(self, name: str) -> None:
        """A name in care, asked for again: is its order under way, or does it wait?"""
        for status in self._manager.status_of(self._in_care[name]):
            if status.stored is None and status.plan.at > self._clock.now():
                self._refused(name)
                return

    # Memory.

    async def load(self) -> None:
        """Take into care what the store remembers: at the start, and when others added to it."""
        try:
            known = await on_disk(lambda: remembered(self._store))
        except StoreError as error:
            logger.error("names on demand: %s", error)
            return
        for name, asked_at in known:
            request = self._make_request(name)
            if request is not None and name not in self._in_care:
                self._asked_at[name] = asked_at
                self._take(name, request)

    async def _save(self, name: str) -> None:
        request, asked_at = self._in_care.get(name), self._asked_at.get(name)
        if request is None or asked_at is None:
            return
        try:
            await on_disk(lambda: remember(self._store, name, request.id, asked_at))
        except StoreError as error:
            logger.error("%s: %s", name, error)

    # Afterwards.

    async def _ask_again(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.review()

    async def review(self) -> None:
        """Ask again about those whose last yes is a day old."""
        now = self._clock.now()
        for name, asked_at in sorted(self._asked_at.items(), key=lambda item: item[1]):
            if now - asked_at < ASK_AGAIN:
                return
            try:
                ours = await self._ask(name)
            except AskFailed as error:
                logger.info("%s: no answer whether it is still ours: %s", name, error)
                continue
            self.answers.note(name, ours, self._clock.monotonic())
            if ours and self._has_certificate(name):
                self._asked_at[name] = now
                await self._save(name)
            else:
                await self._forget(name, keep=ours)

    def _has_certificate(self, name: str) -> bool:
        statuses = self._manager.status_of(self._in_care[name])
        return any(status.stored is not None for status in statuses)

    async def _forget(self, name: str, *, keep: bool) -> None:
        """Out of care; unless ``keep``, its certificate goes too, so that nobody serves it."""
        request = self._in_care.pop(name)
        del self._asked_at[name]
        self._manager.remove_request(request)
        logger.info("%s: %s", name, "given up" if keep else "no longer ours")

        def remove() -> None:
            self._store.delete_document(f"{FOLDER}/{request.id}")
            for certificate_id in () if keep else request.certificate_ids:
                with self._store.lock(certificate_id):
                    self._store.delete_certificate(certificate_id)

        try:
            await on_disk(remove)
        except LockHeld as error:
            logger.info("%s: its certificate stays: %s", name, error)
        except StoreError as error:
            logger.error("%s: %s", name, error)
        if not keep:
            self._withdrawn(name)
