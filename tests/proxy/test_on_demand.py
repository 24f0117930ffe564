"""Sites that come into being when their name is asked for: the worker's side."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from proxy.errors import ClientHelloError
from proxy.on_demand import MAX_REFUSED, REFUSED_SECONDS, Candidate, NamesOnDemand
from proxy.routing import SiteRoutes
from proxy.sites import ServedSite
from proxy.tls.contexts import SiteContext, TlsOptions
from proxy.tls.pem_pair import PemPair, parse_pair

pytestmark = pytest.mark.anyio

CA = trustme.CA()


class Worker:
    """A store that is a dictionary, and a manager that notes what is wanted."""

    def __init__(self, *, wait: float = 20.0, waiting: int = 4, max_served: int = 3) -> None:
        self.stored: dict[str, PemPair] = {}
        self.wanted: asyncio.Queue[str] = asyncio.Queue()
        self.served: list[str] = []
        self.looked_up: list[str] = []
        self.time = 0.0
        self.today = datetime.now(UTC)
        self.names = NamesOnDemand(
            make=self._make,
            want=self.wanted.put_nowait,
            wait=wait,
            waiting=waiting,
            now=lambda: self.time,
            today=lambda: self.today,
            added=lambda candidate: self.served.append(candidate.served.name),
            removed=lambda candidate: self.served.remove(candidate.served.name),
            max_served=max_served,
        )

    def store(self, name: str) -> None:
        identity = CA.issue_cert(name)
        chain = b"".join(part.bytes() for part in identity.cert_chain_pems)
        self.stored[name] = parse_pair(chain, identity.private_key_pem.bytes())

    def _make(self, name: str) -> Candidate | None:
        if name.endswith(".other.example"):
            return None

        async def fetch() -> list[PemPair]:
            self.looked_up.append(name)
            pairs = [self.stored[name]] if name in self.stored else []
            candidate.not_after = min((pair.not_after for pair in pairs), default=None)
            return pairs

        context = SiteContext(TlsOptions(), lazily=True)
        candidate = Candidate(ServedSite(context, SiteRoutes((name,), []), fetch), (name,))
        return candidate


async def refused(awaited: asyncio.Task[ServedSite], match: str = "no certificate") -> None:
    with pytest.raises(ClientHelloError, match=match):
        await awaited


def begin(worker: Worker, name: str) -> asyncio.Task[ServedSite]:
    return asyncio.create_task(worker.names.bring(name))


async def test_what_is_stored_is_served_without_a_wish() -> None:
    worker = Worker()
    worker.store("a.example")
    assert worker.names.served("a.example") is None
    served = await worker.names.bring("a.example")
    assert worker.names.served("a.example") is served
    assert (worker.served, worker.wanted.empty()) == (["a.example"], True)
    assert "1 served" in repr(worker.names)


async def test_handshakes_wait_together_for_what_is_wanted() -> None:
    worker = Worker()
    first, second = begin(worker, "a.example"), begin(worker, "a.example")
    assert await worker.wanted.get() == "a.example"
    worker.store("a.example")
    coming = worker.names.installed("a.example")
    assert (await first) is (await second) is coming
    assert worker.wanted.empty()
    # A renewal: what serves it has to load it.
    assert worker.names.installed("a.example") is await first
    assert worker.names.installed("b.example") is None


async def test_a_no_ends_the_wait_and_is_remembered_shortly() -> None:
    worker = Worker()
    waiting = begin(worker, "a.example")
    await worker.wanted.get()
    worker.names.refused("a.example")
    await refused(waiting)
    await refused(begin(worker, "a.example"))
    assert (worker.looked_up, worker.wanted.empty()) == (["a.example"], True)
    worker.time += REFUSED_SECONDS
    worker.store("a.example")
    assert (await worker.names.bring("a.example")).context.current is not None


async def test_a_name_that_no_site_stands_for() -> None:
    worker = Worker()
    await refused(begin(worker, "a.other.example"))
    assert worker.looked_up == []


async def test_the_wait_ends() -> None:
    worker = Worker(wait=0.01)
    await refused(begin(worker, "a.example"))
    assert "0 waited for" in repr(worker.names)


async def test_so_many_names_may_wait() -> None:
    worker = Worker(waiting=2)
    tasks = [begin(worker, f"n{number}.example") for number in range(2)]
    for _ in tasks:
        await worker.wanted.get()
    await refused(begin(worker, "n2.example"), "too many names")
    worker.names.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_installed_notice_without_a_certificate() -> None:
    worker = Worker()
    waiting = begin(worker, "a.example")
    await worker.wanted.get()
    worker.names.installed("a.example")
    await refused(waiting)


async def test_the_least_recently_used_makes_room() -> None:
    worker = Worker(max_served=2)
    for name in ("a.example", "b.example", "c.example"):
        worker.store(name)
    await worker.names.bring("a.example")
    await worker.names.bring("b.example")
    assert worker.names.served("a.example") is not None
    await worker.names.bring("c.example")
    assert worker.served == ["a.example", "c.example"]
    await worker.names.bring("b.example")
    assert sorted(worker.served) == ["b.example", "c.example"]


async def test_what_has_expired_is_wanted_anew() -> None:
    worker = Worker()
    worker.store("a.example")
    await worker.names.bring("a.example")
    worker.today += timedelta(days=365 * 2000)
    assert worker.names.served("a.example") is None
    waiting = begin(worker, "a.example")
    assert await worker.wanted.get() == "a.example"
    worker.names.refused("a.example")
    await refused(waiting)
    worker.names.refused("a.example")
    assert worker.served == []


async def test_a_failed_renewal_takes_nothing_away() -> None:
    worker = Worker()
    worker.store("a.example")
    served = await worker.names.bring("a.example")
    worker.names.refused("a.example")
    assert worker.names.served("a.example") is served


async def test_what_is_withdrawn_is_served_no_more() -> None:
    worker = Worker()
    worker.store("a.example")
    await worker.names.bring("a.example")
    worker.names.withdrawn("a.example")
    assert worker.served == []
    await refused(begin(worker, "a.example"))
    worker.names.withdrawn("b.example")


async def test_refusals_are_remembered_in_bounded_room() -> None:
    worker = Worker()
    for number in range(MAX_REFUSED + 5):
        worker.names.refused(f"n{number}.example")
    assert f"{MAX_REFUSED} refused" in repr(worker.names)
