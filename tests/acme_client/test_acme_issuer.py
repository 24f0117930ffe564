"""ACME issuers as the configuration describes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acme_client.acme_issuer import AcmeIssuer, make_issuer
from acme_client.directories import DIRECTORIES, NO_LIMITS
from acme_client.errors import Refused, RequestError, ValidationFailed
from acme_client.internal import InternalIssuer
from acme_client.testing import (
    AcmeCA,
    FailValidation,
    Problem,
    Refuse,
    Settings,
    account_unknown,
    rate_limited,
    server_error,
)
from tests.acme_client.simulation import Simulation, make_task


def test_named_cas() -> None:
    issuer = AcmeIssuer("letsencrypt", email="ops@example.com")
    assert issuer.name == "letsencrypt"
    assert issuer.directory == DIRECTORIES["letsencrypt"].url
    assert issuer.settings.limits == DIRECTORIES["letsencrypt"].limits
    assert issuer.settings.contact == ("mailto:ops@example.com",)
    assert issuer._staging is not None
    assert issuer._staging.name == "letsencrypt-staging"
    assert repr(issuer) == "<AcmeIssuer letsencrypt>"


def test_a_ca_by_url() -> None:
    issuer = AcmeIssuer("https://ca.example:8443/dir")
    assert (issuer.name, issuer.directory) == ("ca.example:8443", "https://ca.example:8443/dir")
    assert issuer.settings.limits == NO_LIMITS
    assert issuer.settings.contact == ()
    assert AcmeIssuer("https://ca.example/", name="ours").name == "ours"


@pytest.mark.parametrize("directory", ["", "letsencript", "http://ca.example/", "ca.example"])
def test_anything_else_is_refused_with_what_is_allowed(directory: str) -> None:
    with pytest.raises(
        RequestError, match=r"allowed are letsencrypt, .* internal and the https URL"
    ):
        make_issuer(directory)


def test_the_internal_ca_is_one_of_them() -> None:
    assert make_issuer("internal") == InternalIssuer()
    assert make_issuer("internal", name="local").name == "local"
    assert isinstance(make_issuer("zerossl"), AcmeIssuer)


class Rehearsal:
    """A production CA and its staging, in one simulation."""

    def __init__(self, simulation: Simulation, folder: Path) -> None:
        folder.mkdir()
        self.simulation = simulation
        self.staging = AcmeCA(
            Settings(validate=False), clock=simulation.clock.clock, directory=folder, seed=2
        )
        self.staging.start()
        staging = AcmeIssuer(self.staging.directory_url, adapter=self.staging.adapter())
        self.issuer = simulation.make_issuer(staging=staging)

    async def issue(self, *, rehearse: bool) -> None:
        task = make_task("a.example", rehearse=rehearse)
        await self.issuer.issue(task, self.simulation.environment)
        await self.issuer.settle(task, self.simulation.environment)

    def orders(self) -> tuple[int, int]:
        """At staging, and in production."""
        return (
            self.staging.requests.count("newOrder"),
            self.simulation.ca.requests.count("newOrder"),
        )


@pytest.fixture
def rehearsal(simulation: Simulation, tmp_path: Path) -> Iterator[Rehearsal]:
    found = Rehearsal(simulation, tmp_path / "staging")
    yield found
    found.staging.close()


@pytest.mark.anyio
async def test_the_first_try_goes_straight_to_production(rehearsal: Rehearsal) -> None:
    await rehearsal.issue(rehearse=False)
    assert rehearsal.orders() == (0, 1)


@pytest.mark.anyio
async def test_after_a_failure_staging_comes_first(rehearsal: Rehearsal) -> None:
    rehearsal.staging.faults.add(FailValidation(), times=2)
    for _ in range(2):
        with pytest.raises(ValidationFailed, match=r"^in the rehearsal at .+: ") as caught:
            await rehearsal.issue(rehearse=True)
        assert caught.value.names == ("a.example",)
        assert caught.value.problems
    assert rehearsal.orders() == (2, 0)
    await rehearsal.issue(rehearse=True)
    assert rehearsal.orders() == (3, 1)
    assert len(rehearsal.simulation.ca.certificates) == 1


@pytest.mark.anyio
async def test_a_staging_that_is_down_is_no_obstacle(rehearsal: Rehearsal) -> None:
    rehearsal.staging.stop()
    await rehearsal.issue(rehearse=True)
    assert rehearsal.orders() == (0, 1)
    rehearsal.staging.start()


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [rate_limited(60), server_error(), account_unknown()])
async def test_a_staging_with_troubles_of_its_own_is_none(
    rehearsal: Rehearsal, fault: Refuse
) -> None:
    rehearsal.staging.faults.add(fault, at="newOrder", times=None)
    await rehearsal.issue(rehearse=True)
    assert len(rehearsal.simulation.ca.certificates) == 1


@pytest.mark.anyio
async def test_what_staging_refuses_production_would(rehearsal: Rehearsal) -> None:
    rehearsal.staging.faults.add(Refuse(Problem("rejectedIdentifier", "no")), at="newOrder")
    with pytest.raises(Refused):
        await rehearsal.issue(rehearse=True)
    assert rehearsal.orders() == (1, 0)


@pytest.mark.anyio
async def test_no_order_of_the_rehearsal_is_kept(rehearsal: Rehearsal) -> None:
    for expected in ((1, 1), (2, 2)):
        await rehearsal.issue(rehearse=True)
        assert rehearsal.orders() == expected
