"""How ARI names a certificate."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from acme_client.ari import certificate_identifier
from acme_client.checks import parse_chain
from tests.acme_client.support import DAY, START, any_key, make_chain, to_pem

EXAMPLE = """-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
"""
"""RFC 9773, appendix A."""


def test_the_example_of_the_rfc() -> None:
    assert certificate_identifier(EXAMPLE) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_without_an_authority_key_identifier_there_is_none() -> None:
    key = any_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + DAY)
        .sign(key, hashes.SHA256())
    )
    assert certificate_identifier(to_pem(certificate)) is None


@given(st.integers(1, 2**159 - 1))
def test_serials_are_der_integers(serial: int) -> None:
    content = serial.to_bytes(serial.bit_length() // 8 + 1)
    assert int.from_bytes(content, signed=True) == serial
    assert len(content) == 1 or content[0] != 0 or content[1] & 0x80


def test_the_parts_are_those_of_the_leaf() -> None:
    chain = make_chain(["a.example"])
    identifier = certificate_identifier(chain)
    assert identifier is not None
    authority, serial = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in identifier.split(".")
    )
    leaf = parse_chain(chain)[0]
    extension = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority == extension.key_identifier
    assert int.from_bytes(serial) == leaf.serial_number
