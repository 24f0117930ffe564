"""Keys and certificates: two roots, one intermediate under both, leaves - and bad leaves.

::

    Root 1 ── Intermediate (signed by root 1) ─┐
                                               ├─ leaf
    Root 2 ── Intermediate (signed by root 2) ─┘   the same key and name, so two chains

The default chain leads to root 1, the alternate (RFC 8555 §7.4.2) to root 2. All keys are P-256:
made in microseconds, so a CA per test costs nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_client.testing.identifiers import Identifier
from acme_client.testing.jws import encode

Defect = Literal[
    "wrong-key",
    "wrong-names",
    "extra-name",
    "missing-name",
    "expired",
    "not-yet-valid",
    "wrong-signature",
    "self-signed",
    "missing-chain",
    "wrong-chain",
    "reversed-chain",
    "expired-chain",
    "with-private-key",
    "truncated",
    "garbage",
    "empty",
]
"""What can be wrong with an issued certificate or its chain."""

DEFECTS: tuple[Defect, ...] = get_args(Defect)

_DAY = timedelta(days=1)
_SHA256 = hashes.SHA256()


@dataclass(frozen=True, slots=True)
class Leaf:
    """What stands in a leaf certificate."""

    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    identifiers: tuple[Identifier, ...]
    not_before: datetime
    not_after: datetime
    serial: int
    common_name: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    leaf: x509.Certificate
    chains: tuple[bytes, ...]


class Pki:
    """The issuing keys. ``roots`` are what a relying party of issued certificates trusts."""

    def __init__(self, now: datetime, *, name: str = "Test ACME CA") -> None:
        # Wide validity: the test's clock moves years, and the roots must not be what breaks.
        begin, end = now - 365 * _DAY, now + 30 * 365 * _DAY
        self._begin = begin
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"{name} Intermediate")
        self._key_identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._root_keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        root_names = [_named(f"{name} Root {number}") for number in (1, 2)]
        self.roots = tuple(
            _authority(root_name, key.public_key(), root_name, key, begin, end, path_length=1)
            for root_name, key in zip(root_names, self._root_keys, strict=True)
        )
        self.intermediates = tuple(
            _authority(self._name, self._key.public_key(), root_name, key, begin, end)
            for root_name, key in zip(root_names, self._root_keys, strict=True)
        )
        self._authority_identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            self._key_identifier
        )
        self._intermediate_pems = tuple(_pem(certificate) for certificate in self.intermediates)

    @property
    def roots_pem(self) -> bytes:
        return b"".join(_pem(root) for root in self.roots)

    def issue(self, leaf: Leaf, defect: Defect | None = None) -> Issued:
        if defect is None:
            certificate = self._sign(leaf, self._key)
            pem = _pem(certificate)
            return Issued(certificate, tuple(pem + chain for chain in self._intermediate_pems))
        return self._issue_badly(leaf, defect)

    def renewal_id(self, certificate: x509.Certificate) -> str:
        """RFC 9773 §4.1: the key identifier and the DER value of the serial number."""
        serial = certificate.serial_number
        der = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
        return f"{encode(self._key_identifier.digest)}.{encode(der)}"

    def _sign(
        self,
        leaf: Leaf,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Name | None = None,
    ) -> x509.Certificate:
        first = leaf.identifiers[0].value
        named = leaf.common_name and len(first) <= 64
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(first) if named else x509.Name([]))
            .issuer_name(issuer or self._name)
            .public_key(leaf.public_key)
            .serial_number(leaf.serial)
            .not_valid_before(leaf.not_before)
            .not_valid_after(leaf.not_after)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(i) for i in leaf.identifiers]),
                # RFC 5280 §4.2.1.6: critical when the subject is empty.
                critical=not named,
            )
            .add_extension(self._authority_identifier, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(_SERVER_AUTH, critical=False)
        )
        return builder.sign(key, _SHA256)

    def _issue_badly(self, leaf: Leaf, defect: Defect) -> Issued:
        other_key = ec.generate_private_key(ec.SECP256R1())
        lifetime = leaf.not_after - leaf.not_before
        signing_key, issuer = self._key, self._name
        match defect:
            case "wrong-key":
                leaf = replace(leaf, public_key=other_key.public_key())
            case "wrong-names":
                leaf = replace(leaf, identifiers=(Identifier("dns", "wrong.invalid"),))
            case "extra-name":
                extra = Identifier("dns", "extra.invalid")
                leaf = replace(leaf, identifiers=(*leaf.identifiers, extra))
            case "missing-name":
                if len(leaf.identifiers) < 2:
                    raise ValueError("the defect missing-name needs an order of two or more names")
                leaf = replace(leaf, identifiers=leaf.identifiers[:-1])
            case "expired":
                leaf = replace(
                    leaf,
                    not_before=leaf.not_before - lifetime - 2 * _DAY,
                    not_after=leaf.not_before - 2 * _DAY,
                )
            case "not-yet-valid":
                leaf = replace(
                    leaf,
                    not_before=leaf.not_after + _DAY,
                    not_after=leaf.not_after + _DAY + lifetime,
                )
            case "wrong-signature":
                signing_key = other_key
            case "self-signed":
                signing_key, issuer = other_key, _named("Self-signed")
                leaf = replace(leaf, public_key=other_key.public_key())
            case _:
                pass
        certificate = self._sign(leaf, signing_key, issuer)
        spoil = _CHAIN_DEFECTS.get(defect, _sound_chain)
        pem = _pem(certificate)
        return Issued(
            certificate, tuple(spoil(self, pem, chain) for chain in self._intermediate_pems)
        )

    def _foreign_chain(self) -> bytes:
        stranger = Pki(self._begin + 365 * _DAY, name="Another CA")
        return stranger._intermediate_pems[0]

    def _expired_chain(self) -> bytes:
        end = self._begin + _DAY
        return _pem(
            _authority(
                self._name,
                self._key.public_key(),
                self.roots[0].subject,
                self._root_keys[0],
                self._begin,
                end,
            )
        )


def _sound_chain(pki: Pki, leaf: bytes, chain: bytes) -> bytes:
    return leaf + chain


_CHAIN_DEFECTS: dict[str, Callable[[Pki, bytes, bytes], bytes]] = {
    "missing-chain": lambda pki, leaf, chain: leaf,
    "wrong-chain": lambda pki, leaf, chain: leaf + pki._foreign_chain(),
    "reversed-chain": lambda pki, leaf, chain: chain + leaf,
    "expired-chain": lambda pki, leaf, chain: leaf + pki._expired_chain(),
    # RFC 8555 §11.4: clients must see that nothing but certificates is in the download.
    "with-private-key": lambda pki, leaf, chain: leaf + chain + _private_key_pem(),
    "truncated": lambda pki, leaf, chain: leaf[: len(leaf) // 2],
    "garbage": lambda pki, leaf, chain: b"\x00\xff this is no certificate \r\n" * 40,
    "empty": lambda pki, leaf, chain: b"",
}


def server_identity(host_names: tuple[str, ...], now: datetime) -> tuple[bytes, bytes, bytes]:
    """PEM of root, chain and key for the CA's own HTTPS, which lives in real time."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = _named("Test ACME CA HTTPS Root")
    begin, end = now - _DAY, now + 365 * _DAY
    root = _authority(
        root_name, root_key.public_key(), root_name, root_key, begin, end, path_length=0
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_named(host_names[0]))
        .issuer_name(root_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(_identifier(n)) for n in host_names]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_LEAF_USAGE, critical=True)
        .add_extension(_SERVER_AUTH, critical=False)
        .sign(root_key, _SHA256)
    )
    return _pem(root), _pem(certificate), _key_pem(key)


def _authority(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    begin: datetime,
    end: datetime,
    path_length: int = 0,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_AUTHORITY_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, _SHA256)
    )


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        # RSA key transport, which nothing does any more (ECDHE only).
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )


_LEAF_USAGE = _usage(leaf=True)
_AUTHORITY_USAGE = _usage(leaf=False)
_SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _identifier(name: str) -> Identifier:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return Identifier("dns", name)
    return Identifier("ip", name)


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type == "ip":
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _private_key_pem() -> bytes:
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))
