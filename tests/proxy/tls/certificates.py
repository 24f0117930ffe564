"""Certificates for tests, made when asked for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from proxy.tls.pem_pair import PemPair, parse_pair

UTC = dt.UTC
NAMES = ("a.example.com", "b.example.com", "*.w.example.com", "localhost")

_WITHOUT_HASH = (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)


class Authority:
    """A root, and an intermediate that issues."""

    def __init__(self) -> None:
        self.root = trustme.CA()
        self.intermediate = self.root.create_child_ca()

    def issue(
        self,
        *names: str,
        key_type: str = "ECDSA",
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> PemPair:
        leaf = self.intermediate.issue_cert(
            *(names or NAMES),
            key_type=trustme.KeyType[key_type],
            not_before=not_before,
            not_after=not_after,
        )
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        return parse_pair(chain, leaf.private_key_pem.bytes())

    def root_pem(self) -> str:
        return self.root.cert_pem.bytes().decode()


def self_signed(
    key: CertificateIssuerPrivateKeyTypes, name: str, names: x509.ExtensionType | None = None
) -> PemPair:
    """A certificate without a CA, for keys and extensions that trustme does not make."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names or x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, None if isinstance(key, _WITHOUT_HASH) else hashes.SHA256())
    )
    return parse_pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def write_pair(pair: PemPair, folder: Path) -> tuple[Path, Path]:
    """Write chain and key, as an operator should."""
    chain, key = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(pair.chain_pem)
    key.touch(mode=0o600)
    key.write_bytes(pair.key_pem)
    return chain, key
