"""The client before a real Pebble, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from acme_client import (
    AcmeIssuer,
    CertificateManager,
    CertificateRequest,
    Environment,
    ExternalAccount,
    SystemClock,
)
from acme_client.checks import check_pair, parse_chain
from acme_client.errors import Refused
from acme_client.failover import AttemptFailed
from acme_client.names import ip_address
from acme_client.store.files import FileStore
from acme_client.store.interface import StoredCertificate
from tests.acme_client.responder import responders
from tests.acme_client.support import until
from tests.pebble import Pebble, PebbleFactory

pytestmark = [pytest.mark.anyio, pytest.mark.pebble]

EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}


class Client:
    """A client of one Pebble; what it is told to obtain, it obtains."""

    def __init__(self, folder: Path, server: Pebble, **options: Any) -> None:
        self.server = server
        self.store = FileStore(folder)
        options.setdefault("email", "ops@example.com")
        self.issuer = AcmeIssuer(server.directory, ca_certificates=server.ca_file, **options)
        self.environment = Environment(self.store, SystemClock(), Random())
        self.installed: list[str] = []

    def manager(self, *requests: CertificateRequest) -> CertificateManager:
        return CertificateManager(
            requests=requests,
            issuers=[self.issuer],
            store=self.store,
            on_installed=self.installed.append,
        )

    async def obtain(self, *names: str, **options: Any) -> StoredCertificate:
        request = CertificateRequest(names=names, **options)
        stored = await self.manager(request).obtain(request.id, force=True)
        self.verify(stored)
        return stored

    def verify(self, stored: StoredCertificate) -> None:
        """As a browser would, with Pebble's root."""
        check_pair(stored.chain_pem, stored.key_pem, now=datetime.now(UTC))
        root = x509.load_pem_x509_certificate(self.server.root_pem().encode())
        leaf, *intermediates = parse_chain(stored.chain_pem)
        for name in stored.names:
            address = ip_address(name)
            name = name.replace("*", "any")
            subject = x509.DNSName(name) if address is None else x509.IPAddress(address)
            policy = PolicyBuilder().store(Store([root])).build_server_verifier(subject)
            policy.verify(leaf, intermediates)


StartClient = Callable[..., Client]


@pytest.fixture
def start(pebble: PebbleFactory, tmp_path: Path) -> Iterator[StartClient]:
    """Start Pebble, the responders and a client."""
    folder = tmp_path / "state"
    with responders(FileStore(folder)) as (http_port, tls_port):

        def begin(issuer: dict[str, Any] | None = None, **options: Any) -> Client:
            server = pebble(http_port=http_port, tls_port=tls_port, **options)
            return Client(folder, server, **(issuer or {}))

        yield begin


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
async def test_each_kind_of_challenge(start: StartClient, kind: str) -> None:
    client = start()
    await client.obtain("a.example", "b.example", challenges=(kind,))
    assert client.installed == ["a.example"]


async def test_a_certificate_for_an_address(start: StartClient) -> None:
    stored = await start().obtain("127.0.0.1", challenges=("tls-alpn-01",))
    assert stored.names == ("127.0.0.1",)


async def test_dns_with_a_wildcard(start: StartClient) -> None:
    client = start()

    class ChallengeServer:
        """Pebble's own DNS server, set by its management interface."""

        async def present(self, domain: str, value: str) -> None:
            client.server.set_txt(f"_acme-challenge.{domain}.", value)

        async def clean_up(self, domain: str, value: str) -> None:
            client.server.clear_txt(f"_acme-challenge.{domain}.")

    stored = await client.obtain(
        "*.example.org", "example.org", challenges=("dns-01",), dns=ChallengeServer()
    )
    assert stored.id == "_.example.org"


@pytest.mark.parametrize("key_type", ["p384", "rsa2048"])
async def test_key_types(start: StartClient, key_type: str) -> None:
    stored = await start().obtain("a.example", key_types=(key_type,))
    assert stored.key_type == key_type


async def test_external_accounts(start: StartClient) -> None:
    client = start({"eab": ExternalAccount("kid-1", EAB["kid-1"])}, eab=EAB)
    stored = await client.obtain("a.example")
    assert stored.names == ("a.example",)


async def test_a_wrong_external_account(start: StartClient) -> None:
    client = start({"eab": ExternalAccount("kid-9", EAB["kid-1"])}, eab=EAB)
    with pytest.raises(AttemptFailed) as caught:
        await client.obtain("a.example")
    assert isinstance(caught.value.chief.error, Refused)


@pytest.mark.parametrize("reuse", [0, 100])
async def test_fresh_and_reused_authorisations(start: StartClient, reuse: int) -> None:
    client = start(authz_reuse=reuse)
    first = await client.obtain("a.example", "b.example")
    second = await client.obtain("a.example", "b.example")
    assert second.serial != first.serial
    # Pebble 2.10 has been seen to reuse one of two all the same.
    fresh = range(2, 3) if reuse else range(3, 5)

    def validations() -> int:
        return client.server.log().count("Starting 3 validations.")

    with anyio.move_on_after(10):
        # What Pebble logs is not in its file at once, and the file tells nobody.
        while validations() < fresh.stop - 1:  # noqa: ASYNC110 - it sets no event of ours
            await anyio.sleep(0.05)
    assert validations() in fresh


