"""The manager before the in-process CA: what a CA can do to us, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import anyio
import pytest

from acme_client.acme_issuer import AcmeIssuer
from acme_client.manager import CertificateManager, CertificateStatus
from acme_client.request import CertificateRequest
from acme_client.store.interface import StoredCertificate
from acme_client.testing import (
    DEFECTS,
    AcmeCA,
    BadCertificate,
    Defect,
    Disconnect,
    FailValidation,
    Settings,
    StuckOrder,
    account_unknown,
    bad_nonce,
    rate_limited,
    server_error,
)
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import DAY, HOUR, MINUTE

pytestmark = pytest.mark.anyio


class Service:
    """A manager of one or more names at the simulated CA."""

    def __init__(
        self, simulation: Simulation, *names: str, issuer: AcmeIssuer | None = None
    ) -> None:
        self.simulation = simulation
        self.ca = simulation.ca
        self.clock = simulation.clock
        self.store = simulation.environment.store
        self.installed: list[str] = []
        self.manager = CertificateManager(
            requests=[CertificateRequest(names=(name,)) for name in names or ("a.example",)],
            issuers=[issuer or simulation.make_issuer()],
            store=self.store,
            clock=self.clock,
            random=Random(5),
            on_installed=self.installed.append,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.manager.run)
            await self.clock.advance(timedelta(seconds=3))
            yield
            group.cancel_scope.cancel()

    def served(self) -> StoredCertificate | None:
        return self.store.load_certificate("a.example")

    def status(self) -> CertificateStatus:
        return self.manager.status()[0]

    def failure(self) -> str:
        failure = self.status().state.last_failure
        return "" if failure is None else failure.kind


@pytest.mark.parametrize("defect", sorted(set(DEFECTS) - {"missing-chain"}))
async def test_a_bad_certificate_never_takes_the_place_of_a_good_one(
    simulation: Simulation, defect: Defect
) -> None:
    service = Service(simulation)
    async with service.running():
        good = service.served()
        assert good is not None
        rule = service.ca.faults.add(BadCertificate(defect), times=2)
        await service.clock.advance(65 * DAY)
        assert rule.struck == 2
        after = service.served()
        assert after is not None
        assert after.generation == 2, "the third try brought a good one"
        assert after.serial != good.serial


async def test_a_leaf_without_a_chain_is_told(
    simulation: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    """A private CA may sign by its root; whether clients can do without is their affair."""
    service = Service(simulation)
    service.ca.faults.add(BadCertificate("missing-chain"))
    async with service.running():
        assert service.served() is not None
        assert "a.example: the CA sends no chain" in caplog.text


async def test_an_incident(simulation: Simulation) -> None:
    """The CA revokes everything and says so through its renewal information."""
    service = Service(simulation, "a.example", "b.example")
    async with service.running():
        before = service.served()
        for certificate in service.ca.certificates:
            service.ca.revoke(certificate)
        await service.clock.advance(7 * HOUR)
        after = service.served()
        assert before is not None
        assert after is not None
        assert after.serial != before.serial
        assert len(service.ca.certificates) == 4
        await service.clock.advance(20 * DAY)
        assert len(service.ca.certificates) == 4


async def test_an_outage_of_a_week(simulation: Simulation) -> None:
    service = Service(simulation)
    async with service.running():
        await service.clock.advance(49 * DAY)
        before = service.served()
        service.ca.stop()
        await service.clock.advance(7 * DAY)
        assert service.served() == before
        service.ca.start()
        await service.clock.advance(5 * DAY)
        assert service.served() != before
        assert service.status().state.failures == 0


async def test_days_of_server_errors(simulation: Simulation) -> None:
    service = Service(simulation)
    async with service.running():
        end = service.clock.now() + 60 * DAY
        service.ca.faults.add(server_error(503), times=None, until=end)
        service.ca.requests.clear()
        await service.clock.advance(60 * DAY)
        days_of_trying = 60 - 45
        assert service.ca.requests.count("newOrder") <= 4 + days_of_trying
        await service.clock.advance(28 * HOUR)
        found = service.served()
        assert found is not None
        assert found.generation == 2


async def test_a_wish_to_wait_is_kept_over_a_restart(simulation: Simulation) -> None:
    first = Service(simulation)
    first.ca.faults.add(rate_limited(5 * 3600), at="newOrder")
    async with first.running():
        assert first.failure() == "rate-limited"
    second = Service(simulation)
    async with second.running():
        await second.clock.advance(4 * HOUR)
        assert second.ca.requests.count("newOrder") == 1
        await second.clock.advance(2 * HOUR)
        assert second.served() is not None


async def test_a_hundred_names_with_bad_nonces_and_one_that_fails(simulation: Simulation) -> None:
    names = [f"n{number}.example" for number in range(100)]
    service = Service(simulation, *names)
    service.ca.faults.add(bad_nonce(), rate=0.15, times=None)
    service.ca.faults.add(FailValidation(), names=["n50.example"], times=None)
    async with service.running():
        await service.clock.advance(5 * MINUTE)
        assert set(service.store.certificate_ids()) == set(names) - {"n50.example"}
        failures = {s.certificate_id: s.state.failures for s in service.manager.status()}
        assert failures.pop("n50.example") >= 1
        assert set(failures.values()) == {0}


async def test_connections_that_break_now_and_then(simulation: Simulation) -> None:
    service = Service(simulation, *(f"n{number}.example" for number in range(20)))
    service.ca.faults.add(Disconnect(), rate=0.05, times=None)
    service.ca.faults.add(Disconnect(after=True), rate=0.05, times=None)
    async with service.running():
        await service.clock.advance(2 * DAY)
        assert len(service.store.certificate_ids()) == 20
        # One order each, and those whose first answer was lost with the connection.
        assert service.ca.requests.count("newOrder") <= 30


async def test_stuck_orders_do_not_hold_up_others(simulation: Simulation) -> None:
    names = [f"n{number}.example" for number in range(30)]
    service = Service(simulation, *names)
    for name in names[:5]:
        until = service.clock.now() + 3 * HOUR
        service.ca.faults.add(StuckOrder(until=until), names=[name])
    async with service.running():
        await service.clock.advance(10 * MINUTE)
        assert len(service.store.certificate_ids()) == 25
        await service.clock.advance(DAY)
        assert len(service.store.certificate_ids()) == 30
        assert service.ca.requests.count("newOrder") == 30


async def test_an_account_lost_between_renewals(simulation: Simulation) -> None:
    service = Service(simulation)
    async with service.running():
        service.ca.forget_accounts()
        await service.clock.advance(65 * DAY)
        found = service.served()
        assert found is not None
        assert found.generation == 2
        assert service.status().state.failures == 0


async def test_a_ca_that_loses_accounts_again_and_again(simulation: Simulation) -> None:
    service = Service(simulation)
    service.ca.faults.add(account_unknown(), at="newOrder", times=None)
    async with service.running():
        await service.clock.advance(DAY)
        assert service.failure() == "account-unknown"
        assert service.ca.requests.count("newAccount") <= 2 + 4


async def test_after_a_failed_validation_staging_comes_first(
    simulation: Simulation, tmp_path: Path
) -> None:
    folder = tmp_path / "staging"
    folder.mkdir()
    settings = Settings(validate=False)
    with AcmeCA(settings, clock=simulation.clock.clock, directory=folder, seed=9) as staging:
        rehearsal = AcmeIssuer(staging.directory_url, adapter=staging.adapter())
        service = Service(simulation, issuer=simulation.make_issuer(staging=rehearsal))
        service.ca.faults.add(FailValidation())
        staging.faults.add(FailValidation(), times=2)
        async with service.running():
            assert (service.ca.requests.count("newOrder"), staging.requests.total) == (1, 0)
            await service.clock.advance(20 * MINUTE)
            assert service.ca.requests.count("newOrder") == 1
            assert staging.requests.count("newOrder") == 2
            await service.clock.advance(2 * HOUR)
            assert service.served() is not None
            assert service.ca.requests.count("newOrder") == 2
            assert staging.requests.count("newOrder") == 3


async def test_a_ca_with_another_date(
    simulation: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    """The machine's clock is a day behind: certificates from the future are not installed."""
    service = Service(simulation)
    real = simulation.environment.clock.now

    def behind() -> object:
        return real() - DAY

    service.manager._care.environment.clock.now = behind  # type: ignore[method-assign,assignment]
    async with service.running():
        assert "this machine's clock differs from the CA's by 86400 s" in caplog.text
        assert service.served() is None
        assert service.failure() == "bad-certificate"
