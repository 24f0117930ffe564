"""What the tests of the ACME client share: certificates, a clock to move, scripted issuers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import anyio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acme_client.errors import AcmeClientError
from acme_client.issuer import Environment, IssuanceTask, RenewalInfo
from acme_client.keys import CertificateKey, generate_key, key_to_pem
from acme_client.names import ip_address
from acme_client.store.files import FileStore
from acme_client.store.interface import NewCertificate, StoredCertificate
from acme_client.testing import Clock as MovableClock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def any_key(number: int = 0, key_type: str = "p256") -> CertificateKey:
    """A key, the same for the same number: making RSA keys takes a while."""
    return _make_key(number, key_type)


@cache
def _make_key(number: int, key_type: str) -> CertificateKey:
    return generate_key(key_type)


@cache
def signers() -> tuple[x509.Certificate, x509.Certificate]:
    """A root and an intermediate, valid for decades around ``START``."""
    root = _sign("Test Root", "Test Root", 101, 101, ca=True)
    return root, _sign("Test Intermediate", "Test Root", 102, 101, ca=True)


def make_chain(
    names: Iterable[str],
    *,
    key: CertificateKey | None = None,
    not_before: datetime = START,
    lifetime: timedelta = 90 * DAY,
    signer: int = 102,
) -> str:
    """A leaf and its intermediate, PEM."""
    leaf = _sign(
        None,
        "Test Intermediate",
        None,
        signer,
        names=tuple(names),
        key=key or any_key(),
        not_before=not_before,
        not_after=not_before + lifetime,
    )
    return to_pem(leaf) + to_pem(signers()[1])


def make_new(
    names: Iterable[str],
    *,
    number: int = 0,
    key_type: str = "p256",
    not_before: datetime = START,
    lifetime: timedelta = 90 * DAY,
    directory: str = "scripted",
    profile: str | None = None,
) -> NewCertificate:
    key = any_key(number, key_type)
    chain = make_chain(names, key=key, not_before=not_before, lifetime=lifetime)
    return NewCertificate(
        chain_pem=chain, key_pem=key_to_pem(key), directory=directory, profile=profile
    )


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _sign(
    subject: str | None,
    issuer: str,
    own: int | None,
    signer: int,
    *,
    ca: bool = False,
    names: tuple[str, ...] = (),
    key: CertificateKey | None = None,
    not_before: datetime = START - 3650 * DAY,
    not_after: datetime = START + 3650 * DAY,
) -> x509.Certificate:
    own_key = key if key is not None else any_key(own or 0)
    signer_key = any_key(signer)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(own_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()),
            critical=False,
        )
    )
    if names:
        general: list[x509.GeneralName] = []
        for name in names:
            address = ip_address(name)
            general.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)
    return builder.sign(signer_key, hashes.SHA256())


def _name(common_name: str | None) -> x509.Name:
    if common_name is None:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


async def settle() -> None:
    """Let everything run that can, until all tasks wait for time or for the world outside.

    ``anyio.wait_all_tasks_blocked`` does the same with a tenth of a second of real time a look.
    """
    loop: Any = asyncio.get_running_loop()
    await asyncio.sleep(0)
    while loop._ready:  # noqa: ASYNC110 - nobody sets an event when nothing happens
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait in real time for something that another thread or process brings about."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - it sets no event of ours
            await anyio.sleep(0.02)


class FakeClock:
    """Time that stands still until the test moves it (see ``advance``)."""

    def __init__(self, clock: MovableClock | None = None) -> None:
        self.clock = clock or MovableClock(START, frozen=True)
        self._begin = self.clock.time()
        self._waiting: dict[anyio.Event, datetime] = {}
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.time() - self._begin

    async def sleep(self, seconds: float) -> None:
        await self.wait_until(self.now() + timedelta(seconds=seconds), anyio.Event())

    async def wait_until(self, when: datetime, wake: anyio.Event) -> None:
        if when <= self.now() or wake.is_set():
            await anyio.lowlevel.checkpoint()
            return
        due = anyio.Event()
        self._waiting[due] = when
        try:
            async with anyio.create_task_group() as group:
                for event in (due, wake):
                    group.start_soon(_cancel_after, event, group.cancel_scope)
        finally:
            del self._waiting[due]

    async def advance(self, delta: timedelta) -> None:
        """Move time on, stopping wherever somebody waits for that moment, until all is quiet."""
        target = self.now() + delta
        await settle()
        while (due := min(self._waiting.values(), default=target)) <= target:
            if due > self.now():
                self.clock.set(due)
            self._wake()
            await settle()
            if self.now() >= target:
                break
        self.clock.set(target)
        self._wake()
        await settle()

    def _wake(self) -> None:
        now = self.now()
        for event, when in list(self._waiting.items()):
            if when <= now:
                event.set()


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


Script = Callable[[IssuanceTask], NewCertificate | Exception]


@dataclass
class ScriptedIssuer:
    """An issuer that does what its script says; by default it issues."""

    clock: FakeClock
    name: str = "scripted"
    script: Script | None = None
    lifetime: timedelta = 90 * DAY
    info: RenewalInfo | AcmeClientError | None = None
    tasks: list[IssuanceTask] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    revoked: list[tuple[str, int]] = field(default_factory=list)
    asked: int = 0
    before_issue: Callable[[IssuanceTask], Awaitable[None]] | None = None

    @property
    def directory(self) -> str:
        return self.name

    async def issue(self, task: IssuanceTask, environment: Environment) -> NewCertificate:
        self.tasks.append(task)
        if self.before_issue is not None:
            await self.before_issue(task)
        result = self.script(task) if self.script else self.deliver(task)
        if isinstance(result, Exception):
            raise result
        return result

    def deliver(self, task: IssuanceTask) -> NewCertificate:
        return make_new(
            task.request.names,
            number=len(self.tasks) % 5,
            key_type=task.key_type,
            not_before=self.clock.now(),
            lifetime=self.lifetime,
            directory=self.directory,
            profile=task.request.profile,
        )

    async def settle(self, task: IssuanceTask, environment: Environment) -> None:
        self.settled.append(task.certificate_id)

    async def renewal_info(
        self, certificate: StoredCertificate, environment: Environment
    ) -> RenewalInfo | None:
        self.asked += 1
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    async def revoke(
        self, certificate: StoredCertificate, reason: int, environment: Environment
    ) -> None:
        self.revoked.append((certificate.serial, reason))


def make_environment(folder: Path, clock: FakeClock | None = None) -> Environment:
    clock = clock or FakeClock()
    return Environment(FileStore(folder, clock.now), clock, Random(7))


def in_turn(*results: NewCertificate | Exception | Script) -> Script:
    """A script that goes through these, and stays with the last."""
    remaining: Sequence[NewCertificate | Exception | Script] = list(results)
    position = iter(range(10**9))

    def script(task: IssuanceTask) -> NewCertificate | Exception:
        step = remaining[min(next(position), len(remaining) - 1)]
        return step(task) if callable(step) else step

    return script
