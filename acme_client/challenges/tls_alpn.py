"""The certificate that answers TLS-ALPN-01 (RFC 8737 §3; RFC 8738 §6 for addresses; pure)."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from acme_client.keys import generate_key, key_to_pem
from acme_client.names import ip_address, reverse_name

ALPN_PROTOCOL = "acme-tls/1"

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

LIFETIME = timedelta(days=7)


def server_name(domain: str) -> str:
    """The name the CA puts into SNI, under which the answer is stored."""
    address = ip_address(domain)
    return domain if address is None else reverse_name(address)


def challenge_pem(domain: str, key_authorization: str, now: datetime) -> str:
    """The certificate and its key, in one PEM text."""
    key = generate_key("p256")
    address = ip_address(domain)
    name = x509.DNSName(domain) if address is None else x509.IPAddress(address)
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(
            # An OCTET STRING (tag 4) of 32 bytes.
            x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode("ascii") + key_to_pem(key)
