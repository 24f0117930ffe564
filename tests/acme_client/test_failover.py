"""One attempt: the issuers in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from acme_client.errors import (
    AcmeClientError,
    BadCertificate,
    BudgetSpent,
    IssuerUnreachable,
    Refused,
    RequestError,
    StoreError,
    ValidationFailed,
)
from acme_client.failover import AttemptFailed, Miss, issue_from_first
from tests.acme_client.simulation import make_task
from tests.acme_client.support import (
    HOUR,
    START,
    FakeClock,
    ScriptedIssuer,
    in_turn,
    make_environment,
)

DOWN = IssuerUnreachable("down", connected=False)
SPENT = BudgetSpent("spent", retry_at=START + 2 * HOUR)
SLOW = Refused("slow", retry_at=START + HOUR)
WRONG = ValidationFailed("wrong")


async def run(tmp_path: Path, *scripts: Exception | None) -> tuple[str, list[ScriptedIssuer]]:
    clock = FakeClock()
    issuers = [
        ScriptedIssuer(clock, name=f"ca{number}", script=in_turn(error) if error else None)
        for number, error in enumerate(scripts)
    ]
    environment = make_environment(tmp_path, clock)
    outcome = await issue_from_first(issuers, make_task("a.example"), environment)
    return outcome.issuer.name, issuers


@pytest.mark.anyio
async def test_the_first_that_delivers(tmp_path: Path) -> None:
    name, issuers = await run(tmp_path, None, None)
    assert name == "ca0"
    assert issuers[1].tasks == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [DOWN, SPENT, SLOW, WRONG, RequestError("profile"), BadCertificate("bad")]
)
async def test_the_next_when_one_does_not(tmp_path: Path, error: Exception) -> None:
    assert (await run(tmp_path, error, None))[0] == "ca1"


@pytest.mark.anyio
async def test_a_bug_in_an_issuer_is_told_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await run(tmp_path, KeyError("oops"), None))[0] == "ca1"
    assert "failed unexpectedly" in caplog.text
    assert "Traceback" in caplog.text
    with pytest.raises(AttemptFailed, match=r"ca0: unexpected: KeyError\('oops'\)") as caught:
        await run(tmp_path, KeyError("oops"))
    assert caught.value.counts


@pytest.mark.anyio
async def test_a_store_that_fails_is_no_reason_to_try_the_next(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="disk full"):
        await run(tmp_path, StoreError("disk full"), None)


@pytest.mark.anyio
async def test_all_failures_are_told(tmp_path: Path) -> None:
    with pytest.raises(AttemptFailed, match="ca0: down; ca1: wrong") as caught:
        await run(tmp_path, DOWN, WRONG)
    assert caught.value.chief == Miss("ca1", WRONG)
    # An issuer without a name of its own has its host's, which the error names as well.
    assert str(Miss("localhost:14000", IssuerUnreachable("localhost:14000 is down"))) == (
        "localhost:14000 is down"
    )


@pytest.mark.parametrize(
    ("errors", "outage", "counts", "retry_at"),
    [
        ([DOWN], True, False, None),
        ([DOWN, SPENT], True, False, None),
        ([SPENT], False, False, START + 2 * HOUR),
        ([IssuerUnreachable("timed out")], False, True, None),
        ([DOWN, WRONG], False, True, None),
        ([SLOW], False, True, START + HOUR),
        ([SLOW, SPENT], False, True, START + HOUR),
        ([SLOW, WRONG], False, True, None),
        ([BadCertificate("bad")], False, True, None),
    ],
)
def test_what_failures_mean(
    errors: Sequence[AcmeClientError], outage: bool, counts: bool, retry_at: object
) -> None:
    failed = AttemptFailed([Miss("ca", error) for error in errors])
    assert (failed.outage, failed.counts, failed.retry_at) == (outage, counts, retry_at)
