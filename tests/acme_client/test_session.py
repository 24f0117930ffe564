"""An ACME account in use: account, ledger, profiles, revocation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from acme_client.directories import LETS_ENCRYPT, Limit, Limits
from acme_client.errors import (
    AccountUnknown,
    BudgetSpent,
    IssuerUnreachable,
    RateLimited,
    Refused,
    RequestError,
    ValidationFailed,
)
from acme_client.keys import key_to_pem
from acme_client.store.interface import StoredCertificate
from acme_client.testing import (
    FailValidation,
    RateLimits,
    Rewrite,
    account_unknown,
    rate_limited,
    server_error,
)
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import DAY, HOUR, MINUTE, any_key, settle

pytestmark = pytest.mark.anyio


def test_one_session_per_environment(simulation: Simulation) -> None:
    issuer, environment = simulation.issuer, simulation.environment
    assert issuer.session(environment) is issuer.session(environment)


async def test_many_names_share_one_account(simulation: Simulation) -> None:
    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(simulation.obtain, f"n{number}.example")
        await simulation.clock.advance(MINUTE)
    assert len(simulation.ca.accounts) == 1
    assert len(simulation.ca.certificates) == 5
    assert simulation.ca.requests.count("directory") == 1


async def test_an_account_the_ca_forgot_is_replaced_once(simulation: Simulation) -> None:
    await simulation.obtain("a.example")
    simulation.ca.forget_accounts()
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(simulation.obtain, f"n{number}.example")
        await simulation.clock.advance(MINUTE)
    assert len(simulation.ca.certificates) == 5
    assert simulation.ca.requests.count("newAccount") == 2
    assert len(simulation.environment.store.document_names("accounts-archive")) == 1


async def test_a_ca_that_never_knows_us_is_not_asked_for_ever(simulation: Simulation) -> None:
    simulation.ca.faults.add(account_unknown(), at="newOrder", times=None)
    with pytest.raises(AccountUnknown):
        await simulation.obtain("a.example")
    assert simulation.ca.requests.count("newAccount") == 2


async def test_the_directory_is_believed_for_an_hour(simulation: Simulation) -> None:
    await simulation.obtain("a.example")
    await simulation.obtain("b.example")
    assert simulation.ca.requests.count("directory") == 1
    simulation.clock.clock.advance(HOUR)
    await simulation.obtain("c.example")
    assert simulation.ca.requests.count("directory") == 2


# Profiles.


async def test_addresses_get_the_short_lived_profile(simulation: Simulation) -> None:
    assert (await simulation.obtain("192.0.2.1")).profile == "shortlived"
    assert (await simulation.obtain("a.example")).profile is None
    # What is set for names in general does not keep addresses from theirs; a site's word does.
    issuer = simulation.make_issuer(profile="tlsserver")
    assert (await simulation.obtain("192.0.2.2", issuer=issuer)).profile == "shortlived"
    with pytest.raises(Refused):
        await simulation.obtain("192.0.2.3", issuer=issuer, profile="tlsserver")


async def test_the_site_goes_before_the_issuer(simulation: Simulation) -> None:
    issuer = simulation.make_issuer(profile="tlsserver")
    assert (await simulation.obtain("a.example", issuer=issuer)).lifetime < 46 * DAY
    short = await simulation.obtain("b.example", issuer=issuer, profile="shortlived")
    assert short.lifetime < 7 * DAY


async def test_an_unknown_profile_is_named_with_what_there_is(simulation: Simulation) -> None:
    with pytest.raises(RequestError, match=r"'gold'.*offers classic, shortlived, tlsserver"):
        await simulation.obtain("a.example", profile="gold")
    assert simulation.ca.requests.count("newOrder") == 0


# Restraint.


async def test_what_the_ca_wishes_is_obeyed(simulation: Simulation) -> None:
    simulation.ca.faults.add(rate_limited(retry_after=7200), at="newOrder")
    with pytest.raises(RateLimited):
        await simulation.obtain("a.example")
    for name in ("a.example", "b.example"):
        with pytest.raises(BudgetSpent, match="slow down") as caught:
            await simulation.obtain(name)
        assert caught.value.retry_at == simulation.clock.now() + 2 * HOUR
    assert simulation.ca.requests.count("newOrder") == 1
    simulation.clock.clock.advance(2 * HOUR)
    await simulation.obtain("a.example")


async def test_a_wish_about_one_name_holds_for_that_name(simulation: Simulation) -> None:
    detail = 'too many failed authorizations (5) for "a.example" in the last 1h0m0s'
    simulation.ca.faults.add(rate_limited(3600, detail), at="newOrder", names=["a.example"])
    with pytest.raises(RateLimited):
        await simulation.obtain("a.example")
    await simulation.obtain("b.example")
    with pytest.raises(BudgetSpent):
        await simulation.obtain("b.example", "a.example")


async def test_a_busy_service_is_left_alone(simulation: Simulation) -> None:
    await simulation.obtain("a.example")
    simulation.ca.faults.add(server_error(503, retry_after=600), at="newOrder")
    with pytest.raises(IssuerUnreachable):
        await simulation.obtain("b.example")
    with pytest.raises(BudgetSpent):
        await simulation.obtain("c.example")
    found = await simulation.issuer.session(simulation.environment).obstacle(("c.example",))
    assert found is not None
    assert found.until == simulation.clock.now() + 10 * MINUTE


async def test_absurd_wishes_end_after_a_week(simulation: Simulation) -> None:
    simulation.ca.faults.add(rate_limited(retry_after=10**10), at="newOrder")
    with pytest.raises(RateLimited):
        await simulation.obtain("a.example")
    simulation.clock.clock.advance(7 * DAY)
    await simulation.obtain("a.example")


async def test_hopeless_orders_are_not_sent(simulation: Simulation) -> None:
    """With the limits of Let's Encrypt on both sides, the CA never has to refuse."""
    simulation.ca.settings.limits = RateLimits()
    issuer = simulation.make_issuer(limits=LETS_ENCRYPT)
    for _ in range(5):
        await simulation.obtain("a.example", issuer=issuer)
        simulation.clock.clock.advance(MINUTE)
    for _ in range(3):
        with pytest.raises(BudgetSpent, match="certificates of these names: 5 in 7 days"):
            await simulation.obtain("a.example", issuer=issuer)
        simulation.clock.clock.advance(MINUTE)
    assert not [record for record in simulation.ca.requests if record.problem == "rateLimited"]


