"""``vestibule account list | roll-over | recover | persist``: the accounts at the CAs, by hand.

A running server needs no telling: it looks into the store before it speaks to a CA.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import anyio

from acme_client import AcmeClientError, AcmeIssuer, Environment, SystemClock, open_store
from acme_client.dns import Credentials, PersistRecord, ServerAddress, verify
from acme_client.names import normalise
from proxy import logs
from proxy.certificate_settings import make_issuers, prepare_environment, try_ca_certificates
from proxy.commands.by_hand import EXIT_FAILED, WrongUsage
from proxy.config.model import Config
from proxy.errors import StartupError
from proxy.processes import become, find_user

Say = Callable[[str], None]
Job = Callable[[AcmeIssuer, Environment], Awaitable[bool]]
"""What is done at one CA; false when it came to nothing."""


def list_accounts(config: Config, environ: Mapping[str, str], say: Say) -> int:
    """The account at each CA."""

    async def job(issuer: AcmeIssuer, environment: Environment) -> bool:
        say(f"{issuer.name}: {await issuer.account_url(environment) or NONE_YET}")
        return True

    return _at_each(config, environ, (), job, say)


def roll_over(config: Config, environ: Mapping[str, str], names: Sequence[str], say: Say) -> int:
    """Give the accounts at these CAs, or at all, new keys."""

    async def job(issuer: AcmeIssuer, environment: Environment) -> bool:
        url = await issuer.account_url(environment)
        if url is None:
            say(f"{issuer.name}: {NONE_YET}")
            return not names
        await issuer.roll_over_account_key(environment)
        say(f"{issuer.name}: {url} has a new key")
        return True

    return _at_each(config, environ, names, job, say)


def recover(config: Config, environ: Mapping[str, str], name: str, key_file: Path, say: Say) -> int:
    """Take over the account that a CA has for this key."""

    async def job(issuer: AcmeIssuer, environment: Environment) -> bool:
        known = await issuer.account_url(environment)
        if known is not None:
            say(f"{issuer.name}: failed: there is an account already, {known}")
            return False
        key = Credentials({"--key": f"file:{key_file}"}).load()["--key"]
        await issuer.recover_account(key, environment)
        say(f"{issuer.name}: {await issuer.account_url(environment)} is used from now on")
        return True

    return _at_each(config, environ, (name,), job, say)


def persist(config: Config, environ: Mapping[str, str], domains: Sequence[str], say: Say) -> int:
    """Print the record of DNS-PERSIST-01 for these names, and say whether it is there."""
    try:
        wanted = tuple(map(normalise, domains))
    except AcmeClientError as error:
        raise WrongUsage(str(error)) from error
    servers = config.acme.dns.resolvers if config.acme.dns is not None else ()

    async def job(issuer: AcmeIssuer, environment: Environment) -> bool:
        from acme_client.dns.lookup import Lookup

        lookup = Lookup([ServerAddress.parse(text) for text in servers])
        url = await issuer.account_url(environment)
        if url is None:
            say(f"{issuer.name}: {NONE_YET}; the record names it")
            return False
        identities = (await issuer.session(environment).look()).directory.caa_identities
        if not identities:
            say(f"{issuer.name}: does not say under which domain it issues")
            return False
        well = True
        for domain in wanted:
            record = PersistRecord(identities[0], url, wildcard=domain.startswith("*."))
            say(record.zone_line(domain))
            verdict = await verify(
                lookup, domain, issuers=identities, account_url=url, now=datetime.now(UTC)
            )
            say(f"; {issuer.name}: {verdict}")
            well = well and bool(verdict)
        return well

    return _at_each(config, environ, (), job, say)


NONE_YET = "no account yet; it is made with the first order"


def _at_each(
    config: Config, environ: Mapping[str, str], names: Sequence[str], job: Job, say: Say
) -> int:
    prepare_environment(environ)
    logs.configure("warning")
    try_ca_certificates(config)
    issuers = [issuer for issuer in make_issuers(config) if isinstance(issuer, AcmeIssuer)]
    known = {issuer.name for issuer in issuers}
    for name in names:
        if name not in known:
            raise WrongUsage(f"{name}: no such CA; there are {', '.join(sorted(known)) or 'none'}")
    if config.user is not None:
        become(find_user(config.user))
    try:
        environment = Environment(open_store(config.storage), SystemClock(), Random())
    except AcmeClientError as error:
        raise StartupError(str(error)) from error
    chosen = [issuer for issuer in issuers if not names or issuer.name in names]
    return anyio.run(partial(_do, chosen, environment, job, say))


async def _do(issuers: Sequence[AcmeIssuer], environment: Environment, job: Job, say: Say) -> int:
    failed = False
    for issuer in issuers:
        try:
            failed = not await job(issuer, environment) or failed
        except AcmeClientError as error:
            failed = True
            say(f"{issuer.name}: failed: {error}")
    return EXIT_FAILED if failed else 0
