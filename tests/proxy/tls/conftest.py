"""Fixtures for the tests of TLS."""

from __future__ import annotations

import pytest

from proxy.tls.pem_pair import PemPair
from tests.proxy.tls.certificates import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="session")
def ecdsa_pair(authority: Authority) -> PemPair:
    return authority.issue()


@pytest.fixture(scope="session")
def rsa_pair(authority: Authority) -> PemPair:
    return authority.issue(key_type="RSA")
