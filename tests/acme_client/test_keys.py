"""Keys: types, PEM, fingerprints."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from acme_client.errors import BadCertificate, RequestError
from acme_client.keys import (
    certificate_key_from_pem,
    check_key_type,
    fingerprint,
    generate_key,
    key_from_pem,
    key_to_pem,
    key_type_of,
)
from tests.acme_client.support import any_key


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_generated_keys_are_of_their_type_and_survive_pem(key_type: str) -> None:
    key = any_key(key_type=key_type)
    assert key_type_of(key.public_key()) == key_type
    again = certificate_key_from_pem(key_to_pem(key))
    assert fingerprint(again.public_key()) == fingerprint(key.public_key())


def test_every_key_is_fresh() -> None:
    first, second = generate_key("p256"), generate_key("p256")
    assert fingerprint(first.public_key()) != fingerprint(second.public_key())


@pytest.mark.parametrize("key_type", ["", "P256", "ed25519", "rsa1024"])
def test_unknown_types_are_refused_with_what_is_allowed(key_type: str) -> None:
    with pytest.raises(RequestError, match="allowed are p256, p384, rsa2048, rsa4096"):
        check_key_type(key_type)
    with pytest.raises(RequestError, match="allowed are"):
        generate_key(key_type)


def test_an_encrypted_key_says_so() -> None:
    pem = any_key().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(BadCertificate, match="encrypted"):
        key_from_pem(pem.decode())


@pytest.mark.parametrize("pem", ["", "not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_rubbish_is_refused(pem: str) -> None:
    with pytest.raises(BadCertificate, match="cannot be read"):
        key_from_pem(pem)


def test_keys_of_other_kinds_are_read_but_not_ours() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    key_from_pem(pem)
    with pytest.raises(BadCertificate, match="unknown kind"):
        certificate_key_from_pem(pem)
    assert key_type_of(key.public_key()) == "ed25519publickey"
    assert key_type_of(ec.generate_private_key(ec.SECP521R1()).public_key()) == "secp521r1"
