"""All that the CA knows, and how it moves on with time.

Nothing here runs by itself: an object is brought up to date (``settle``) when it is looked at, from
the clock as it stands then. So a clock that jumps forty days needs no timers, and a test sees the
same states however fast it runs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from acme_client.testing.clock import Clock
from acme_client.testing.faults import Faults
from acme_client.testing.identifiers import Identifier
from acme_client.testing.jws import encode
from acme_client.testing.objects import (
    Account,
    Authorization,
    Certificate,
    Challenge,
    Order,
    Status,
    Urls,
)
from acme_client.testing.pki import Defect, Leaf, Pki
from acme_client.testing.problems import Problem, malformed
from acme_client.testing.settings import Profile, Settings

MAX_NONCES = 10_000

_CHALLENGES = {
    # RFC 8555 §7.1.3 with RFC 8738 §4: a wildcard is proved in DNS only, an address never.
    "dns": ("http-01", "tls-alpn-01", "dns-01", "dns-persist-01"),
    "ip": ("http-01", "tls-alpn-01"),
    "wildcard": ("dns-01", "dns-persist-01"),
}


class State:
    """The registries of one CA. Not locked: the responder lets one request in at a time."""

    def __init__(
        self, *, settings: Settings, clock: Clock, rng: random.Random, base_url: str
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.rng = rng
        self.urls = Urls(base_url)
        self.faults = Faults(rng)
        self.pki = Pki(clock.now())
        self.accounts: dict[int, Account] = {}
        self.accounts_by_key: dict[str, Account] = {}
        self.authorizations: dict[int, Authorization] = {}
        self.challenges: dict[int, Challenge] = {}
        self.orders: dict[int, Order] = {}
        self.certificates: dict[int, Certificate] = {}
        self.by_renewal_id: dict[str, Certificate] = {}
        self.by_der: dict[bytes, Certificate] = {}
        self.blocked_keys: set[bytes] = set()
        """Public keys reported as compromised (RFC 8555 §7.6), as SubjectPublicKeyInfo."""
        self.start_validation: Callable[[Challenge], None] = _no_validation
        self._defects: dict[int, Defect] = {}
        self._nonces: dict[str, None] = {}
        self._numbers: Iterator[int] = itertools.count(1)

    def now(self) -> datetime:
        return self.clock.now()

    def number(self) -> int:
        return next(self._numbers)

    # -- nonces (RFC 8555 §6.5)

    def new_nonce(self) -> str:
        nonce = encode(self.rng.randbytes(16))
        self._nonces[nonce] = None
        if len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        return nonce

    def use_nonce(self, nonce: str) -> None:
        try:
            del self._nonces[nonce]
        except KeyError:
            raise Problem("badNonce", "the nonce is unknown or has been used") from None

    # -- authorizations

    def authorization_for(self, account: Account, requested: Identifier) -> Authorization:
        """A new one, or one to use again where the settings say so."""
        identifier, wildcard = requested.base, requested.wildcard
        known = account.authorizations.get((identifier, wildcard))
        if known is not None:
            self.settle_authorization(known)
            if known.status is Status.VALID and self.settings.reuse_valid_authorizations:
                return known
            if known.status is Status.PENDING and self.settings.reuse_pending_authorizations:
                return known
        authorization = Authorization(
            id=self.number(),
            account=account,
            identifier=identifier,
            wildcard=wildcard,
            expires=self.now() + self.settings.order_lifetime,
        )
        allowed = _CHALLENGES["wildcard" if wildcard else identifier.type]
        offered = [kind for kind in self.settings.challenges if kind in allowed]
        if not offered:
            raise Problem(
                "rejectedIdentifier", f"no challenge kind is offered for {requested.value}"
            )
        # Let's Encrypt shuffles them, so that no client relies on the order.
        self.rng.shuffle(offered)
        for kind in offered:
            self._add_challenge(authorization, kind)
        self.authorizations[authorization.id] = authorization
        account.authorizations[identifier, wildcard] = authorization
        return authorization

    def _add_challenge(self, authorization: Authorization, kind: str) -> None:
        challenge = Challenge(
            id=self.number(),
            kind=kind,
            token=encode(self.rng.randbytes(32)),
            authorization=authorization,
            issuer_names=self.settings.caa_identities if kind == "dns-persist-01" else (),
        )
        authorization.challenges.append(challenge)
        self.challenges[challenge.id] = challenge

    def settle_authorization(self, authorization: Authorization) -> None:
        if (
            authorization.status in (Status.PENDING, Status.VALID)
            and self.now() >= authorization.expires
        ):
            authorization.status = Status.EXPIRED

    def decide(self, challenge: Challenge, problem: Problem | None) -> None:
        """A validation has ended, well or with a problem (RFC 8555 §7.1.6)."""
        authorization = challenge.authorization
        self.settle_authorization(authorization)
        if authorization.status is not Status.PENDING:
            return
        account = authorization.account.id
        limits = self.settings.limits
        if problem is None:
            challenge.status = authorization.status = Status.VALID
            challenge.validated = self.now()
            authorization.expires = self.now() + self.settings.authorization_lifetime
            if limits is not None:
                limits.validation_succeeded(account, authorization.identifier)
            return
        challenge.status = authorization.status = Status.INVALID
        challenge.error = problem
        if limits is not None:
            limits.validation_failed(account, authorization.identifier, self.clock.time())

    # -- orders and certificates

    def settle(self, order: Order) -> None:
        """Bring an order to the state that its authorizations and the clock imply."""
        if order.status in (Status.PENDING, Status.READY):
            for authorization in order.authorizations:
                self.settle_authorization(authorization)
            states = {authorization.status for authorization in order.authorizations}
            if states - {Status.PENDING, Status.VALID} or self.now() >= order.expires:
                order.status = Status.INVALID
            elif states == {Status.VALID}:
                order.status = Status.READY
        elif (
            order.status is Status.PROCESSING
            and order.stuck_until is not None
            and self.now() >= order.stuck_until
        ):
            self.issue(order)

    def profile_of(self, order: Order) -> Profile:
        if order.profile is None:
            return Profile(self.settings.lifetime)
        return self.settings.profiles[order.profile]

    def postpone(self, order: Order, until: datetime | None, defect: Defect | None) -> None:
        """Leave a finalized order in processing."""
        order.status = Status.PROCESSING
        order.stuck_until = until
        if defect is not None:
            self._defects[order.id] = defect

    def issue(self, order: Order, defect: Defect | None = None) -> None:
        assert order.csr is not None
        key = order.csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        profile = self.profile_of(order)
        not_before = (self.now() - self.settings.backdate).replace(microsecond=0)
        lifetime = self._lifetime(order, profile)
        # RFC 5280 §4.1.2.5: notAfter is the last second of validity, not the first after it.
        not_after = not_before + lifetime - timedelta(seconds=1)
        issued = self.pki.issue(
            Leaf(
                public_key=key,
                identifiers=order.identifiers,
                not_before=not_before,
                not_after=not_after,
                serial=int.from_bytes(self.rng.randbytes(16)) | 1 << 120,
                common_name=profile.common_name,
            ),
            defect or self._defects.pop(order.id, None),
        )
        certificate = Certificate(
            id=self.number(),
            order=order,
            leaf=issued.leaf,
            renewal_id=self.pki.renewal_id(issued.leaf),
            chains=issued.chains,
            not_before=not_before,
            not_after=not_after,
        )
        self.certificates[certificate.id] = certificate
        self.by_renewal_id[certificate.renewal_id] = certificate
        self.by_der[issued.leaf.public_bytes(serialization.Encoding.DER)] = certificate
        order.certificate = certificate
        order.status = Status.VALID
        if order.replaces is not None:
            order.replaces.replaced_by = order
        if self.settings.limits is not None:
            self.settings.limits.issued(
                order.identifiers, self.clock.time(), replaces=order.replaces is not None
            )

    def _lifetime(self, order: Order, profile: Profile) -> timedelta:
        for name in order.names:
            if name in self.settings.lifetimes:
                return self.settings.lifetimes[name]
        return profile.lifetime

    def revoke(self, certificate: Certificate, reason: int) -> None:
        certificate.revoked = self.now()
        certificate.reason = reason

    def forget_accounts(self) -> None:
        """As a CA that has lost its database, or a test CA that was restarted."""
        self.accounts.clear()
        self.accounts_by_key.clear()

    def certificate_of(self, der: bytes) -> Certificate:
        try:
            return self.by_der[der]
        except KeyError:
            raise malformed("this CA has not issued that certificate", status=404) from None


def spki(key: x509.CertificateSigningRequest | x509.Certificate) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _no_validation(challenge: Challenge) -> None:
    raise RuntimeError(f"the CA does not run, so {challenge!r} cannot be validated")
