"""``vestibule certs explain`` and ``vestibule doctor``: look, and say what is found.

Nothing is ordered and nothing of the service changes. Every probe has its own few seconds and all
run at once, so the whole ends soon however little the network answers; what came to no end is told
as not known.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from random import Random
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from acme_client import (
    AcmeClientError,
    AcmeIssuer,
    CertificateManager,
    CertificateRequest,
    CertificateStatus,
    Environment,
    Issuer,
    Store,
    StoreError,
    SystemClock,
    open_store,
)
from acme_client.dns import MissingExtra, ServerAddress
from acme_client.explain import MARKS, Explanation, explain, explain_retired
from acme_client.names import is_wildcard
from acme_client.probes import (
    DnsResolver,
    Doors,
    Finding,
    Level,
    Proof,
    Resolver,
    SystemResolver,
    Wanted,
    bounded,
    check_caa,
    find_addresses,
    judge_profile,
    knock_http,
    knock_https,
    look_at_ca,
)
from acme_client.session import Sight
from proxy import logs
from proxy.certificate_requests import certificate_request, obtained_sites
from proxy.certificate_settings import (
    make_issuers,
    prepare_environment,
    prepare_imports,
    try_ca_certificates,
    try_settings,
)
from proxy.commands.by_hand import WrongUsage, at_work, chosen_ids, requests_for
from proxy.commands.own_files import faults
from proxy.commands.retired import find_retired
from proxy.commands.stored import judge_records, look_at_store, look_at_stored
from proxy.config.model import Config
from proxy.errors import CertificateFileError, ConfigError, StartupError
from proxy.processes import become, find_user
from proxy.tls.pem_files import load_pair

EXIT_PROBLEM = 1

AT_ONCE = 64
ALL_SECONDS = 30.0
PROOF_LIFETIME = timedelta(minutes=2)
ON_DEMAND = (
    "ordered only when a client asks for it, on_demand.ask says yes, and no more than "
    "on_demand.names_per_hour new names came before it"
)

Say = Callable[[str], None]
Group = tuple[str, list[Finding]]
"""A heading and what was found under it."""


def explain_names(
    config: Config, environ: Mapping[str, str], names: Sequence[str], say: Say, *, as_json: bool
) -> int:
    """Explain these certificates, or all; exit code 1 when something needs a person."""
    _prepare(config, environ)
    if config.user is not None:
        become(find_user(config.user))
    store = open_store(config.storage)
    try:
        retired, others = find_retired(config, store, names)
        now = datetime.now(UTC)
        explanations = [explain_retired(stored, now) for stored in retired]
        if others or not retired:
            requests = requests_for(config, store, others)
            explanations += anyio.run(_explain, config, store, requests, others)
    except AcmeClientError as error:
        raise StartupError(str(error)) from error
    if as_json:
        say(json.dumps([found.to_json() for found in explanations], indent=2))
    else:
        for place, found in enumerate(explanations):
            if place:
                say("")
            for line in found.lines():
                say(line)
    return 0 if all(found.is_well for found in explanations) else EXIT_PROBLEM


def doctor(config: Config, environ: Mapping[str, str], say: Say, *, as_json: bool) -> int:
    """Look at everything a certificate will need, before anything is ordered."""
    _prepare(config, environ)
    settings = list(_settings(config))
    groups: list[Group] = [("settings", settings), *_own_files(config)]
    if config.obtains:
        with at_work(config):
            looked = anyio.run(_examine_all, config)
        # What the settings lack is found twice: it also keeps from looking at the rest.
        groups += [group for group in looked if not all(one in settings for one in group[1])]
    problems = sum(found.level is Level.PROBLEM for _, findings in groups for found in findings)
    if as_json:
        document = [
            {"subject": heading, "findings": [found.to_json() for found in findings]}
            for heading, findings in groups
        ]
        say(json.dumps(document, indent=2))
    else:
        for heading, findings in groups:
            say(heading)
            for found in findings:
                say(f"  {MARKS[found.level]} {found}")
        say(f"{problems or 'no'} problem{'s' if problems != 1 else ''} found")
    return EXIT_PROBLEM if problems else 0


def _prepare(config: Config, environ: Mapping[str, str]) -> None:
    prepare_environment(environ)
    prepare_imports(config)
    logs.configure("error")
    logging.getLogger("acme_client").setLevel(logging.CRITICAL)


# What needs no network.


def _settings(config: Config) -> Iterator[Finding]:
    for check in (try_settings, try_ca_certificates):
        try:
            check(config)
        except (ConfigError, StartupError) as error:
            yield Finding(Level.PROBLEM, "settings", str(error))
            return
    yield Finding(Level.OK, "settings", "the configuration, its secrets and functions are usable")


def _own_files(config: Config) -> Iterator[Group]:
    for site in config.sites:
        if site.certificate is None:
            continue
        try:
            pair = load_pair(site.certificate.chain, site.certificate.key)
        except CertificateFileError as error:
            found = [Finding(Level.PROBLEM, "file", str(error))]
        else:
            until = f"{site.certificate.chain}, valid until {pair.not_after:%Y-%m-%d %H:%M} UTC"
            found = [Finding(Level.OK, "file", until)]
            found += [
                Finding(Level.PROBLEM, "file", fault)
                for fault in faults(site, pair, datetime.now(UTC))
            ]
            found += [Finding(Level.NOTE, "file", warning) for warning in pair.warnings]
        yield site.names[0], found


# The store, the CAs, the names.


@dataclass(frozen=True, slots=True)
class Examiner:
    """What names are looked at with."""

    config: Config
    sights: Mapping[str, Sight]
    resolver: Resolver
    proof: Proof | None

    async def examine(self, request: CertificateRequest, wanted: Sequence[Wanted]) -> list[Finding]:
        """What a CA would find about the names of one request; ``wanted`` should be served."""
        issuers = [
            issuer
            for issuer in self.config.acme.issuers
            if not request.issuers or issuer.name in request.issuers
        ]
        if all(issuer.is_internal for issuer in issuers):
            return [Finding(Level.OK, "ca", "the internal CA asks nobody")]
        seen = [(i.name, self.sights[i.name].directory) for i in issuers if i.name in self.sights]
        identities = seen[0][1].caa_identities if seen else ()
        doors = self._doors(issuers[0].directory)
        found: dict[str, list[Finding]] = {}

        async def look(name: str) -> None:
            found[name] = await self._look_at(name, request, doors, identities, wanted)

        async with anyio.create_task_group() as group:
            for name in request.names:
                group.start_soon(look, name)
        unfit = [f for each in seen for f in judge_profile(*each, request.profile)]
        return [*unfit, *(finding for name in request.names for finding in found[name])]

    async def _look_at(
        self,
        name: str,
        request: CertificateRequest,
        doors: Doors,
        identities: Sequence[str],
        wanted: Sequence[Wanted],
    ) -> list[Finding]:
        kinds = request.challenge_kinds(name)
        said: dict[str, list[Finding]] = {"caa": [], "ports": []}

        async def probe(subject: str, call: Callable[[], Awaitable[list[Finding]]]) -> None:
            said[subject] = await bounded(subject, call)

        async def ports() -> list[Finding]:
            addresses, said = await find_addresses(self.resolver, name)
            if doors.http is not None and "http-01" in kinds:
                said += await knock_http(name, addresses, doors, self.proof)
            if doors.https is not None and "tls-alpn-01" in kinds:
                said += await knock_https(name, addresses, doors, wanted)
            return said

        async with anyio.create_task_group() as group:
            if not isinstance(self.resolver, SystemResolver):  # told once: it knows none
                group.start_soon(probe, "caa", partial(check_caa, self.resolver, name, identities))
            if not is_wildcard(name) and set(kinds) & {"http-01", "tls-alpn-01"}:
                group.start_soon(probe, "ports", ports)
        findings = [*said["caa"], *said["ports"]]
        if not kinds:
            findings.append(Finding(Level.PROBLEM, "challenges", f"nothing here can prove {name}"))
        elif kinds == ("dns-01",):
            text = f"{name} is proved by a TXT record at _acme-challenge.{name.removeprefix('*.')}"
            findings.append(Finding(Level.OK, "challenges", text))
        return findings

    def _doors(self, directory: str) -> Doors:
        """A CA asks at 80 and 443; one on this machine (a test server) asks where we listen."""
        listen = self.config.listen
        http = listen.http[0].port if listen.http else None
        https = listen.https[0].port
        if _is_local(directory):
            return Doors(http, https)
        ours = all(a.port == 80 for a in listen.http) and all(a.port == 443 for a in listen.https)
        return Doors(80 if listen.http else None, 443, ours)


def _is_local(directory: str) -> bool:
    host = urlsplit(directory).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _examine_all(config: Config) -> list[Group]:
    store = open_store(config.storage)
    environment = Environment(store, SystemClock(), Random())
    try:
        requests = requests_for(config, store, ())
        issuers = make_issuers(config)
    except (AcmeClientError, ConfigError, StartupError, WrongUsage) as error:
        return [("certificates", [Finding(Level.PROBLEM, "settings", str(error))])]
    general = [await anyio.to_thread.run_sync(look_at_store, store)]
    sights, said = await _look_at_cas(issuers, environment)
    resolver = _resolver(config)
    general += [*said, *_not_seen_by(resolver)]
    groups: list[Group] = [("certificate authorities and store", general)]
    places: dict[str, list[Finding]] = {
        request.id: [Finding(Level.NOTE, "time", "not looked at: time is up")]
        for request in requests
    }
    limiter = anyio.CapacityLimiter(AT_ONCE)
    with _proof(store) as proof:
        examiner = Examiner(config, sights, resolver, proof)

        async def look(request: CertificateRequest) -> None:
            async with limiter:
                wanted, told = await anyio.to_thread.run_sync(look_at_stored, store, request)
                places[request.id] = [*told, *await examiner.examine(request, wanted)]

        with anyio.move_on_after(ALL_SECONDS):
            async with anyio.create_task_group() as group:
                for request in requests:
                    group.start_soon(look, request)
    return groups + [(", ".join(request.names), places[request.id]) for request in requests]


async def _explain(
    config: Config, store: Store, requests: Sequence[CertificateRequest], names: Sequence[str]
) -> list[Explanation]:
    issuers = make_issuers(config)
    environment = Environment(store, SystemClock(), Random())
    manager = CertificateManager(requests=requests, issuers=issuers, store=store)
    statuses = await manager.look()
    ids = set(chosen_ids(requests, names))
    chosen = [status for status in statuses if status.certificate_id in ids]
    sights, said = await _look_at_cas(issuers, environment)
    resolver = _resolver(config)
    said += _not_seen_by(resolver)
    configured = {certificate_request(config, site).id for site in obtained_sites(config)}
    found = []
    with _proof(store) as proof:
        examiner = Examiner(config, sights, resolver, proof)
        for status in chosen:
            looked = await examiner.examine(status.request, [_wanted(status)])
            looked = [*judge_records(store, status.request), *looked]
            if status.stored is None and status.request.id not in configured:
                looked.insert(0, Finding(Level.NOTE, "on demand", ON_DEMAND))
            found.append(await explain(status, issuers, environment, [*said, *looked]))
    return found


async def _look_at_cas(
    issuers: Sequence[Issuer], environment: Environment
) -> tuple[dict[str, Sight], list[Finding]]:
    sights: dict[str, Sight] = {}
    findings: dict[str, list[Finding]] = {}

    async def look(issuer: AcmeIssuer) -> None:
        sight, findings[issuer.name] = await look_at_ca(
            issuer.name, issuer.session(environment).look
        )
        if sight is not None:
            sights[issuer.name] = sight

    async with anyio.create_task_group() as group:
        for issuer in issuers:
            if isinstance(issuer, AcmeIssuer):
                group.start_soon(look, issuer)
    return sights, [f for issuer in issuers for f in findings.get(issuer.name, ())]


def _wanted(status: CertificateStatus) -> Wanted:
    several = len(status.request.key_types) > 1
    fingerprint = status.stored.fingerprint if status.stored is not None else None
    return Wanted(fingerprint, status.key_type if several else None)


@contextmanager
def _proof(store: Store) -> Iterator[Proof | None]:
    """A challenge of our own in the store: whoever gives its answer is a worker of ours."""
    proof = Proof(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    try:
        expires = datetime.now(UTC) + PROOF_LIFETIME
        store.put_challenge("http-01", proof.token, proof.answer, expires)
    except StoreError:
        yield None  # what is wrong with the store is told elsewhere
        return
    try:
        yield proof
    finally:
        store.delete_challenge("http-01", proof.token)


def _not_seen_by(resolver: Resolver) -> list[Finding]:
    if not isinstance(resolver, SystemResolver):
        return []
    text = "CAA records are not looked at: that needs pip install 'vestibule[dns]'"
    return [Finding(Level.NOTE, "caa", text)]


def _resolver(config: Config) -> Resolver:
    """DNS itself where dnspython is installed, else what the system knows."""
    configured = config.acme.dns.resolvers if config.acme.dns is not None else ()
    try:
        from acme_client.dns.lookup import Lookup
    except MissingExtra:
        return SystemResolver()
    return DnsResolver(Lookup([ServerAddress.parse(text) for text in configured]))