async def test_failures_fill_a_bucket_of_their_own(simulation: Simulation) -> None:
    simulation.ca.settings.limits = RateLimits()
    simulation.ca.faults.add(FailValidation(), times=None)
    issuer = simulation.make_issuer(limits=LETS_ENCRYPT)
    for _ in range(5):
        with pytest.raises(ValidationFailed):
            await simulation.obtain("a.example", issuer=issuer)
    with pytest.raises(BudgetSpent, match="failed validations of a"):
        await simulation.obtain("a.example", issuer=issuer)
    assert simulation.ca.requests.count("newOrder") == 5


async def test_what_did_not_come_about_is_refunded(simulation: Simulation) -> None:
    issuer = simulation.make_issuer(limits=Limits(duplicates=Limit(1, DAY), orders=Limit(9, DAY)))
    simulation.ca.faults.add(FailValidation())
    with pytest.raises(ValidationFailed):
        await simulation.obtain("a.example", issuer=issuer)
    await simulation.obtain("a.example", issuer=issuer)
    budget = await issuer.budget(("a.example",), simulation.environment)
    left = {line.what: line.left for line in budget}
    assert left["certificates of these names"] == 0
    assert left["new orders of this account"] == 7


async def test_an_ari_renewal_is_free(simulation: Simulation) -> None:
    issuer = simulation.make_issuer(limits=Limits(duplicates=Limit(1, 300 * DAY)))
    stored = await simulation.obtain("a.example", issuer=issuer)
    for _ in range(3):
        stored = await simulation.obtain("a.example", issuer=issuer, replaces=stored)
    with pytest.raises(BudgetSpent):
        await simulation.obtain("a.example", issuer=issuer)


