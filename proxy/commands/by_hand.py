"""``vestibule certs issue | renew | revoke``: the manager's work, once and now.

It may be done beside a running server: whoever works on a certificate holds its lock in the store,
an answer to a challenge lies there for every worker to give, and a note left there lets the
running manager look again (``proxy.changes``). Where no server runs, one worker is started for as
long as it takes, because somebody has to answer the CA.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random

import anyio

from acme_client import (
    AcmeClientError,
    CertificateManager,
    CertificateRequest,
    CertificateStatus,
    Environment,
    Store,
    StoredCertificate,
    SystemClock,
    open_store,
)
from acme_client.on_demand import remember, remembered
from acme_client.revocation import REASONS, revoke_and_remove
from proxy import logs
from proxy.certificate_requests import (
    certificate_request,
    obtained_sites,
    on_demand_request,
    on_demand_site,
)
from proxy.certificate_settings import (
    Solvers,
    make_hooks,
    make_issuers,
    make_requests,
    prepare_environment,
    prepare_imports,
    try_ca_certificates,
)
from proxy.changes import note_change
from proxy.channel import ChannelEnd, make_channel
from proxy.commands.retired import find_retired
from proxy.commands.serve import prepare_state
from proxy.config.model import Config
from proxy.errors import StartupError
from proxy.processes import become, find_user, fork
from proxy.server import run_worker
from proxy.sites import make_site_contexts
from proxy.sockets import BoundSockets, bind

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
WORKER_START_SECONDS = 10.0


class WrongUsage(StartupError):
    """What the command line says does not fit the configuration, or is not allowed."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Bench:
    """What the work is done with."""

    manager: CertificateManager
    requests: tuple[CertificateRequest, ...]
    """Those that were named, or all."""
    config: Config
    store: Store

    def is_on_demand(self, certificate_id: str) -> bool:
        """Whether it is for a name that only a site on demand stands for."""
        configured = {certificate_request(self.config, s).id for s in obtained_sites(self.config)}
        request = next(r for r in self.requests if certificate_id in r.certificate_ids)
        return certificate_id == request.id not in configured


Job = Callable[[Bench, str], Awaitable[None]]
Retire = Callable[[StoredCertificate], Awaitable[None]]
Say = Callable[[str], None]


def issue(config: Config, environ: Mapping[str, str], names: Sequence[str], say: Say) -> int:
    """Obtain what is missing or due, now, whatever the back-off says."""

    async def job(bench: Bench, certificate_id: str) -> None:
        stored = await bench.manager.obtain(certificate_id)
        if bench.is_on_demand(certificate_id):
            now = datetime.now(UTC)
            remember(bench.store, stored.names[0], certificate_id, now)
        say(_told(certificate_id, stored))

    return _work(config, environ, names, job, say)


def renew(
    config: Config, environ: Mapping[str, str], names: Sequence[str], say: Say, *, force: bool
) -> int:
    """Renew what is due; with ``force`` all that is named."""

    async def job(bench: Bench, certificate_id: str) -> None:
        before = _status(await bench.manager.look(), certificate_id)
        now = datetime.now(UTC)
        if not force and before.stored is not None and before.plan.at > now:
            say(f"{certificate_id}: not due until {_date(before.plan.at)} ({before.plan.reason})")
            return
        stored = await bench.manager.obtain(certificate_id, force=force)
        say(_told(certificate_id, stored))

    return _work(config, environ, names, job, say)


def revoke(
    config: Config, environ: Mapping[str, str], names: Sequence[str], say: Say, *, reason: str
) -> int:
    """Replace, then revoke; what is no longer in the configuration is not replaced."""
    if reason not in REASONS:
        raise WrongUsage(f"--reason: {reason!r} is not allowed; allowed are {', '.join(REASONS)}")

    async def job(bench: Bench, certificate_id: str) -> None:
        await bench.manager.revoke(certificate_id, reason)
        after = _status(await bench.manager.look(), certificate_id)
        say(f"{certificate_id}: revoked ({reason})")
        if after.stored is not None:
            say(_told(certificate_id, after.stored))

    async def retire(stored: StoredCertificate) -> None:
        issuers = make_issuers(config)
        environment = Environment(open_store(config.storage), SystemClock(), Random())
        await revoke_and_remove(stored, reason, issuers=issuers, environment=environment)
        say(f"{stored.id}: revoked ({reason}), and removed: it is not in the configuration")

    return _work(config, environ, names, job, say, retire)


def _work(
    config: Config,
    environ: Mapping[str, str],
    names: Sequence[str],
    job: Job,
    say: Say,
    retire: Retire | None = None,
) -> int:
    prepare_environment(environ)
    logs.configure(config.log.level)
    try_ca_certificates(config)
    with at_work(config):
        prepare_imports(config)
        store = open_store(config.storage)
        try:
            retired, others = find_retired(config, store, names) if retire else ([], list(names))
            requests = () if retired and not others else requests_for(config, store, others)
        except AcmeClientError as error:
            raise StartupError(str(error)) from error

        async def do() -> int:
            failures = await _do(config, store, requests, others, job, say)
            for stored in retired:
                assert retire is not None  # without it none is looked for
                failures += not await _succeeds(partial(retire, stored), stored.id, say)
            return EXIT_FAILED if failures else 0

        return anyio.run(do)


