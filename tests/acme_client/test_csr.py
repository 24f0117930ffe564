"""Signing requests."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509

from acme_client.csr import make_csr
from tests.acme_client.support import any_key


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_it_asks_for_exactly_these_names(key_type: str) -> None:
    csr = make_csr(("a.example", "*.a.example", "192.0.2.1"), any_key(key_type=key_type))
    assert csr.is_signature_valid
    assert list(csr.subject) == []
    san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["a.example", "*.a.example"]
    assert san.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.1")]
    assert len(csr.extensions) == 1
