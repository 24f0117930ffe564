"""A certificate chain and its key: read from PEM, checked against each other (pure).

OpenSSL judges a pair when it loads it, but says ``KEY_VALUES_MISMATCH`` at best and nothing at
worst. What an operator gets wrong is checked here first, and named: a file without a certificate
in it, an encrypted key, the key of another certificate, a chain in the wrong order.

What makes a pair unusable is an error. What only clients may dislike (dates, the order of the
chain) is a warning: a server that starts while its clock is off, or a day after its certificate
ran out, must still start. Whether such a pair may *replace* one in use is another question, and
:func:`date_fault` answers it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import PublicKeyAlgorithmOID

from proxy.errors import CertificateFileError
from proxy.tls.names import covers

# OpenSSL keeps one chain and key for each of these in a context.
_KEY_TYPES: Final = {
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY: "ECDSA",
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5: "RSA",
    PublicKeyAlgorithmOID.ED25519: "Ed25519",
}

# RFC 7468: text outside the blocks is allowed, and so are other blocks (EC PARAMETERS, or the
# certificates themselves when one file holds all).
_KEY_BLOCK: Final = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class PemPair:
    """A certificate chain, leaf first, and the leaf's key."""

    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    key_type: str
    """``ECDSA``, ``RSA`` or ``Ed25519``."""
    names: tuple[str, ...]
    """The DNS names of the certificate, wildcards among them, in lower case."""
    not_before: datetime
    not_after: datetime
    fingerprint: str
    """SHA-256 of the leaf, in hexadecimal."""
    warnings: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether the certificate is valid for a host name in normal form."""
        return any(covers(pattern, name) for pattern in self.names)


def parse_pair(
    chain_pem: bytes, key_pem: bytes, *, chain_name: str = "the chain", key_name: str = "the key"
) -> PemPair:
    """Read a pair and check that its parts belong together; the names are for messages."""
    chain = _read_chain(chain_pem, chain_name)
    leaf = chain[0]
    key_block, public_key = _read_key(key_pem, key_name)
    _check_match(chain, public_key, chain_name, key_name)
    key_type = _KEY_TYPES.get(leaf.public_key_algorithm_oid)
    if key_type is None:
        raise CertificateFileError(
            f"{chain_name}: the certificate's key type ({leaf.public_key_algorithm_oid._name}) "
            f"is not supported; allowed are {', '.join(_KEY_TYPES.values())}"
        )
    return PemPair(
        chain_pem,
        key_block,
        key_type,
        _dns_names(leaf, chain_name),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        leaf.fingerprint(hashes.SHA256()).hex(),
        _order_faults(chain, chain_name),
    )


def date_fault(pair: PemPair, now: datetime) -> str | None:
    """Why the certificate is not valid at ``now``, or None when it is."""
    if now > pair.not_after:
        return f"it expired on {pair.not_after:%Y-%m-%d %H:%M} UTC"
    if now < pair.not_before:
        return f"it is not valid before {pair.not_before:%Y-%m-%d %H:%M} UTC"
    return None


def _read_chain(pem: bytes, name: str) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise CertificateFileError(f"{name} holds no certificate in PEM form")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateFileError(f"{name} cannot be read as PEM certificates: {error}") from error


def _read_key(pem: bytes, name: str) -> tuple[bytes, object]:
    """The PEM block of the private key, and its public key."""
    block = _KEY_BLOCK.search(pem)
    if block is None:
        raise CertificateFileError(f"{name} holds no private key in PEM form")
    key_pem = block[0] + b"\n"
    if block[1].startswith(b"ENCRYPTED") or b"\nProc-Type: 4,ENCRYPTED" in key_pem:
        raise CertificateFileError(f"{name} is encrypted; a server needs it without a passphrase")
    try:
        # The primes of an RSA key are not tested: that takes 48 ms, a thousand times the rest.
        key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateFileError(f"{name} cannot be read as a private key: {error}") from error
    return key_pem, key.public_key()


def _check_match(
    chain: list[x509.Certificate], public_key: object, chain_name: str, key_name: str
) -> None:
    for position, certificate in enumerate(chain):
        if _public_key(certificate, chain_name) == public_key:
            if position:
                raise CertificateFileError(
                    f"{chain_name}: {key_name} belongs to certificate {position + 1} of "
                    f"{len(chain)}; the server's own certificate must come first"
                )
            return
    raise CertificateFileError(f"{key_name} does not belong to the certificate in {chain_name}")


def _public_key(certificate: x509.Certificate, chain_name: str) -> object:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateFileError(
            f"{chain_name}: a certificate's public key cannot be read: {error}"
        ) from error


def _dns_names(leaf: x509.Certificate, chain_name: str) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        # RFC 9525 §6.3: the common name is not looked at any more.
        return ()
    except (ValueError, x509.DuplicateExtension) as error:
        raise CertificateFileError(
            f"{chain_name}: the certificate's extensions cannot be read: {error}"
        ) from error
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _order_faults(chain: list[x509.Certificate], chain_name: str) -> tuple[str, ...]:
    # RFC 8446 §4.4.2: each following certificate SHOULD certify the one before it.
    for position, (certificate, issuer) in enumerate(pairwise(chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return (
                f"{chain_name}: certificate {position + 1} of {len(chain)} is not the issuer of "
                "the one before it; some clients will not find their way to the root",
            )
    return ()