async def _do(
    config: Config,
    store: Store,
    requests: tuple[CertificateRequest, ...],
    names: Sequence[str],
    job: Job,
    say: Say,
) -> int:
    """Do this to each certificate that is meant; returns how many failed."""
    manager = CertificateManager(
        requests=requests, issuers=make_issuers(config), store=store, hooks=make_hooks(config)
    )
    bench = Bench(manager, requests, config, store)
    failures = 0

    async def one(certificate_id: str) -> None:
        nonlocal failures
        try:
            done = await _succeeds(partial(job, bench, certificate_id), certificate_id, say)
            failures += not done
        finally:
            # Also after a failure: its record is news for the running manager.
            _note(store, certificate_id)

    async with anyio.create_task_group() as group:
        for certificate_id in chosen_ids(requests, names):
            group.start_soon(one, certificate_id)
    return failures


def _note(store: Store, certificate_id: str) -> None:
    """Tell a running manager. What is not told, workers find in the store, only later."""
    try:
        note_change(store, certificate_id, datetime.now(UTC))
    except AcmeClientError as error:
        logger.warning("%s: a running server is not told of it: %s", certificate_id, error)


async def _succeeds(call: Callable[[], Awaitable[None]], certificate_id: str, say: Say) -> bool:
    try:
        await call()
    except AcmeClientError as error:
        say(f"{certificate_id}: failed: {error}")
        return False
    return True


def requests_for(
    config: Config, store: Store, names: Sequence[str]
) -> tuple[CertificateRequest, ...]:
    """What is asked for under these names or ids; without any, all there is."""
    solvers = Solvers()
    configured = make_requests(config, solvers)
    if not names:
        known = [name for name, _ in remembered(store) if on_demand_site(config, name)]
        return (*configured, *(_on_demand(config, solvers, name) for name in known))
    found: dict[str, CertificateRequest] = {}
    for name in names:
        request = next((r for r in configured if name in (*r.names, *r.certificate_ids)), None)
        if request is None:
            request = _on_demand(config, solvers, name)
        found[request.id] = request
    return tuple(found.values())


def chosen_ids(requests: Sequence[CertificateRequest], names: Sequence[str]) -> Iterator[str]:
    """The ids of the certificates that are meant: all of a request, or the one that was named."""
    for request in requests:
        ids = request.certificate_ids
        exact = [one for one in ids if one in names and one != request.id]
        yield from exact or ids


def _on_demand(config: Config, solvers: Solvers, name: str) -> CertificateRequest:
    site = on_demand_site(config, name)
    if site is None:
        known = ", ".join(site.names[0] for site in config.sites if site.certificate is None)
        raise WrongUsage(
            f"{name}: the configuration asks for no such certificate; there are {known or 'none'}"
        )
    return solvers.equip(on_demand_request(config, site, name), config.acme_of(site))


@contextmanager
def at_work(config: Config) -> Iterator[None]:
    """Become whom the server is run as; answer challenges where no server does."""
    user = find_user(config.user) if config.user is not None else None
    sockets = _bind_if_free(config) if _needs_answers(config) else None
    try:
        prepare_state(config.state_dir, user)
        if user is not None:
            # What we write must be readable for the server.
            become(user)
        if sockets is None:
            yield
        else:
            with _worker(config, sockets):
                yield
    finally:
        if sockets is not None:
            sockets.close()


def _needs_answers(config: Config) -> bool:
    return any(
        not all(issuer.is_internal for issuer in found.issuers)
        and not {"http-01", "tls-alpn-01"}.isdisjoint(found.challenges)
        for found in map(config.acme_of, config.sites)
    )


def _bind_if_free(config: Config) -> BoundSockets | None:
    try:
        return bind(config.listen.https, config.listen.http)
    except StartupError as error:
        # As a rule by the running server, which then answers.
        logger.debug("%s", error)
        return None


@contextmanager
def _worker(config: Config, sockets: BoundSockets) -> Iterator[None]:
    """A worker in a process of its own, for as long as the block runs."""
    ours, theirs = make_channel()
    contexts = make_site_contexts(config)

    def run() -> int:
        ours.close()
        logs.configure("warning")
        run_worker(
            config=config, sockets=sockets, contexts=contexts, app_sockets={}, channel=theirs
        )
        return 0

    pid = fork(run)
    theirs.close()
    try:
        _wait_until_ready(ours)
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        ours.close()


def _wait_until_ready(channel: ChannelEnd) -> None:
    async def wait() -> None:
        with anyio.move_on_after(WORKER_START_SECONDS):
            while not channel.closed_by_peer:
                await anyio.wait_readable(channel)
                if any(notice.kind == "ready" for notice in channel.receive()):
                    return
        raise StartupError("no worker could be started that would answer the CA")

    anyio.run(wait)


def _status(statuses: Sequence[CertificateStatus], certificate_id: str) -> CertificateStatus:
    return next(status for status in statuses if status.certificate_id == certificate_id)


def _told(certificate_id: str, stored: StoredCertificate) -> str:
    return (
        f"{certificate_id}: valid until {_date(stored.not_after)}, serial {stored.serial}, "
        f"from {stored.directory}"
    )


def _date(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M} UTC"
