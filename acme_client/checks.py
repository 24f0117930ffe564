"""Is this chain and key a certificate that may be served? (pure)

Whatever comes from a CA or from a file somebody else wrote is checked here before it is stored or
installed, so that a bad one never takes the place of a good one:

1. the chain holds certificates, not too many and not too large,
2. the key belongs to the first of them,
3. the first certifies the names that were asked for,
4. it is valid at the given date, and the chain has not expired,
5. each certificate is signed by the next, which is a CA (RFC 5246 §7.4.2: in that order).

That the top of the chain leads to a trusted root is left to the clients: which roots they trust
is their affair, and a server need not send the root at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from acme_client.errors import BadCertificate
from acme_client.keys import fingerprint, key_from_pem, key_type_of
from acme_client.names import is_wildcard

MAX_CHAIN_BYTES = 64 * 1024
MAX_CHAIN_LENGTH = 10

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A certificate this fresh is taken although our clock is a little behind the CA's."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a leaf certificate says."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    issuer: str
    key_type: str
    key_fingerprint: str
    fingerprint: str
    """SHA-256 of the certificate itself."""

    @property
    def lifetime(self) -> timedelta:
        return self.not_after - self.not_before


def parse_chain(chain_pem: str) -> list[x509.Certificate]:
    """The certificates of a PEM chain, leaf first."""
    if len(chain_pem) > MAX_CHAIN_BYTES:
        raise BadCertificate(f"the chain is larger than {MAX_CHAIN_BYTES} bytes")
    try:
        chain = x509.load_pem_x509_certificates(chain_pem.encode())
    except ValueError as error:
        raise BadCertificate(f"the chain holds no readable PEM certificate: {error}") from error
    if len(chain) > MAX_CHAIN_LENGTH:
        raise BadCertificate(f"the chain holds more than {MAX_CHAIN_LENGTH} certificates")
    return chain


def describe(chain_pem: str) -> CertificateFacts:
    """The facts of the chain's first certificate."""
    return _facts(parse_chain(chain_pem)[0])


def check_pair(
    chain_pem: str,
    key_pem: str,
    *,
    names: Iterable[str] = (),
    exact: bool = False,
    now: datetime | None = None,
) -> CertificateFacts:
    """Check a chain and its key; the leaf's facts, or BadCertificate.

    ``names`` must all be certified (by themselves or by a wildcard); with ``exact`` they must be
    all the names there are, as in a certificate we ordered. Without ``now`` dates are not looked
    at.
    """
    chain = parse_chain(chain_pem)
    facts = _facts(chain[0])
    try:
        own = fingerprint(key_from_pem(key_pem).public_key())
    except (TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"the private key is of no kind for a certificate: {error}") from error
    if own != facts.key_fingerprint:
        raise BadCertificate("the private key does not belong to the chain's first certificate")
    _check_names(facts, frozenset(names), exact)
    if now is not None:
        _check_dates(facts, now)
        for upper in chain[1:]:
            if upper.not_valid_after_utc <= now:
                raise BadCertificate(
                    f"the chain's certificate {upper.subject.rfc4514_string()!r} expired on "
                    f"{upper.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
                )
    for lower, upper in pairwise(chain):
        _check_link(lower, upper)
    return facts


def covers(certified: str, name: str) -> bool:
    """Whether a name in a certificate is good for ``name`` (RFC 6125 §6.4: one label per star)."""
    if certified == name:
        return True
    return is_wildcard(certified) and "." in name and certified[2:] == name.split(".", 1)[1]


def _facts(leaf: x509.Certificate) -> CertificateFacts:
    try:
        key = leaf.public_key()
        return CertificateFacts(
            names=_names(leaf),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            serial=f"{leaf.serial_number:x}",
            issuer=leaf.issuer.rfc4514_string(),
            key_type=key_type_of(key),
            key_fingerprint=fingerprint(key),
            fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        )
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"the first certificate cannot be read: {error}") from error


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    # Only the subject alternative name counts; the common name is ignored (RFC 9525 §2).
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    dns = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in san.get_values_for_type(x509.IPAddress)]
    return tuple(dns + addresses)


def _check_names(facts: CertificateFacts, wanted: frozenset[str], exact: bool) -> None:
    certified = frozenset(facts.names)
    if exact and certified != wanted:
        raise BadCertificate(
            f"the certificate is for {', '.join(sorted(certified)) or 'no name'} "
            f"and not for exactly {', '.join(sorted(wanted))}"
        )
    missing = sorted(n for n in wanted if not any(covers(name, n) for name in certified))
    if missing:
        raise BadCertificate(
            f"the certificate does not cover {', '.join(missing)}, "
            f"only {', '.join(sorted(certified)) or 'no name'}"
        )


def _check_dates(facts: CertificateFacts, now: datetime) -> None:
    if facts.not_after <= now:
        raise BadCertificate(f"the certificate expired on {facts.not_after:%Y-%m-%d %H:%M} UTC")
    if facts.not_before > now + CLOCK_TOLERANCE:
        raise BadCertificate(
            f"the certificate is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC"
        )


def _check_link(lower: x509.Certificate, upper: x509.Certificate) -> None:
    above = upper.subject.rfc4514_string()
    try:
        if not _is_ca(upper):
            raise BadCertificate(f"the chain's certificate {above!r} is not a CA's")
        lower.verify_directly_issued_by(upper)
    except (
        ValueError,
        TypeError,
        InvalidSignature,
        x509.DuplicateExtension,
        UnsupportedAlgorithm,
    ) as error:
        below = lower.subject.rfc4514_string() or "the first certificate"
        raise BadCertificate(f"the chain is broken: {below} is not signed by {above!r}") from error


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
