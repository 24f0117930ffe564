"""Plans: what is due next, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from acme_client.plan import Action, Circumstances, Plan, issuing_plan, next_plan
from acme_client.renewal import RenewalWindow
from acme_client.request import CertificateRequest
from acme_client.state import CertificateState
from acme_client.store.files import FileStore
from acme_client.store.interface import StoredCertificate
from tests.acme_client.support import DAY, HOUR, START, make_new

REQUEST = CertificateRequest(names=("a.example", "b.example"))
IDLE = CertificateState(ask_at=START + 1000 * DAY)


@pytest.fixture
def stored(tmp_path: Path) -> StoredCertificate:
    store = FileStore(tmp_path, lambda: START)
    return store.save_certificate("a.example", make_new(REQUEST.names))


def plan(
    stored: StoredCertificate | None,
    state: CertificateState = IDLE,
    *,
    request: CertificateRequest = REQUEST,
    key_type: str = "p256",
    now: datetime = START,
    directories: Collection[str] = ("scripted",),
    compromised: Collection[str] = (),
) -> Plan:
    if stored is not None:
        state = replace(state, fingerprint=stored.fingerprint)
    around = Circumstances(directories=directories, compromised=compromised, now=now)
    return next_plan(request, key_type, stored, state, around)


def test_without_a_certificate_it_is_ordered_now() -> None:
    assert plan(None) == Plan(Action.ISSUE, START, "there is no certificate yet")


def test_without_a_certificate_a_back_off_is_kept() -> None:
    later = START + HOUR
    assert plan(None, CertificateState(retry_at=later)).at == later
    over = plan(None, CertificateState(retry_at=START - HOUR, failures=2))
    assert over == Plan(Action.ISSUE, START, "there is no certificate yet")


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        (CertificateState(failures=1), "waits after 1 failure"),
        (CertificateState(failures=3), "waits after 3 failures"),
        (CertificateState(interruptions=2), "waits after 2 attempts that were cut off"),
        (CertificateState(), "waits for the date at which the CA may be asked again"),
    ],
)
def test_a_back_off_says_its_rule(state: CertificateState, rule: str) -> None:
    found = plan(None, replace(state, retry_at=START + HOUR))
    assert found.reason == f"{rule}; there is no certificate yet"


def test_a_good_certificate_is_renewed_by_its_lifetime(stored: StoredCertificate) -> None:
    found = plan(stored, replace(IDLE, alerted=True))
    assert found.action is Action.RENEW
    assert START + 50 * DAY < found.at <= START + 60 * DAY
    assert found.reason == "1/3 of the lifetime left"
    parted = plan(stored, replace(IDLE, alerted=True, out_of_turn=True))
    assert START + 30 * DAY < parted.at <= START + 60 * DAY
    assert parted.reason.startswith("1/3 to 2/3 of the lifetime left")


def test_other_issues_are_reasons_to_order_now(stored: StoredCertificate) -> None:
    other_names = CertificateRequest(names=("a.example",))
    assert plan(stored, request=other_names).reason == "the names changed"
    assert plan(stored, key_type="rsa2048").reason == "the key type changed from p256 to rsa2048"
    assert "no longer configured" in plan(stored, directories=["other"]).reason
    profile = CertificateRequest(names=REQUEST.names, profile="shortlived")
    assert plan(stored, request=profile).reason == "the profile changed to shortlived"
    bad = plan(stored, compromised=[stored.key_fingerprint])
    assert (bad.action, bad.at, bad.reason) == (Action.ISSUE, START, "its key is compromised")


def test_the_order_of_names_does_not_matter(stored: StoredCertificate) -> None:
    reordered = CertificateRequest(names=("b.example", "a.example"))
    assert plan(stored, request=reordered).action is not Action.ISSUE


def test_the_ca_is_asked_first(stored: StoredCertificate) -> None:
    assert plan(stored, CertificateState()).action is Action.ASK
    assert plan(stored, CertificateState(ask_at=START + DAY)).at == START + DAY


def test_the_window_decides(stored: StoredCertificate) -> None:
    window = RenewalWindow(START + DAY, START + 2 * DAY)
    found = plan(stored, replace(IDLE, window=window))
    assert START + DAY <= found.at <= START + 2 * DAY
    assert found.action is Action.RENEW


def test_a_window_for_another_certificate_does_not(stored: StoredCertificate) -> None:
    window = RenewalWindow(START + DAY, START + 2 * DAY)
    state = CertificateState(window=window, fingerprint="another", ask_at=START)
    around = Circumstances(directories=["scripted"], compromised=(), now=START)
    assert next_plan(REQUEST, "p256", stored, state, around).action is Action.ASK
    assert issuing_plan(REQUEST, "p256", stored, state, around).at > START + 50 * DAY


def test_a_failed_renewal_waits(stored: StoredCertificate) -> None:
    now = START + 61 * DAY
    found = plan(stored, replace(IDLE, retry_at=now + HOUR, failures=2), now=now)
    assert (found.action, found.at) == (Action.RENEW, now + HOUR)
    assert found.reason.startswith("waits after 2 failures; due since 2026-")
    assert "1/3" in found.reason


def test_an_old_failure_does_not_delay(stored: StoredCertificate) -> None:
    found = plan(stored, replace(IDLE, retry_at=START + HOUR, alerted=True))
    assert found.at > START + 50 * DAY


def test_the_alert_comes_once(stored: StoredCertificate) -> None:
    waiting = replace(IDLE, retry_at=START + 80 * DAY)
    assert plan(stored, waiting, now=START + 61 * DAY).action is Action.ALERT
    assert plan(stored, replace(waiting, alerted=True), now=START + 61 * DAY).action is Action.RENEW


def test_what_is_overdue_goes_before_what_will_be(stored: StoredCertificate) -> None:
    now = START + 200 * DAY
    state = CertificateState(ask_at=now + HOUR, alerted=True)
    assert plan(stored, state, now=now).action is Action.RENEW