async def test_pebbles_own_sleeps(start: StartClient) -> None:
    stored = await start(sleep=True).obtain("a.example")
    assert stored.names == ("a.example",)


async def test_a_hundred_names_with_bad_nonces_and_one_that_fails(start: StartClient) -> None:
    client = start(nonce_reject=15)
    client.server.fail_dns("n50.example")
    requests = [CertificateRequest(names=(f"n{number}.example",)) for number in range(100)]
    manager = client.manager(*requests)
    async with anyio.create_task_group() as group:
        group.start_soon(manager.run)
        await until(lambda: _is_over(manager), 110)
        group.cancel_scope.cancel()
    ids = {request.id for request in requests}
    assert set(client.store.certificate_ids()) == ids - {"n50.example"}
    [failed] = [status for status in manager.status() if status.stored is None]
    assert failed.state.last_failure is not None
    assert failed.state.last_failure.kind == "validation"
    assert failed.state.last_failure.names == ("n50.example",)
    assert sum(status.state.failures for status in manager.status()) == 1


def _is_over(manager: CertificateManager) -> bool:
    return all(s.stored is not None or s.state.failures for s in manager.status())


async def test_a_third_of_the_nonces_refused(start: StartClient) -> None:
    client = start(nonce_reject=30)
    names = [f"n{number}.example" for number in range(5)]
    for name in names:
        await client.obtain(name)
    assert client.installed == names


async def test_a_pebble_that_starts_later(start: StartClient) -> None:
    client = start(start=False)
    manager = client.manager(CertificateRequest(names=("a.example",)))
    async with anyio.create_task_group() as group:
        group.start_soon(manager.run)
        await until(lambda: manager.status()[0].state.last_failure is not None)
        assert client.installed == []
        await anyio.to_thread.run_sync(client.server.start)
        await until(lambda: client.installed == ["a.example"])
        group.cancel_scope.cancel()


async def test_a_pebble_that_forgot_us(start: StartClient) -> None:
    """A restarted Pebble knows no accounts, and signs with new keys."""
    client = start()
    first = await client.obtain("a.example")
    client.server.stop()
    client.server.start()
    second = await client.obtain("a.example")
    assert second.issuer != first.issuer
    assert len(client.store.document_names("accounts-archive")) == 1


async def test_the_account_key_is_renewed(start: StartClient) -> None:
    client = start()
    await client.obtain("a.example")
    await client.issuer.roll_over_account_key(client.environment)
    await client.obtain("b.example")
    assert client.server.log().count("There are now 1 accounts in memory") == 1


async def test_revocation(start: StartClient) -> None:
    client = start()
    manager = client.manager(CertificateRequest(names=("a.example",)))
    old = await manager.obtain("a.example")
    await manager.revoke("a.example", "keyCompromise")
    assert client.server.revocation_status(old.serial) == "Revoked"
    new = client.store.load_certificate("a.example")
    assert new is not None
    assert client.server.revocation_status(new.serial) == "Valid"


async def test_a_preferred_chain(start: StartClient) -> None:
    client = start(alternate_roots=2)
    for number in range(3):
        root = x509.load_pem_x509_certificate(client.server.root_pem(number).encode())
        name = root.subject.rfc4514_string().removeprefix("CN=")
        request = CertificateRequest(names=("a.example",), preferred_chain=name)
        stored = await client.manager(request).obtain("a.example", force=True)
        assert parse_chain(stored.chain_pem)[-1].issuer == root.subject


# What only a newer Pebble has.


async def test_profiles(start: StartClient) -> None:
    profiles = {
        "default": {"description": "for long", "validityPeriod": 90 * 86400},
        "shortlived": {"description": "for days", "validityPeriod": 6 * 86400},
    }
    client = start(profiles=profiles)
    client.server.require("profiles")
    stored = await client.obtain("a.example", profile="shortlived")
    assert stored.lifetime < timedelta(days=7)
    assert (await client.obtain("b.example", profile="default")).lifetime > timedelta(days=80)
    address = await client.obtain("127.0.0.1", challenges=("tls-alpn-01",))
    assert address.profile == "shortlived"


async def test_the_window_of_the_ca(start: StartClient) -> None:
    client = start()
    client.server.require("ari")
    manager = client.manager(CertificateRequest(names=("a.example",)))
    first = await manager.obtain("a.example")
    now = datetime.now(UTC)
    window = {
        "suggestedWindow": {
            "start": (now - timedelta(hours=2)).isoformat(),
            "end": (now - timedelta(hours=1)).isoformat(),
        },
        "explanationURL": "https://ca.example/incident",
    }
    client.server.set_renewal_info(parse_leaf(first.chain_pem), window)
    async with anyio.create_task_group() as group:
        group.start_soon(manager.run)
        await until(lambda: len(client.installed) == 2)
        group.cancel_scope.cancel()
    second = client.store.load_certificate("a.example")
    assert second is not None
    assert second.serial != first.serial


def parse_leaf(chain_pem: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return chain_pem.partition(end)[0] + end
