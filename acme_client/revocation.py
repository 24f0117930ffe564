"""Revoking a certificate (RFC 8555 §7.6).

A certificate that is revoked while it is served breaks the site for every client that looks. So
its successor comes first; but whether that can be had or not, what was asked for is done. A key
that is said to be compromised is remembered, never ordered for again, and its older generations
are removed from the store.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from acme_client.compromised import mark_compromised
from acme_client.directories import INTERNAL
from acme_client.errors import AcmeClientError, RequestError
from acme_client.issuer import Environment, Issuer
from acme_client.store.interface import StoredCertificate
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}
"""RFC 5280 §5.3.1, as far as subscribers may give them."""


async def revoke_and_replace(
    certificate_id: str,
    certificate: StoredCertificate | None,
    reason: str,
    *,
    issuers: Sequence[Issuer],
    environment: Environment,
    replace: Callable[[], Awaitable[StoredCertificate]],
) -> None:
    """Revoke a certificate in care; ``replace`` has a new one issued and stored."""
    if certificate is None:
        raise RequestError(f"there is no certificate {certificate_id} to revoke")
    issuer = _issuer_of(certificate, reason, issuers)
    store = environment.store
    await _mark(certificate, reason, environment)
    try:
        await replace()
    except AcmeClientError as error:
        logger.error(
            "%s: no successor could be had before the revocation: %s", certificate_id, error
        )
    if reason == "keyCompromise":
        await on_disk(lambda: store.delete_key(certificate_id, certificate.key_fingerprint))
    await _revoke(certificate, reason, issuer, environment)


async def revoke_and_remove(
    certificate: StoredCertificate,
    reason: str,
    *,
    issuers: Sequence[Issuer],
    environment: Environment,
) -> None:
    """Revoke a certificate that nobody asks for any more.

    It has no successor, and goes from the store: if its names are asked for again, a certificate
    that is revoked must not be what is found there.
    """
    issuer = _issuer_of(certificate, reason, issuers)
    store = environment.store
    with await on_disk(lambda: store.lock(certificate.id)):
        await _mark(certificate, reason, environment)
        await _revoke(certificate, reason, issuer, environment)
        await on_disk(lambda: store.delete_certificate(certificate.id))


def _issuer_of(certificate: StoredCertificate, reason: str, issuers: Sequence[Issuer]) -> Issuer:
    """Who can revoke it; RequestError, before anything is done, when that cannot be."""
    certificate_id = certificate.id
    if reason not in REASONS:
        raise RequestError(f"reason {reason!r}: allowed are {', '.join(REASONS)}")
    if certificate.directory == INTERNAL:
        # Before anything is done: a half of what was asked for would look like all of it.
        raise RequestError(
            f"{certificate_id} is from the internal CA, which keeps no list of revoked "
            f"certificates: this one ends by itself at {certificate.not_after:%Y-%m-%d %H:%M} UTC; "
            "to put another with a new key in its place, renew it by force"
        )
    issuer = next((i for i in issuers if i.directory == certificate.directory), None)
    if issuer is None:
        raise RequestError(
            f"{certificate_id} is from {certificate.directory}, which is not configured"
        )
    return issuer


async def _mark(certificate: StoredCertificate, reason: str, environment: Environment) -> None:
    if reason != "keyCompromise":
        return
    store, now = environment.store, environment.clock.now()
    key, why = certificate.key_fingerprint, f"revoked {certificate.id}"
    await on_disk(lambda: mark_compromised(store, key, now, why))


async def _revoke(
    certificate: StoredCertificate, reason: str, issuer: Issuer, environment: Environment
) -> None:
    await issuer.revoke(certificate, REASONS[reason], environment)
    logger.warning("%s: serial %s is revoked: %s", certificate.id, certificate.serial, reason)
