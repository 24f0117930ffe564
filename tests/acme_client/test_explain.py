"""Everything about one certificate, in words and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from acme_client.acme_issuer import AcmeIssuer
from acme_client.errors import Problem
from acme_client.explain import explain
from acme_client.ledger import Obstacle
from acme_client.manager import CertificateManager, CertificateStatus
from acme_client.plain_words import PROBLEMS
from acme_client.plan import Action, Plan
from acme_client.probes import Finding, Level
from acme_client.renewal import RenewalWindow
from acme_client.request import CertificateRequest
from acme_client.state import Failure
from tests.acme_client.support import DAY, HOUR, START, FakeClock, make_environment, make_new

pytestmark = pytest.mark.anyio

REQUEST = CertificateRequest(names=("a.example.com",))
GOOD = Finding(Level.OK, "dns", "fine")
BAD = Finding(Level.PROBLEM, "port 80", "closed")


async def status(folder: Path, *, stored: bool = True) -> CertificateStatus:
    environment = make_environment(folder)
    if stored:
        new = make_new(REQUEST.names, directory="letsencrypt", profile="classic")
        environment.store.save_certificate(REQUEST.id, new)
    manager = CertificateManager(
        requests=[REQUEST], issuers=[], store=environment.store, clock=environment.clock
    )
    (found,) = await manager.look()
    return found


async def test_a_certificate_that_is_well(tmp_path: Path) -> None:
    clock = FakeClock()
    environment = make_environment(tmp_path, clock)
    found = await explain(await status(tmp_path), [], environment, [GOOD])
    assert found.is_well
    text = "\n".join(found.lines())
    assert "a.example.com (p256)" in text
    assert "letsencrypt (classic)" in text
    assert "2026-03-01 12:00 UTC to 2026-05-30 12:00 UTC (in 90 d)" in text
    assert "looked at    ok      dns: fine" in text
    document = json.loads(json.dumps(found.to_json()))
    assert document["served"]["not_after"] == "2026-05-30T12:00:00+00:00"
    assert document["last_failure"] is None
    await clock.advance(91 * DAY)
    assert not (await explain(await status(tmp_path), [], environment, [GOOD])).is_well
    assert not (await explain(await status(tmp_path), [], environment, [BAD])).is_well


async def test_nothing_yet_and_a_failure(tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    before = await status(tmp_path, stored=False)
    problem = Problem(Problem.PREFIX + "dns", "NXDOMAIN", identifier="a.example.com")
    failure = Failure(
        at=START, issuer="letsencrypt", kind="validation", message="no", problems=(problem,)
    )
    state = replace(before.state, last_failure=failure, failures=3, retry_at=START + HOUR)
    found = await explain(replace(before, state=state), [], environment, [])
    assert not found.is_well
    text = "\n".join(found.lines())
    assert "nothing: there is no certificate yet" in text
    assert "2026-03-01 12:00 UTC at letsencrypt, 3 in a row: no" in text
    assert f"-> {PROBLEMS['dns']}" in text
    failed = found.to_json()["last_failure"]
    assert failed["in_words"] == [PROBLEMS["dns"]]
    assert failed["problems"][0]["detail"] == "NXDOMAIN"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (3600, "2026-03-01 13:00 UTC (in 1 h)"),
        (90, "2026-03-01 12:01:30 UTC (in 90 s)"),
        (42, "2026-03-01 12:00:42 UTC (in 42 s)"),
        (0, "2026-03-01 12:00:00 UTC (now)"),
        (-30, "2026-03-01 11:59:30 UTC (now)"),
    ],
)
async def test_a_back_off_and_its_date(tmp_path: Path, seconds: int, shown: str) -> None:
    before = await status(tmp_path, stored=False)
    plan = Plan(Action.ISSUE, START + timedelta(seconds=seconds), "waits after 1 failure")
    found = await explain(replace(before, plan=plan), [], make_environment(tmp_path), [])
    assert f"  next         order {shown}: waits after 1 failure" in list(found.lines())


async def test_a_host_is_named_once(tmp_path: Path) -> None:
    before = await status(tmp_path, stored=False)
    failure = Failure(
        at=START, issuer="ca:14000", kind="unreachable", message="ca:14000 cannot be reached: no"
    )
    state = replace(before.state, last_failure=failure, failures=1)
    found = await explain(replace(before, state=state), [], make_environment(tmp_path), [])
    shown = "  last failure 2026-03-01 12:00 UTC at ca:14000: cannot be reached: no"
    assert shown in list(found.lines())


async def test_the_cas_window(tmp_path: Path) -> None:
    before = await status(tmp_path)
    window = RenewalWindow(START + 50 * DAY, START + 52 * DAY, "https://ca.example/why")
    state = replace(before.state, window=window)
    found = await explain(replace(before, state=state), [], make_environment(tmp_path), [])
    assert "2026-04-20 12:00 UTC to 2026-04-22 12:00 UTC (https://ca.example/why)" in "\n".join(
        found.lines()
    )
    assert found.to_json()["window"]["start"] == (START + 50 * DAY).isoformat()


async def test_what_is_left_of_the_limits(tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    issuer, other = AcmeIssuer("letsencrypt"), AcmeIssuer("zerossl")
    books = issuer.session(environment)._books
    await books.block("account", Obstacle(START + timedelta(hours=2), "too many"))
    before = await status(tmp_path)
    found = await explain(before, [issuer, other], environment, [])
    text = "\n".join(found.lines())
    assert "letsencrypt: wait until 2026-03-01 14:00 UTC: too many" in text
    assert "letsencrypt: new orders of this account: 300 of 300 left, per 3 h" in text
    assert "zerossl: orders of this account" in text
    (first, _) = found.to_json()["budget"]
    assert first["wait_until"] == "2026-03-01T14:00:00+00:00"
    assert {
        "what": "certificates of example.com",
        "left": 50,
        "count": 50,
        "seconds": 604800.0,
    } in (first["limits"])
    only = replace(before, request=CertificateRequest(names=REQUEST.names, issuers=("zerossl",)))
    found = await explain(only, [issuer, other], environment, [])
    assert [account.issuer for account in found.accounts] == ["zerossl"]
