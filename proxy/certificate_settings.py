"""What the configuration says about certificates, as ``acme_client`` takes it.

Made by whoever orders certificates: the manager, and the commands that do its work by hand. Here
secrets are read and users' modules imported, so the data plane never comes here. A mistake that
only shows now (a variable that is not set, a package that is not installed) is a ConfigError that
names its key.
"""

from __future__ import annotations

import os
import shutil
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from acme_client import (
    CertificateRequest,
    DnsSolver,
    ExternalAccount,
    Hook,
    Issuer,
    RequestError,
    make_issuer,
)
from acme_client.ask import make_ask
from acme_client.dns import Credentials, DnsSettings, build_solver
from acme_client.functions import load_function
from acme_client.internal import ROOT_FILE
from proxy import __version__
from proxy.certificate_requests import certificate_request, obtained_sites
from proxy.config.acme import DnsTable, Eab, ForSite
from proxy.config.model import Config
from proxy.errors import ConfigError, StartupError

USER_AGENT = f"vestibule/{__version__}"


class Solvers:
    """The DNS-01 solvers, one for each table."""

    def __init__(self) -> None:
        self._made: list[tuple[DnsTable, DnsSolver]] = []

    def equip(self, request: CertificateRequest, found: ForSite) -> CertificateRequest:
        """The request with what answers DNS-01 for it, where anything does."""
        if found.dns is None or "dns-01" not in found.challenges:
            return request
        return replace(request, dns=self._solver(found.dns))

    def _solver(self, table: DnsTable) -> DnsSolver:
        for known, solver in self._made:
            if known == table:
                return solver
        solver = build_solver(
            DnsSettings(
                provider=table.provider,
                options=table.options,
                credentials=table.credentials,
                credentials_file=table.credentials_file,
                resolvers=table.resolvers,
                authoritative=table.authoritative,
                authoritative_port=table.authoritative_port,
                provider_seconds=table.provider_seconds,
                propagation_seconds=table.propagation_seconds,
            )
        )
        self._made.append((table, solver))
        return solver


def make_requests(config: Config, solvers: Solvers | None = None) -> list[CertificateRequest]:
    """What is to be obtained: one certificate for each site that does not bring its own."""
    solvers = solvers or Solvers()
    requests = []
    for site in obtained_sites(config):
        own_dns = site.acme is not None and site.acme.dns is not None
        where = f"sites[{config.sites.index(site)}]"
        with _named(where):
            request = certificate_request(config, site)
        with _named(f"{where}.acme.dns" if own_dns else "acme.dns"):
            requests.append(solvers.equip(request, config.acme_of(site)))
    return requests


def make_issuers(config: Config) -> list[Issuer]:
    """The CAs, in order; reads the secrets of external account binding."""
    issuers = []
    for settings in config.acme.issuers:
        with _named(f"{settings.key}.eab"):
            eab = None if settings.eab is None else _external_account(settings.eab)
        with _named(settings.key):
            issuer = make_issuer(
                settings.directory,
                email=settings.email,
                ca_certificates=settings.ca_certificates,
                eab=eab,
                profile=settings.profile,
                name=settings.name,
                user_agent=USER_AGENT,
            )
        issuers.append(issuer)
    return issuers


def make_hooks(config: Config) -> list[Hook]:
    """Whom to tell; imports the functions that are named."""
    hooks = []
    for place, table in enumerate(config.acme.hooks):
        with _named(f"acme.hooks[{place}]"):
            run = load_function(table.call) if table.call is not None else table.command
            assert run is not None  # the configuration was checked
            hooks.append(Hook(run=run, events=table.on, timeout=table.timeout))
    return hooks


def prepare_imports(config: Config) -> None:
    """Let functions of the configuration be found beside it."""
    folder = str(config.python_path) if config.python_path is not None else os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)


def prepare_environment(environ: Mapping[str, str]) -> None:
    """Let ``env:NAME`` see what an env file added, and commands inherit it."""
    os.environ.update(environ)


def try_settings(config: Config) -> int:
    """Refuse to start with settings that only fail when they are used; in a process apart,
    because it imports what the configuration names."""
    prepare_imports(config)
    make_requests(config)
    make_issuers(config)
    make_hooks(config)
    _try_dns(config)
    for place, hook in enumerate(config.acme.hooks):
        with _named(f"acme.hooks[{place}]"):
            _find_program(hook.command)
    if config.on_demand is not None:
        with _named("on_demand.ask"):
            make_ask(config.on_demand.ask, seconds=config.on_demand.ask_timeout)
    return 0


def _try_dns(config: Config) -> None:
    """Read the secrets and look for the programs that answer DNS-01.

    They are read anew whenever they are used; but what is missing now is better told now.
    """
    tried: list[DnsTable] = []
    for where, table in _dns_tables(config):
        if table not in tried:
            tried.append(table)
            with _named(where):
                Credentials(table.credentials, file=table.credentials_file).load()
                if table.provider == "command":
                    _find_program(table.options["command"])


def _dns_tables(config: Config) -> Iterator[tuple[str, DnsTable]]:
    """Those in use, each with its key."""
    for place, site in enumerate(config.sites):
        found = config.acme_of(site)
        if site.certificate is None and found.dns is not None and "dns-01" in found.challenges:
            own = site.acme is not None and site.acme.dns is not None
            yield (f"sites[{place}].acme.dns" if own else "acme.dns"), found.dns


def _find_program(command: Sequence[str] | None) -> None:
    if command and shutil.which(command[0]) is None:
        raise RequestError(f"command: {command[0]!r} is no program that can be run")


def try_ca_certificates(config: Config) -> None:
    """Refuse to start with trust for a CA that cannot be used."""
    for issuer in config.acme.issuers:
        path, key = issuer.ca_certificates, f"{issuer.key}.ca_certificates"
        if path is None:
            continue
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError as error:
            raise StartupError(f"{key}: {path} holds no certificate in PEM form") from error
        except OSError as error:
            raise StartupError(f"{key}: {path} cannot be read: {error.strerror}") from error


def root_file(config: Config) -> Path:
    """Where the embedded CA's certificate is, for clients to trust."""
    return config.state_dir / ROOT_FILE


def _external_account(eab: Eab) -> ExternalAccount:
    sources = {"hmac_key": eab.hmac_key}
    if eab.key_id.startswith(("env:", "file:")):
        sources["key_id"] = eab.key_id
    secrets = Credentials(sources).load()
    return ExternalAccount(
        key_id=secrets.get("key_id", eab.key_id),
        hmac_key=secrets["hmac_key"],
        algorithm=eab.algorithm,
    )


@contextmanager
def _named(key: str) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise ConfigError(f"{key}: {error}") from error
