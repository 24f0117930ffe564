"""Certificates for the peers: one ECDSA P-256 leaf for all, or thousands for the site test."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain and its key; ``both`` is one file with the two, as HAProxy wants it."""

    chain: Path
    key: Path
    both: Path


class Authority:
    """A CA that lives as long as the run."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark CA")])
        self._start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """The CA's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, folder: Path, stem: str, *names: str) -> Pair:
        """Write a leaf for ``names`` and its key into ``folder``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        leaf = (
            self._builder(subject, key.public_key())
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        chain = leaf.public_bytes(pem) + self.pem
        secret = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pair = Pair(folder / f"{stem}.crt", folder / f"{stem}.key", folder / f"{stem}.pem")
        pair.chain.write_bytes(chain)
        for path, content in ((pair.key, secret), (pair.both, chain + secret)):
            path.touch(mode=0o600)
            path.write_bytes(content)
        return pair

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._start)
            .not_valid_after(self._start + datetime.timedelta(days=30))
        )
