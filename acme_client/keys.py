"""Private keys of certificates: their types, making, and fingerprints.

Every issuance makes a fresh key. A key is known by its fingerprint, the SHA-256 of its
SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), which is also how a compromised one is remembered.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from acme_client.errors import BadCertificate, RequestError

KEY_TYPES = ("p256", "p384", "rsa2048", "rsa4096")

CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def check_key_type(key_type: str) -> None:
    if key_type not in KEY_TYPES:
        raise RequestError(f"key type {key_type!r}: allowed are {', '.join(KEY_TYPES)}")


def generate_key(key_type: str) -> CertificateKey:
    """A fresh key; RSA takes up to seconds, so call this in a worker thread."""
    match key_type:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa2048":
            return rsa.generate_private_key(65537, 2048)
        case "rsa4096":
            return rsa.generate_private_key(65537, 4096)
    raise RequestError(f"key type {key_type!r}: allowed are {', '.join(KEY_TYPES)}")


def key_to_pem(key: CertificateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def key_from_pem(key_pem: str) -> PrivateKeyTypes:
    """Read an unencrypted key; BadCertificate says what is wrong with another."""
    try:
        return load_pem_private_key(key_pem.encode(), password=None)
    except TypeError as error:
        raise BadCertificate("the private key is encrypted; only unencrypted keys work") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"the private key cannot be read: {error}") from error


def certificate_key_from_pem(key_pem: str) -> CertificateKey:
    """Read a key of one of our key types."""
    key = key_from_pem(key_pem)
    if not isinstance(key, CertificateKey):
        raise BadCertificate(f"the private key is of the unknown kind {type(key).__name__}")
    return key


def key_type_of(key: CertificatePublicKeyTypes) -> str:
    """``p256``, ``rsa2048``, ... or a plain description of a key that is none of ours."""
    match key:
        case ec.EllipticCurvePublicKey():
            return {"secp256r1": "p256", "secp384r1": "p384"}.get(key.curve.name, key.curve.name)
        case rsa.RSAPublicKey():
            return f"rsa{key.key_size}"
    return type(key).__name__.lower()


def fingerprint(key: PublicKeyTypes) -> str:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
