"""Fixtures for the tests of TLS."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.tls.pem_pair import PemPair
from tests.proxy.tls.certificates import Authority, self_signed


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def ecdsa_pair(authority: Authority) -> PemPair:
    return authority.issue()


@pytest.fixture(scope="session")
def rsa_pair(authority: Authority) -> PemPair:
    return authority.issue(key_type="RSA")


@pytest.fixture(scope="session")
def weak_pair() -> PemPair:
    """What our check lets pass and OpenSSL's security level does not."""
    return self_signed(rsa.generate_private_key(65537, 1024), "weak.example")
