"""One order, from its placing to the certificate (RFC 8555 §7.4).

An order is walked by its status, which the CA keeps and we only read::

    pending     validate its authorisations
    ready       finalise it with a CSR for the key that was kept with the order
    processing  wait
    valid       download the certificate
    invalid     forget it; say why

So it does not matter whether the order is new or was found in the store after a crash: the walk
begins wherever it stands.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from acme_client.ari import certificate_identifier
from acme_client.authority import Authority
from acme_client.chains import choose_chain, leads_to, root_names
from acme_client.challenges.validation import validate
from acme_client.checks import parse_chain
from acme_client.compromised import compromised_keys
from acme_client.conversation import Conversation
from acme_client.csr import make_csr
from acme_client.errors import (
    AccountUnknown,
    BadCertificate,
    IssuerUnreachable,
    ProtocolViolation,
    RateLimited,
    Refused,
    ValidationFailed,
)
from acme_client.issuer import IssuanceTask
from acme_client.keys import certificate_key_from_pem, generate_key, key_to_pem
from acme_client.placed import PlacedOrder, forget_order, load_order, save_order, successor_of
from acme_client.resources import Order
from acme_client.store.interface import NewCertificate
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

MAX_STEPS = 10
"""An order goes through at most four changes of status; a CA that sends it round is at fault."""

MAX_ALTERNATES = 10


@dataclass(frozen=True, slots=True)
class Issuance:
    """One certificate's dealings with one CA."""

    conversation: Conversation
    task: IssuanceTask
    slug: str
    """The directory's name in the store."""
    profile: str | None

    async def resume(self) -> tuple[Order, PlacedOrder] | None:
        """The order that an earlier attempt placed, if it is still good for the task."""
        store, certificate_id = self.conversation.environment.store, self.task.certificate_id
        placed, compromised = await on_disk(
            lambda: (load_order(store, self.slug, certificate_id), compromised_keys(store))
        )
        if placed is None:
            return None
        credentials = self.conversation.authority.credentials
        account_url = credentials.url if credentials else None
        now = self.conversation.environment.clock.now()
        if placed.key_fingerprint not in compromised and placed.fits(
            self.task, account_url, self.profile, now
        ):
            try:
                order = await self.conversation.order(placed.url)
            except (RateLimited, AccountUnknown):
                raise
            except Refused as error:
                logger.info("%s: the kept order is gone: %s", certificate_id, error)
            else:
                if order.status != "invalid":
                    logger.info("%s: going on with the %s order", certificate_id, order.status)
                    return order, placed
        await self.forget()
        return None

    async def place(self) -> tuple[Order, PlacedOrder]:
        """Place a new order; it is in the store before this returns, also when cancelled."""
        replaces = self.ari_identifier()
        try:
            return await self.conversation.ask(lambda authority: self._place(authority, replaces))
        except (RateLimited, AccountUnknown):
            raise
        except (Refused, IssuerUnreachable) as error:
            if replaces is None or not _may_be_about_replacing(error):
                raise
            # RFC 9773 §5: the certificate may count as replaced already, or be unknown.
            logger.info("%s: ordering without 'replaces': %s", self.task.certificate_id, error)
            return await self.conversation.ask(lambda authority: self._place(authority, None))

    async def walk(self, order: Order, placed: PlacedOrder) -> NewCertificate:
        """Take an order to its certificate."""
        for _ in range(MAX_STEPS):
            match order.status:
                case "pending":
                    await self._validate(order)
                    order = await self._watch(order, "pending")
                case "ready":
                    order = await self._finalize(order, placed)
                case "processing":
                    order = await self._watch(order, "processing")
                case "valid":
                    try:
                        return await self._download(order, placed)
                    except BadCertificate:
                        await self.forget()  # it would bring the same again
                        raise
                case _:
                    await self.forget()
                    problems = () if order.problem is None else (order.problem,)
                    why = f": {order.problem}" if order.problem else ", without saying why"
                    raise Refused(f"the CA gave up the order{why}", problems=problems)
        raise ProtocolViolation(f"the order's status goes round in circles, now {order.status}")

    async def forget(self) -> None:
        store, certificate_id = self.conversation.environment.store, self.task.certificate_id
        await on_disk(lambda: forget_order(store, self.slug, certificate_id))

    def ari_identifier(self) -> str | None:
        """How the order names the certificate that it replaces (RFC 9773 §5), if it does."""
        old = self.task.replaces
        authority = self.conversation.authority
        if old is None or old.directory != authority.directory_url:
            return None
        if authority.directory().renewal_info is None:
            return None
        return certificate_identifier(old.chain_pem)

    def _place(self, authority: Authority, replaces: str | None) -> tuple[Order, PlacedOrder]:
        task, environment = self.task, self.conversation.environment
        key = generate_key(task.key_type)
        order = authority.new_order(task.request.names, self.profile, replaces)
        assert authority.credentials is not None
        assert authority.credentials.url is not None
        placed = PlacedOrder(
            url=order.url,
            account_url=authority.credentials.url,
            names=task.request.names,
            key_type=task.key_type,
            profile=self.profile,
            successor_of=successor_of(task),
            key_pem=key_to_pem(key),
            placed_at=environment.clock.now(),
        )
        save_order(environment.store, self.slug, task.certificate_id, placed)
        if set(order.names) != set(task.request.names):
            raise ProtocolViolation(f"the CA's order is for {', '.join(order.names)}")
        return order, placed

    async def _validate(self, order: Order) -> None:
        authorizations = [
            await self.conversation.authorization(url) for url in order.authorizations
        ]
        try:
            await validate(self.conversation, self.task, authorizations)
        except ValidationFailed:
            await self.forget()  # RFC 8555 §7.1.6: one invalid authorisation ends the order
            raise

    async def _finalize(self, order: Order, placed: PlacedOrder) -> Order:
        def finalize(authority: Authority) -> Order:
            key = certificate_key_from_pem(placed.key_pem)
            return authority.finalize(order, make_csr(self.task.request.names, key))

        try:
            return await self.conversation.ask(finalize)
        except Refused as error:
            # RFC 8555 §7.4: it may have become something else since it was looked at.
            if error.problems[0].code != "orderNotReady":
                raise
            return await self._watch(order, "ready")

    async def _watch(self, order: Order, status: str) -> Order:
        return await self.conversation.watch(
            lambda: self.conversation.order(order.url),
            lambda found: found.status == status,
            "the order",
        )

    async def _download(self, order: Order, placed: PlacedOrder) -> NewCertificate:
        url, wish = order.certificate, self.task.request.preferred_chain
        assert url is not None
        first = await self.conversation.download(url)
        chains = [first.chain_pem]
        if len(parse_chain(first.chain_pem)) == 1:
            # A private CA may sign by its root; from a public one this would be a fault.
            logger.warning("%s: the CA sends no chain", self.task.certificate_id)
        if wish is not None and not leads_to(first.chain_pem, wish):
            for other in first.alternates[:MAX_ALTERNATES]:
                found = await self.conversation.download(other)
                chains.append(found.chain_pem)
        chosen = choose_chain(chains, wish)
        if wish is not None and not leads_to(chosen, wish):
            logger.warning(
                "%s: no chain of the CA leads to the preferred %r; it offers %s",
                self.task.certificate_id,
                wish,
                ", ".join(name for chain in chains for name in root_names(chain)) or "nothing",
            )
        return NewCertificate(
            chain_pem=chosen,
            key_pem=placed.key_pem,
            directory=self.conversation.authority.directory_url,
            profile=self.profile,
        )


def _may_be_about_replacing(error: Refused | IssuerUnreachable) -> bool:
    """Also an internal error may be, and a CA that stumbles over ``replaces`` may do so each time.

    Pebble answers so for a moment after an issuance: it notes the serial number last.
    """
    if isinstance(error, Refused):
        return True
    return any(problem.code == "serverInternal" for problem in error.problems) and (
        error.retry_at is None
    )
