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
from acme_client.errors import AcmeClientError, RequestError
from acme_client.internal import INTERNAL
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
    if reason not in REASONS:
        raise RequestError(f"reason {reason!r}: allowed are {', '.join(REASONS)}")
    if certificate is None:
        raise RequestError(f"there is no certificate {certificate_id} to revoke")
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
    store, key = environment.store, certificate.key_fingerprint
    if reason == "keyCompromise":
        now = environment.clock.now()
        await on_disk(lambda: mark_compromised(store, key, now, f"revoked {certificate_id}"))
    try:
        await replace()
    except AcmeClientError as error:
        logger.error(
            "%s: no successor could be had before the revocation: %s", certificate_id, error
        )
    if reason == "keyCompromise":
        await on_disk(lambda: store.delete_key(certificate_id, key))
    await issuer.revoke(certificate, REASONS[reason], environment)
    logger.warning("%s: serial %s is revoked: %s", certificate_id, certificate.serial, reason)
