"""Names that nobody configured: who gets a certificate, who is asked, and what a flood costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from acme_client.ask import AskFailed
from acme_client.errors import RequestError, ValidationFailed
from acme_client.hooks import CertificateEvent, Hook
from acme_client.manager import CertificateManager
from acme_client.on_demand import (
    NO_ANSWER_SECONDS,
    QUESTIONS,
    REMEMBERED,
    WAITING_QUESTIONS,
    Answers,
    OnDemand,
    OnDemandLimits,
    remember,
    remembered,
)
from acme_client.request import CertificateRequest
from acme_client.store.files import FileStore
from tests.acme_client.support import DAY, HOUR, START, FakeClock, ScriptedIssuer, settle

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]


class Served:
    """A manager and names on demand, on a clock that stands still."""

    def __init__(
        self, folder: Path, limits: OnDemandLimits | None = None, clock: FakeClock | None = None
    ) -> None:
        self.clock = clock or FakeClock()
        self.store = FileStore(folder, self.clock.now)
        self.issuer = ScriptedIssuer(self.clock)
        self.asked: list[str] = []
        self.installed: list[str] = []
        self.refused: list[str] = []
        self.withdrawn: list[str] = []
        self.no_answer = False
        self.ours = {"a.example.com", "b.example.com", "c.example.com"}
        self.hold = anyio.Event()
        self.hold.set()
        manager = CertificateManager(
            requests=[],
            issuers=[self.issuer],
            store=self.store,
            clock=self.clock,
            on_installed=self._installed,
            hooks=[Hook(run=self._failed, events=("failed",))],
        )
        self.manager = manager
        self.names = OnDemand(
            ask=self._ask,
            manager=manager,
            make_request=self._request,
            store=self.store,
            clock=self.clock,
            refused=self.refused.append,
            withdrawn=self.withdrawn.append,
            limits=limits,
        )

    async def _ask(self, name: str) -> bool:
        self.asked.append(name)
        await self.hold.wait()
        if self.no_answer:
            raise AskFailed("the application is being restarted")
        return name in self.ours

    def _request(self, name: str) -> CertificateRequest | None:
        return None if name.endswith(".other.example") else CertificateRequest(names=(name,))

    def _installed(self, certificate_id: str) -> None:
        self.installed.append(certificate_id)
        self.names.installed(certificate_id)

    async def _failed(self, event: CertificateEvent) -> None:
        self.names.failed(event.names)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.manager.run)
            group.start_soon(self.names.run)
            await settle()
            yield
            group.cancel_scope.cancel()

    async def want(self, *names: str) -> None:
        for name in names:
            self.names.want(name)
        await settle()


async def test_a_name_that_is_ours_gets_a_certificate(tmp_path: Path) -> None:
    served = Served(tmp_path)
    async with served.running():
        await served.want("a.example.com")
        assert served.installed == ["a.example.com"]
        assert served.store.load_certificate("a.example.com") is not None
        assert remembered(served.store) == [("a.example.com", START)]
        await served.want("a.example.com")
        assert served.asked == ["a.example.com"]
        assert served.refused == []


async def test_a_name_that_is_not_ours_costs_the_ca_nothing(tmp_path: Path) -> None:
    served = Served(tmp_path, OnDemandLimits(remember_no=300))
    async with served.running():
        await served.want("x.example.com")
        await served.want("x.example.com")
        assert served.asked == ["x.example.com"]
        assert served.refused == ["x.example.com", "x.example.com"]
        await served.clock.advance(timedelta(seconds=301))
        await served.want("x.example.com")
        assert len(served.asked) == 2
        assert served.issuer.tasks == []


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "192.0.2.1", "::1", "*.example.com", "A.example.com", "a_b.example", "a..b"],
)
async def test_what_is_no_name_is_not_asked_about(tmp_path: Path, name: str) -> None:
    served = Served(tmp_path)
    async with served.running():
        await served.want(name)
        assert (served.asked, served.refused) == ([], [name])


async def test_a_name_that_no_site_stands_for(tmp_path: Path) -> None:
    served = Served(tmp_path)
    async with served.running():
        await served.want("a.other.example")
        assert (served.asked, served.refused) == ([], ["a.other.example"])


async def test_one_question_for_all_who_wait(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.hold = anyio.Event()
    async with served.running():
        await served.want("a.example.com", "a.example.com")
        await served.want("a.example.com")
        assert served.asked == ["a.example.com"]
        served.hold.set()
        await settle()
        assert len(served.issuer.tasks) == 1


async def test_no_answer_is_remembered_shortly(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.no_answer = True
    async with served.running():
        await served.want("a.example.com")
        await served.want("a.example.com")
        assert (served.asked, len(served.refused)) == (["a.example.com"], 2)
        served.no_answer = False
        await served.clock.advance(timedelta(seconds=NO_ANSWER_SECONDS))
        await served.want("a.example.com")
        assert served.installed == ["a.example.com"]


async def test_a_flood_waits_in_bounded_room(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.hold = anyio.Event()
    async with served.running():
        await served.want(*(f"n{number}.example.com" for number in range(QUESTIONS)))
        await served.want(*(f"m{number}.example.com" for number in range(WAITING_QUESTIONS + 50)))
        assert len(served.asked) == QUESTIONS
        assert len(served.refused) == 50
        served.hold.set()
        await settle()
        assert len(served.asked) == QUESTIONS + WAITING_QUESTIONS
        assert served.issuer.tasks == []


async def test_the_cap_per_hour_survives_a_restart(tmp_path: Path) -> None:
    limits = OnDemandLimits(names_per_hour=2)
    first = Served(tmp_path, limits)
    async with first.running():
        await first.want("a.example.com", "b.example.com")
        assert len(first.installed) == 2
    second = Served(tmp_path, limits, first.clock)
    async with second.running():
        await second.want("c.example.com")
        assert (second.installed, second.refused) == ([], ["c.example.com"])
        await second.clock.advance(HOUR)
        await second.want("c.example.com")
        assert second.installed == ["c.example.com"]


async def test_a_raised_cap_helps_at_once(tmp_path: Path) -> None:
    first = Served(tmp_path, OnDemandLimits(names_per_hour=2))
    async with first.running():
        await first.want("a.example.com", "b.example.com", "c.example.com")
        assert (len(first.installed), first.refused) == (2, ["c.example.com"])
    second = Served(tmp_path, OnDemandLimits(names_per_hour=3), first.clock)
    async with second.running():
        await second.want("c.example.com")
        assert (second.installed, second.refused) == (["c.example.com"], [])
        # One more, and no more than that.
        second.ours.add("d.example.com")
        await second.want("d.example.com")
        assert second.refused == ["d.example.com"]


async def test_restarts_that_change_nothing_lift_no_cap(tmp_path: Path) -> None:
    limits, clock = OnDemandLimits(names_per_hour=2), FakeClock()
    for name, installed in (("a", 1), ("b", 1), ("c", 0), ("c", 0)):
        served = Served(tmp_path, limits, clock)
        async with served.running():
            await served.want(f"{name}.example.com")
            assert len(served.installed) == installed


async def test_a_restart_tends_what_it_had_without_a_question(tmp_path: Path) -> None:
    first = Served(tmp_path)
    async with first.running():
        await first.want("a.example.com")
    second = Served(tmp_path, clock=first.clock)
    async with second.running():
        assert [request.names for request in second.names.requests()] == [("a.example.com",)]
        # Renewed like any other, on the way being asked about once a day.
        await second.clock.advance(70 * DAY)
        assert second.installed == ["a.example.com"]
        assert len(second.asked) >= 60
        assert second.refused == []


async def test_a_failed_order_refuses_and_backs_off(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.issuer.script = lambda task: ValidationFailed("no")
    async with served.running():
        await served.want("a.example.com")
        assert served.refused == ["a.example.com"]
        await served.want("a.example.com")
        assert served.refused == ["a.example.com"] * 2
        assert len(served.issuer.tasks) == 1
        assert remembered(served.store) == []
        # What has no certificate after a day is given up.
        await served.clock.advance(DAY + HOUR)
        assert served.names.requests() == []
        assert served.withdrawn == []


async def test_a_name_that_is_no_longer_ours_is_withdrawn(tmp_path: Path) -> None:
    served = Served(tmp_path)
    async with served.running():
        await served.want("a.example.com", "b.example.com")
        served.ours.discard("a.example.com")
        await served.clock.advance(DAY + HOUR)
        assert served.withdrawn == ["a.example.com"]
        assert served.store.load_certificate("a.example.com") is None
        assert served.store.load_certificate("b.example.com") is not None
        assert [name for name, _ in remembered(served.store)] == ["b.example.com"]


async def test_without_an_answer_everything_stays(tmp_path: Path) -> None:
    served = Served(tmp_path)
    async with served.running():
        await served.want("a.example.com")
        served.no_answer = True
        await served.clock.advance(3 * DAY)
        assert served.withdrawn == []
        assert served.store.load_certificate("a.example.com") is not None


async def test_what_others_wrote_down_is_taken_into_care(tmp_path: Path) -> None:
    served = Served(tmp_path)
    async with served.running():
        remember(served.store, "c.example.com", "c.example.com", served.clock.now())
        await served.names.load()
        await settle()
        assert served.installed == ["c.example.com"]
        assert served.asked == []


async def test_a_store_that_fails_refuses(tmp_path: Path) -> None:
    (tmp_path / "documents").write_text("no folder")
    served = Served(tmp_path)
    async with served.running():
        await served.want("a.example.com")
        assert served.refused == ["a.example.com"]
        (tmp_path / "documents").unlink()
        await served.want("a.example.com")
        assert served.installed == ["a.example.com"]


@pytest.mark.parametrize("document", ["on-demand/a.example.com", "ledger/on-demand"])
async def test_a_document_that_is_none_ends_nothing(tmp_path: Path, document: str) -> None:
    served = Served(tmp_path)
    served.store.save_document(document, {"odd": True})
    async with served.running():
        await served.want("b.example.com")
        assert (served.installed, served.refused) == (["b.example.com"], [])
    assert (tmp_path / "documents" / f"{document}.json.damaged").exists()


async def test_a_name_whose_document_is_damaged_is_tended_on(tmp_path: Path) -> None:
    first = Served(tmp_path)
    async with first.running():
        await first.want("a.example.com", "b.example.com")
    (tmp_path / "documents" / "on-demand" / "a.example.com.json").write_bytes(b"")
    second = Served(tmp_path, clock=first.clock)
    async with second.running():
        assert {r.id for r in second.names.requests()} == {"a.example.com", "b.example.com"}
        await second.clock.advance(70 * DAY)
        assert sorted(second.installed) == ["a.example.com", "b.example.com"]


async def test_a_request_that_the_manager_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: CertificateRequest) -> None:
        raise RequestError("no such issuer")

    served = Served(tmp_path)
    monkeypatch.setattr(served.manager, "add_request", refuse)
    async with served.running():
        await served.want("a.example.com")
        assert served.refused == ["a.example.com"]


async def test_memory_is_bounded() -> None:
    answers = Answers(OnDemandLimits())
    for number in range(REMEMBERED + 10):
        answers.note(f"n{number}", answer=False, now=0.0)
    assert len(answers) == REMEMBERED
    assert answers.get("n0", 0.0) is None
    assert answers.get(f"n{REMEMBERED}", 0.0) is False
