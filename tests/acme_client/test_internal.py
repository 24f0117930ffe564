"""The internal CA."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from acme_client.checks import check_pair, describe, parse_chain
from acme_client.errors import IssuerError, StoreError
from acme_client.internal import DOCUMENT, InternalIssuer
from acme_client.issuer import Environment
from acme_client.store.interface import NewCertificate
from tests.acme_client.simulation import make_task
from tests.acme_client.support import DAY, HOUR, MINUTE, FakeClock, make_environment

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]

NAMES = ("localhost", "app.localhost", "127.0.0.1", "::1")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def environment(tmp_path: Path, clock: FakeClock) -> Environment:
    return make_environment(tmp_path, clock)


async def issue(environment: Environment, *names: str, key_type: str = "p256") -> NewCertificate:
    return await InternalIssuer().issue(make_task(*names, key_type=key_type), environment)


async def root_pem(environment: Environment) -> str:
    return (await InternalIssuer().publish_root(environment)).read_text()


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
async def test_a_leaf_for_twelve_hours(
    environment: Environment, clock: FakeClock, key_type: str
) -> None:
    new = await issue(environment, *NAMES, key_type=key_type)
    facts = check_pair(new.chain_pem, new.key_pem, names=NAMES, exact=True, now=clock.now())
    assert facts.not_after == clock.now() + 12 * HOUR
    assert facts.not_before == clock.now() - 5 * MINUTE
    assert facts.key_type == key_type
    assert new.directory == "internal"


async def test_it_verifies_against_the_published_root(
    environment: Environment, clock: FakeClock
) -> None:
    new = await issue(environment, "localhost")
    root = x509.load_pem_x509_certificate((await root_pem(environment)).encode())
    leaf, *intermediates = parse_chain(new.chain_pem)
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(clock.now())
        .build_server_verifier(x509.DNSName("localhost"))
    )
    chain = verifier.verify(leaf, intermediates)
    assert [certificate.subject.rfc4514_string() for certificate in chain[1:]] == [
        "CN=Vestibule Local Intermediate",
        "CN=Vestibule Local CA 2026-03-01",
    ]


async def test_openssl_takes_the_root(environment: Environment) -> None:
    context = ssl.create_default_context(cadata=await root_pem(environment))
    assert len(context.get_ca_certs()) == 1


async def test_the_root_stays_while_intermediates_come_and_go(
    environment: Environment, clock: FakeClock
) -> None:
    root = await root_pem(environment)
    intermediates = set()
    for _ in range(20):
        new = await issue(environment, "localhost")
        facts = describe(new.chain_pem)
        _leaf, intermediate = parse_chain(new.chain_pem)
        assert facts.not_after <= intermediate.not_valid_after_utc
        assert intermediate.not_valid_after_utc - clock.now() > timedelta(days=3)
        intermediates.add(intermediate.serial_number)
        clock.clock.advance(DAY)
    assert len(intermediates) == 5  # one every four days: at half of seven, looked at daily
    assert await root_pem(environment) == root


@pytest.mark.parametrize("jump", [-DAY, 90 * DAY, 9 * 365 * DAY])
async def test_a_clock_that_jumps_keeps_the_root(
    environment: Environment, clock: FakeClock, jump: timedelta
) -> None:
    root = await root_pem(environment)
    clock.clock.advance(jump)
    new = await issue(environment, "localhost")
    check_pair(new.chain_pem, new.key_pem, now=clock.now())
    assert await root_pem(environment) == root


async def test_a_root_near_its_end_is_replaced(environment: Environment, clock: FakeClock) -> None:
    root = await root_pem(environment)
    clock.clock.advance(3652 * DAY - 10 * DAY)
    assert await root_pem(environment) != root


async def test_processes_that_start_together_make_one_root(
    environment: Environment, clock: FakeClock
) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(issue, environment, "localhost")
    assert len(await root_pem(environment)) > 0


async def test_it_waits_for_another_process_and_not_for_ever(
    environment: Environment, clock: FakeClock
) -> None:
    async def expect() -> None:
        with pytest.raises(IssuerError, match="too long"):
            await issue(environment, "localhost")

    with environment.store.lock(DOCUMENT):
        async with anyio.create_task_group() as group:
            group.start_soon(expect)
            await clock.advance(MINUTE)


async def test_keys_are_private_and_the_root_is_public(
    environment: Environment, tmp_path: Path
) -> None:
    path = await InternalIssuer().publish_root(environment)
    assert path.stat().st_mode & 0o777 == 0o644
    assert "PRIVATE" not in path.read_text()
    document = tmp_path / "documents" / f"{DOCUMENT}.json"
    assert document.stat().st_mode & 0o777 == 0o600


async def test_a_damaged_ca_is_named_and_not_replaced(environment: Environment) -> None:
    await root_pem(environment)
    environment.store.save_document(DOCUMENT, {"root_pem": "x"})
    with pytest.raises(StoreError, match=r"internal-ca\.json is damaged .* move it away"):
        await issue(environment, "localhost")


async def test_what_it_cannot_do(environment: Environment) -> None:
    issuer = InternalIssuer()
    new = await issue(environment, "localhost")
    stored = environment.store.save_certificate("localhost", new)
    assert await issuer.renewal_info(stored, environment) is None
    with pytest.raises(IssuerError, match="cannot revoke"):
        await issuer.revoke(stored, 0, environment)
    await issuer.settle(make_task("localhost"), environment)
