"""One ACME account in use: the CA, the account, the ledger, and what they are used for.

What the CA says about coming back later goes into the ledger, which stands before every order.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import anyio
from cryptography import x509
from requests.adapters import BaseAdapter

from acme_client.account import AccountKeeper, directory_slug
from acme_client.ari import certificate_identifier
from acme_client.authority import Authority, Credentials, ExternalAccount
from acme_client.backoff import clamp_retry_after
from acme_client.bookkeeping import Bookkeeper
from acme_client.checks import parse_chain
from acme_client.conversation import Conversation
from acme_client.directories import NO_LIMITS, Limits
from acme_client.errors import (
    AccountUnknown,
    IssuerError,
    IssuerUnreachable,
    LockHeld,
    RateLimited,
    Refused,
    RequestError,
    ValidationFailed,
)
from acme_client.issuance import Issuance
from acme_client.issuer import Environment, IssuanceTask, RenewalInfo
from acme_client.keys import certificate_key_from_pem
from acme_client.ledger import (
    EVERYTHING,
    Budget,
    Obstacle,
    account_charges,
    failure_charges,
    order_charges,
    order_scopes,
    refused_scope,
)
from acme_client.names import ip_address
from acme_client.placed import PlacedOrder
from acme_client.renewal import ask_time
from acme_client.resources import Directory, Order
from acme_client.store.interface import NewCertificate, StoredCertificate
from acme_client.transport import Transport
from acme_client.waiting import in_turn
from acme_client.worker import at_the_ca, on_disk

logger = logging.getLogger(__name__)

T = TypeVar("T")

DIRECTORY_SECONDS = 3600.0
"""How long a directory is believed; CAs add features and move things."""

SHORT_LIVED_PROFILE = "shortlived"
"""What Let's Encrypt (and Pebble) call the profile that addresses need."""

KEY_COMPROMISE = 1
"""RFC 5280 §5.3.1"""

LOCK_WAIT = 0.5
LOCK_TRIES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeSettings:
    """What the configuration says about one ACME CA."""

    directory: str
    """The directory's URL."""
    contact: tuple[str, ...] = ()
    """``mailto:`` URLs."""
    ca_certificates: str | Path | None = None
    external_account: ExternalAccount | None = None
    profile: str | None = None
    limits: Limits = NO_LIMITS
    user_agent: str = "vestibule"
    adapter: BaseAdapter | None = field(default=None, repr=False)
    """Another way to the CA than the network, for simulations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A CA as it is now, beside what is set for it."""

    directory: Directory
    clock_ahead: timedelta
    """How far its clock is ahead of ours."""
    has_account: bool
    has_binding: bool
    """Whether external account binding is set up."""
    profile: str | None
    """The profile that is set for it."""


