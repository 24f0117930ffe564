"""Certificates: download, revocation (RFC 8555 §7.4.2, §7.6), renewal information (RFC 9773)."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from acme_client.testing import jws
from acme_client.testing.calls import Call
from acme_client.testing.objects import Account, Certificate, Status, rfc3339
from acme_client.testing.problems import Problem, malformed
from acme_client.testing.state import State, spki
from acme_client.testing.wire import Reply, json_reply

KEY_COMPROMISE = 1

# RFC 5280 §5.3.1; of these a subscriber may give unspecified, keyCompromise, affiliationChanged,
# superseded and cessationOfOperation.
_SUBSCRIBER_REASONS = (0, KEY_COMPROMISE, 3, 4, 5)


def download(call: Call) -> Reply:
    certificate = call.find(call.state.certificates)
    call.require_post_as_get()
    wanted = call.arguments[1] if len(call.arguments) > 1 else "0"
    if not wanted.isdecimal() or int(wanted) >= len(certificate.chains):
        raise malformed(f"certificate {certificate.id} has no chain {wanted}", status=404)
    url = call.state.urls.of("certificate", certificate.id)
    chain = int(wanted)
    return Reply(
        headers={"Content-Type": "application/pem-certificate-chain"},
        links=[
            ("alternate", f"{url}/{number}" if number else url)
            for number in range(len(certificate.chains))
            if number != chain
        ],
        body=certificate.chains[chain],
    )


def revoke(call: Call) -> Reply:
    """RFC 8555 §7.6: signed by the account, or by the certificate's own key."""
    state, payload = call.state, call.payload()
    certificate = state.certificate_of(jws.decode(payload.get("certificate"), "the certificate"))
    call.record.names = certificate.names
    reason = payload.get("reason", 0)
    by_own_key = call.account_found is None
    if by_own_key:
        assert call.key is not None
        own = certificate.leaf.public_key()
        if call.key.key.public_numbers() != getattr(own, "public_numbers", lambda: None)():
            raise Problem("unauthorized", "the jwk is not the key of the certificate")
    elif not _may_revoke(state, call.account, certificate):
        raise Problem("unauthorized", "the account may not revoke this certificate")
    if reason not in _SUBSCRIBER_REASONS or isinstance(reason, bool):
        raise Problem("badRevocationReason", f"{reason!r} is not one of {_SUBSCRIBER_REASONS}")
    if reason == KEY_COMPROMISE and not by_own_key:
        # As Let's Encrypt: who says that a key is compromised must show that he has it.
        raise Problem(
            "badRevocationReason", "keyCompromise needs a request signed by the certificate's key"
        )
    if certificate.revoked is not None:
        raise Problem("alreadyRevoked", "the certificate has been revoked already")
    state.revoke(certificate, reason)
    if reason == KEY_COMPROMISE:
        state.blocked_keys.add(spki(certificate.leaf))
    return Reply(200)


def renewal_info(call: Call) -> Reply:
    """RFC 9773 §4.1, by an unauthenticated GET."""
    state = call.state
    certificate = state.by_renewal_id.get(call.arguments[0])
    if certificate is None:
        raise malformed(f"no certificate has the identifier {call.arguments[0]!r}", status=404)
    begin, end = renewal_window(certificate, state.now())
    document: dict[str, object] = {
        "suggestedWindow": {"start": rfc3339(begin), "end": rfc3339(end)}
    }
    if certificate.explanation is not None:
        document["explanationURL"] = certificate.explanation
    reply = json_reply(document)
    if state.settings.renewal_retry_after is not None:
        # RFC 9773 §4.3: it tells when to ask again.
        reply.headers["Retry-After"] = str(state.settings.renewal_retry_after)
    return reply


def renewal_window(certificate: Certificate, now: datetime) -> tuple[datetime, datetime]:
    """As Let's Encrypt suggests: a third of the lifetime before its end, a half when short.

    A revoked certificate's window lies in the past, which means: at once.
    """
    if certificate.window is not None:
        return certificate.window
    if certificate.revoked is not None:
        return now - timedelta(hours=1), now - timedelta(minutes=30)
    lifetime = certificate.not_after - certificate.not_before
    share = 3 if lifetime >= timedelta(days=10) else 2
    middle = certificate.not_after - lifetime / share
    return middle - lifetime / 100, middle + lifetime / 100


def _may_revoke(state: State, account: Account, certificate: Certificate) -> bool:
    """The account that ordered it, or one that holds all its names (RFC 8555 §7.6)."""
    if certificate.account is account:
        return True
    for identifier in certificate.order.identifiers:
        held = account.authorizations.get((identifier.base, identifier.wildcard))
        if held is None:
            return False
        state.settle_authorization(held)
        if held.status is not Status.VALID:
            return False
    return True


def load(data: bytes | str | x509.Certificate, state: State) -> Certificate:
    """The CA's record of a certificate given as PEM (also a chain) or parsed."""
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, bytes):
        data = x509.load_pem_x509_certificates(data)[0]
    return state.certificate_of(data.public_bytes(serialization.Encoding.DER))