async def test_orders_keep_a_pace(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    ten = Limit(10, timedelta(seconds=10))
    monkeypatch.setattr("acme_client.ledger.OWN_PACE", ten)
    done: list[float] = []

    async def one(number: int) -> None:
        await simulation.obtain(f"n{number}.example")
        done.append(simulation.clock.monotonic())

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, number)
        await settle()
        assert len(done) == 10
        await simulation.clock.advance(timedelta(seconds=25))
    assert len(done) == 30
    assert max(done) >= 19


async def test_accounts_are_counted(simulation: Simulation) -> None:
    issuer = simulation.make_issuer(limits=Limits(accounts=Limit(1, HOUR)))
    await simulation.obtain("a.example", issuer=issuer)
    simulation.ca.forget_accounts()
    with pytest.raises(BudgetSpent, match="new accounts"):
        await simulation.obtain("b.example", issuer=issuer)


# Renewal information.


async def test_renewal_info(simulation: Simulation) -> None:
    stored = await simulation.obtain("a.example")
    session = simulation.issuer.session(simulation.environment)
    info = await session.renewal_info(stored)
    assert info is not None
    assert info.window is not None
    assert stored.not_before < info.window.start < info.window.end < stored.not_after
    assert info.ask_at == simulation.clock.now() + 6 * HOUR


async def test_a_ca_without_renewal_info(simulation: Simulation) -> None:
    simulation.ca.faults.add(Rewrite({"renewalInfo": None}), at="directory", times=None)
    stored = await simulation.obtain("a.example")
    assert await simulation.issuer.session(simulation.environment).renewal_info(stored) is None


# Revocation.


async def revoke(simulation: Simulation, stored: StoredCertificate, reason: int) -> dict[str, Any]:
    simulation.ca.requests.clear()
    await simulation.issuer.revoke(stored, reason, simulation.environment)
    record = simulation.ca.requests.at("revokeCert")[-1]
    return dict(record.protected)


async def test_revoking_with_the_account(simulation: Simulation) -> None:
    stored = await simulation.obtain("a.example")
    assert "kid" in await revoke(simulation, stored, 4)
    assert simulation.ca.certificate(stored.chain_pem).revoked is not None
    await revoke(simulation, stored, 4)  # again is no error


async def test_a_compromised_key_signs_its_own_revocation(simulation: Simulation) -> None:
    stored = await simulation.obtain("a.example")
    assert "jwk" in await revoke(simulation, stored, 1)


async def test_revoking_after_the_account_was_lost(simulation: Simulation) -> None:
    stored = await simulation.obtain("a.example")
    simulation.ca.forget_accounts()
    assert "jwk" in await revoke(simulation, stored, 4)


async def test_a_rate_limited_revocation_is_told(simulation: Simulation) -> None:
    stored = await simulation.obtain("a.example")
    simulation.ca.faults.add(rate_limited(60), at="revokeCert")
    with pytest.raises(RateLimited):
        await revoke(simulation, stored, 4)


async def test_a_refused_revocation_is_told(simulation: Simulation) -> None:
    stored = await simulation.obtain("a.example")
    with pytest.raises(Refused):
        await revoke(simulation, stored, 99)


# The account.


async def test_a_roll_over_is_noticed_by_other_processes(simulation: Simulation) -> None:
    running, command = simulation.issuer, simulation.make_issuer()
    await simulation.obtain("a.example", issuer=running)
    await command.roll_over_account_key(simulation.environment)
    await simulation.obtain("b.example", issuer=running)
    assert len(simulation.ca.accounts) == 1
    assert simulation.ca.requests.count("keyChange") == 1


async def test_recovering_and_ending_an_account(simulation: Simulation) -> None:
    key = any_key(7)
    simulation.authority().register(key, [], None)
    await simulation.issuer.recover_account(key_to_pem(key), simulation.environment)
    await simulation.obtain("a.example")
    assert len(simulation.ca.accounts) == 1
    await simulation.issuer.deactivate_account(simulation.environment)
    assert simulation.ca.accounts[0].status == "deactivated"