class AcmeSession:
    """See the module's docstring. One per issuer and environment."""

    def __init__(self, settings: AcmeSettings, environment: Environment) -> None:
        self._settings = settings
        self._environment = environment
        self._slug = directory_slug(settings.directory)
        self.authority = Authority(
            settings.directory,
            Transport(
                now=environment.clock.now,
                user_agent=settings.user_agent,
                ca_certificates=settings.ca_certificates,
                adapter=settings.adapter,
            ),
        )
        self._conversation = Conversation(self.authority, environment)
        self._books = Bookkeeper(environment, self._slug)
        self._account = AccountKeeper(
            environment.store,
            self.authority,
            contact=settings.contact,
            external=settings.external_account,
        )
        self._opening = anyio.Lock()
        self._directory_until = float("-inf")

    # Looking.

    async def look(self) -> Sight:
        """What the CA says of itself now, by one request that is not repeated."""

        def fetch() -> Directory:
            self.authority.forget_directory()
            return self.authority.directory()

        directory = await at_the_ca(fetch)
        return Sight(
            directory=directory,
            clock_ahead=self.authority.transport.clock_skew,
            has_account=await on_disk(self._account.url) is not None,
            has_binding=self._settings.external_account is not None,
            profile=self._settings.profile,
        )

    # Issuing.

    async def issue(self, task: IssuanceTask) -> NewCertificate:
        """A certificate. An account that the CA does not know is replaced, once."""
        return await self._with_account(lambda: self._issue(task), task.request.names)

    async def _issue(self, task: IssuanceTask) -> NewCertificate:
        profile = self._profile(task, await self._directory())
        issuance = Issuance(self._conversation, task, self._slug, profile)
        found = await issuance.resume()
        if found is not None:
            return await self._walk(issuance, *found)
        names = task.request.names
        charges = order_charges(
            self._settings.limits,
            names,
            renewal=task.replaces is not None,
            ari=issuance.ari_identifier() is not None,
        )
        await self._books.reserve(
            charges,
            scopes=order_scopes(names),
            and_room_for=failure_charges(self._settings.limits, names),
        )
        # What did not come about does not count; but that an order was placed does.
        refundable = tuple(charge for charge in charges if charge.per_certificate)
        try:
            return await self._walk(issuance, *await issuance.place())
        except (Refused, ValidationFailed):
            await self._books.refund(refundable)
            raise

    async def _walk(self, issuance: Issuance, order: Order, placed: PlacedOrder) -> NewCertificate:
        try:
            return await issuance.walk(order, placed)
        except ValidationFailed as error:
            await self._books.charge(failure_charges(self._settings.limits, error.names))
            raise

    async def settle(self, task: IssuanceTask) -> None:
        await Issuance(self._conversation, task, self._slug, None).forget()

    def _profile(self, task: IssuanceTask, directory: Directory) -> str | None:
        """The profile to order: the site's, else what addresses need, else the issuer's."""
        wanted, offered = task.request.profile, directory.profiles
        if wanted is None and any(ip_address(name) for name in task.request.names):
            # Let's Encrypt has addresses under this one alone, whatever is right for names.
            wanted = SHORT_LIVED_PROFILE if SHORT_LIVED_PROFILE in offered else None
        wanted = wanted or self._settings.profile
        if wanted is not None and wanted not in offered:
            offers = ", ".join(sorted(offered)) or "none"
            raise RequestError(f"profile {wanted!r}: {directory.url} offers {offers}")
        return wanted

    # Renewal information and revocation.

    async def renewal_info(self, certificate: StoredCertificate) -> RenewalInfo | None:
        """RFC 9773; needs no account."""
        identifier = certificate_identifier(certificate.chain_pem)
        if (await self._directory()).renewal_info is None or identifier is None:
            return None
        window, wait = await self._conversation.ask(lambda ca: ca.renewal_info(identifier))
        return RenewalInfo(window, ask_time(self._environment.clock.now(), wait))

    async def revoke(self, certificate: StoredCertificate, reason: int) -> None:
        leaf = parse_chain(certificate.chain_pem)[0]
        key = certificate_key_from_pem(certificate.key_pem)

        async def by_account() -> None:
            await self._revoke(leaf, reason)

        async def by_key() -> None:
            await self._conversation.ask(lambda ca: ca.revoke(leaf, reason, key))

        # Signed by a compromised key itself, the request also proves the compromise: the CA then
        # refuses that key for all others too.
        first, second = (by_key, by_account) if reason == KEY_COMPROMISE else (by_account, by_key)
        try:
            try:
                await first()
            except (AccountUnknown, Refused) as error:
                if isinstance(error, RateLimited) or error.problems[0].code == "alreadyRevoked":
                    raise
                logger.info("%s: revoking in the other way: %s", certificate.id, error)
                await second()
        except Refused as error:
            if error.problems[0].code != "alreadyRevoked":
                raise
            logger.info("%s: was revoked already", certificate.id)

    async def _revoke(self, leaf: x509.Certificate, reason: int) -> None:
        await self._with_account(
            lambda: self._conversation.ask(lambda ca: ca.revoke(leaf, reason)), ()
        )

    # The account.

    async def account_url(self) -> str | None:
        """The account that is kept in the store; None when there is none yet."""
        return await on_disk(self._account.url)

    async def roll_over_account_key(self) -> None:
        await self._with_account_lock(self._account.roll_over)

    async def recover_account(self, key_pem: str) -> None:
        await self._with_account_lock(lambda: self._account.recover(key_pem))

    async def deactivate_account(self) -> None:
        await self._with_account_lock(self._account.deactivate)

    async def budget(self, names: tuple[str, ...]) -> list[Budget]:
        """What is left of the CA's limits for these names, as far as we know."""
        ledger, now = await self._books.ledger(), self._environment.clock.now()
        limits = self._settings.limits
        charges = order_charges(limits, names, renewal=False, ari=False)
        return [
            ledger.left(charge, now)
            for charge in (*charges, *failure_charges(limits, names), *account_charges(limits))
        ]

    async def obstacle(self, names: tuple[str, ...]) -> Obstacle | None:
        """What the CA has asked us to wait for, if it concerns these names."""
        ledger = await self._books.ledger()
        return ledger.block_on(order_scopes(names), self._environment.clock.now())

    async def _with_account(self, call: Callable[[], Awaitable[T]], names: tuple[str, ...]) -> T:
        """Do something that needs the account, and write down when the CA wants us back."""
        try:
            await self._open_account()
            used = self.authority.credentials
            try:
                return await call()
            except AccountUnknown:
                await self._replace_account(used)
                return await call()
        except (RateLimited, IssuerUnreachable) as error:
            await self._note_wish(error, names)
            raise

    async def _note_wish(self, error: IssuerError, names: tuple[str, ...]) -> None:
        if error.retry_at is None:
            return
        limited = isinstance(error, RateLimited) and names
        scope = refused_scope(names, error.problems) if limited else EVERYTHING
        until = clamp_retry_after(error.retry_at, self._environment.clock.now())
        await self._books.block(scope, Obstacle(until, str(error)))

    async def _open_account(self) -> None:
        if await on_disk(self._account.is_open):
            return
        await self._directory()
        if not await on_disk(self._account.exists):
            await self._books.reserve(account_charges(self._settings.limits), scopes=(EVERYTHING,))
        await self._with_account_lock(self._open_unless_open)

    def _open_unless_open(self) -> None:
        if not self._account.is_open():
            self._account.open()

    async def _replace_account(self, unknown: Credentials | None) -> None:
        """Register anew, unless another task did while this one failed."""
        now = self._environment.clock.now()

        def replace_unknown() -> None:
            if self.authority.credentials is unknown:
                self._account.replace_unknown(now)

        await self._books.reserve(account_charges(self._settings.limits), scopes=(EVERYTHING,))
        await self._with_account_lock(replace_unknown)

    async def _with_account_lock(self, call: Callable[[], None]) -> None:
        store, name = self._environment.store, self._account.lock_name

        def locked() -> None:
            with store.lock(name):
                call()

        async with self._opening:
            await in_turn(
                lambda: at_the_ca(locked),
                self._environment.clock,
                every=LOCK_WAIT,
                tries=LOCK_TRIES,
                too_long=LockHeld(f"another process has been using {name} for too long"),
            )

    async def _directory(self) -> Directory:
        now = self._environment.clock.monotonic()
        if now >= self._directory_until:
            self.authority.forget_directory()
            self._directory_until = now + DIRECTORY_SECONDS
        return await self._conversation.ask(Authority.directory)
