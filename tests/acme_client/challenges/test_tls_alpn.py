"""The certificate of TLS-ALPN-01."""

from __future__ import annotations

import hashlib
import ipaddress

import pytest
from cryptography import x509

from acme_client.challenges.tls_alpn import ACME_IDENTIFIER, challenge_pem, server_name
from acme_client.checks import check_pair
from acme_client.trial import try_certificate
from tests.acme_client.support import START


@pytest.mark.parametrize("domain", ["a.example", "192.0.2.1", "2001:db8::1"])
def test_it_holds_the_name_and_the_digest(domain: str) -> None:
    pem = challenge_pem(domain, "token.thumbprint", START)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    check_pair(pem, pem, names=[domain], exact=True, now=START)
    extension = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    digest = hashlib.sha256(b"token.thumbprint").digest()
    assert extension.value.value == b"\x04\x20" + digest
    try_certificate(pem, pem)


def test_names_in_the_handshake() -> None:
    assert server_name("a.example") == "a.example"
    assert server_name("192.0.2.1") == "1.2.0.192.in-addr.arpa"
    address = ipaddress.ip_address("2001:db8::1")
    assert server_name(str(address)) == address.reverse_pointer
