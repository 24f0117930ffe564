"""An issuer that is an ACME CA (RFC 8555), as the configuration describes it."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from requests.adapters import BaseAdapter

from acme_client.authority import ExternalAccount
from acme_client.directories import DIRECTORIES, DIRECTORY_NAMES, INTERNAL, NO_LIMITS, Limits
from acme_client.errors import (
    AccountUnknown,
    AcmeClientError,
    NoChallenge,
    NotPresented,
    ProtocolViolation,
    RateLimited,
    Refused,
    RequestError,
    StoreError,
    ValidationFailed,
)
from acme_client.internal import InternalIssuer
from acme_client.issuer import Environment, IssuanceTask, Issuer, RenewalInfo
from acme_client.ledger import Budget
from acme_client.session import AcmeSession, AcmeSettings
from acme_client.store.interface import NewCertificate, StoredCertificate
from acme_client.transport import check_url

logger = logging.getLogger(__name__)


class AcmeIssuer:
    """An ACME CA; see :class:`acme_client.issuer.Issuer`.

    ``directory`` is a name of ``DIRECTORY_NAMES`` or the URL of an ACME directory; ``staging``
    another issuer to rehearse with after a failed validation (a named CA brings its own).
    """

    def __init__(
        self,
        directory: str = "letsencrypt",
        *,
        email: str | None = None,
        ca_certificates: str | Path | None = None,
        eab: ExternalAccount | None = None,
        profile: str | None = None,
        name: str | None = None,
        limits: Limits | None = None,
        staging: AcmeIssuer | None = None,
        user_agent: str = "vestibule",
        adapter: BaseAdapter | None = None,
    ) -> None:
        known = DIRECTORIES.get(directory)
        url = directory if known is None else known.url
        try:
            check_url(url)
        except ProtocolViolation:
            raise RequestError(
                f"directory {directory!r}: allowed are {', '.join(DIRECTORY_NAMES)} "
                "and the https URL of an ACME directory"
            ) from None
        if known is not None and known.staging is not None and staging is None:
            staging = AcmeIssuer(known.staging, email=email, user_agent=user_agent)
        self.settings = AcmeSettings(
            directory=url,
            contact=() if email is None else (f"mailto:{email}",),
            ca_certificates=ca_certificates,
            external_account=eab,
            profile=profile,
            limits=limits or (known.limits if known else NO_LIMITS),
            user_agent=user_agent,
            adapter=adapter,
        )
        self._name = name or (directory if known else str(urlsplit(url).netloc))
        self._staging = staging
        self._session: AcmeSession | None = None
        self._environment: Environment | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def directory(self) -> str:
        return self.settings.directory

    def __repr__(self) -> str:
        return f"<AcmeIssuer {self.name}>"

    def session(self, environment: Environment) -> AcmeSession:
        """The account in use; made at the first call, and kept for the same environment."""
        if self._session is None or self._environment is not environment:
            self._session = AcmeSession(self.settings, environment)
            self._environment = environment
        return self._session

    async def issue(self, task: IssuanceTask, environment: Environment) -> NewCertificate:
        if task.rehearse and self._staging is not None:
            await self._rehearse(self._staging, task, environment)
        return await self.session(environment).issue(task)

    async def settle(self, task: IssuanceTask, environment: Environment) -> None:
        await self.session(environment).settle(task)

    async def renewal_info(
        self, certificate: StoredCertificate, environment: Environment
    ) -> RenewalInfo | None:
        return await self.session(environment).renewal_info(certificate)

    async def revoke(
        self, certificate: StoredCertificate, reason: int, environment: Environment
    ) -> None:
        await self.session(environment).revoke(certificate, reason)

    async def budget(self, names: tuple[str, ...], environment: Environment) -> list[Budget]:
        return await self.session(environment).budget(names)

    async def account_url(self, environment: Environment) -> str | None:
        """The account's URL; None when none was needed yet."""
        return await self.session(environment).account_url()

    async def roll_over_account_key(self, environment: Environment) -> None:
        """Give the account a new key (RFC 8555 §7.3.5)."""
        await self.session(environment).roll_over_account_key()

    async def recover_account(self, key_pem: str, environment: Environment) -> None:
        """Use the account that the CA has for this key (RFC 8555 §7.3.1)."""
        await self.session(environment).recover_account(key_pem)

    async def deactivate_account(self, environment: Environment) -> None:
        """End the account for good (RFC 8555 §7.3.6)."""
        await self.session(environment).deactivate_account()

    async def _rehearse(
        self, staging: AcmeIssuer, task: IssuanceTask, environment: Environment
    ) -> None:
        """Let staging validate first: it has higher limits, and its certificate is thrown away."""
        rehearsal = replace(task, rehearse=False, replaces=None)
        try:
            await staging.issue(rehearsal, environment)
        except StoreError:
            raise
        except AcmeClientError as error:
            if _is_ours(error):
                # Whoever reads of this failure must not look for it at the CA itself.
                told = copy(error)
                told.args = (f"in the rehearsal at {staging.name}: {error}",)
                raise told from error
            # Staging is best effort; that it cannot be had is no reason not to try for real.
            logger.info("%s: no rehearsal at %s: %s", task.certificate_id, staging.name, error)
            return
        await staging.settle(rehearsal, environment)
        logger.info("%s: the rehearsal at %s succeeded", task.certificate_id, staging.name)


def _is_ours(error: AcmeClientError) -> bool:
    """Whether production would refuse for the same reason, so that the rehearsal did its work."""
    if isinstance(error, RateLimited | AccountUnknown):
        return False
    return isinstance(error, ValidationFailed | NoChallenge | NotPresented | Refused)


def make_issuer(
    directory: str,
    *,
    email: str | None = None,
    ca_certificates: str | Path | None = None,
    eab: ExternalAccount | None = None,
    profile: str | None = None,
    name: str | None = None,
    user_agent: str = "vestibule",
) -> Issuer:
    """The issuer for a configuration's ``directory``: a name, ``internal`` included, or a URL."""
    if directory == INTERNAL:
        return InternalIssuer(name=name or INTERNAL)
    return AcmeIssuer(
        directory,
        email=email,
        ca_certificates=ca_certificates,
        eab=eab,
        profile=profile,
        name=name,
        user_agent=user_agent,
    )
