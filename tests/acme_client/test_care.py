"""What is done with a certificate in care, besides issuing it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from acme_client.care import NEVER_SAYS_ASK_AGAIN, Care
from acme_client.compromised import mark_compromised
from acme_client.errors import IssuerUnreachable
from acme_client.hooks import CertificateEvent, Hook
from acme_client.issuer import RenewalInfo
from acme_client.plan import Action
from acme_client.renewal import RenewalWindow
from acme_client.request import CertificateRequest
from acme_client.tended import Tended
from tests.acme_client.support import (
    DAY,
    HOUR,
    MINUTE,
    START,
    FakeClock,
    ScriptedIssuer,
    make_environment,
    make_new,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]


class Setting:
    """One certificate of two issuers, stored."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.environment = make_environment(folder, self.clock)
        self.issuers = tuple(ScriptedIssuer(self.clock, name=name) for name in ("one", "two"))
        self.installed: list[str] = []
        self.events: list[CertificateEvent] = []
        self.care = Care(
            environment=self.environment,
            issuers=self.issuers,
            hooks=(Hook(run=self._note, events=("issued", "failed", "expiring")),),
            on_installed=self.installed.append,
            wake_all=lambda: None,
        )
        self.item = Tended(CertificateRequest(names=("a.example",)), "p256")

    async def _note(self, event: CertificateEvent) -> None:
        self.events.append(event)

    async def store(self, number: int = 0) -> None:
        new = make_new(["a.example"], number=number, directory="two")
        self.environment.store.save_certificate("a.example", new)
        await self.care.reload(self.item)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


async def test_the_issuers_of_a_request(setting: Setting) -> None:
    assert setting.care.issuer_names(setting.item) == ("one", "two")
    setting.item.request = CertificateRequest(names=("a.example",), issuers=("two",))
    assert setting.care.issuer_names(setting.item) == ("two",)


async def test_what_others_store_is_told(setting: Setting) -> None:
    await setting.care.reload(setting.item)
    await setting.store()
    assert setting.installed == ["a.example"]


async def test_a_compromised_key_makes_the_plan(setting: Setting) -> None:
    await setting.store()
    assert setting.care.next_plan(setting.item).action is Action.ASK
    assert setting.item.stored is not None
    key = setting.item.stored.key_fingerprint
    mark_compromised(setting.environment.store, key, START, "leaked")
    await setting.care.reload(setting.item)
    assert setting.care.next_plan(setting.item).reason == "its key is compromised"


async def test_the_issuer_of_the_certificate_is_asked(setting: Setting) -> None:
    await setting.store()
    window = RenewalWindow(START + DAY, START + 2 * DAY)
    setting.issuers[1].info = RenewalInfo(window, START + 3 * HOUR)
    await setting.care.ask(setting.item)
    assert [issuer.asked for issuer in setting.issuers] == [0, 1]
    assert setting.item.state.window == window
    assert setting.item.state.ask_at == START + 3 * HOUR


@pytest.mark.parametrize(
    ("info", "wait"),
    [
        (None, NEVER_SAYS_ASK_AGAIN),
        (IssuerUnreachable("down"), 6 * HOUR),
        (RenewalInfo(None, START - DAY), MINUTE),
    ],
)
async def test_when_it_is_asked_again(
    setting: Setting, info: RenewalInfo | IssuerUnreachable | None, wait: timedelta
) -> None:
    await setting.store()
    setting.issuers[1].info = info
    await setting.care.ask(setting.item)
    assert setting.item.state.ask_at == START + wait


async def test_an_error_keeps_the_window(setting: Setting) -> None:
    await setting.store()
    window = RenewalWindow(START + DAY, START + 2 * DAY)
    setting.issuers[1].info = RenewalInfo(window, START + HOUR)
    await setting.care.ask(setting.item)
    setting.issuers[1].info = IssuerUnreachable("down")
    await setting.care.ask(setting.item)
    assert setting.item.state.window == window


async def test_the_alert(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    await setting.store()
    await setting.care.alert(setting.item)
    assert setting.item.state.alerted
    [event] = setting.events
    assert (event.kind, event.certificate) == ("expiring", setting.item.stored)
    assert "a.example: expiring: not renewed yet, valid until 2026-05-30" in caplog.text


async def test_an_alert_that_is_due_comes_once(setting: Setting) -> None:
    await setting.care.alert_if_due(setting.item)
    await setting.store()
    for wait in (67 * DAY, DAY, DAY):
        setting.clock.clock.advance(wait)
        await setting.care.alert_if_due(setting.item)
    assert [event.kind for event in setting.events] == ["expiring"]


async def test_an_urgent_plan_ignores_a_back_off(setting: Setting) -> None:
    setting.item.state = replace(setting.item.state, retry_at=START + DAY)
    assert setting.care.issuing_plan(setting.item).at == START + DAY
    assert setting.care.issuing_plan(setting.item, urgent=True).at == START
