"""A CA that validates nothing, and raw clients of it, for the tests of single resources."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from acme_client.testing import AcmeCA, Settings
from tests.acme_client.testing.raw import RawClient


@pytest.fixture
def ca(make_acme_ca: Callable[..., AcmeCA]) -> AcmeCA:
    return make_acme_ca(Settings(validate=False))


@pytest.fixture
def client(ca: AcmeCA) -> RawClient:
    """Registered already."""
    return _registered(ca)


@pytest.fixture
def stranger(ca: AcmeCA) -> RawClient:
    """A second account."""
    return _registered(ca)


def _registered(ca: AcmeCA) -> RawClient:
    client = RawClient(ca)
    client.register()
    return client


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert isinstance(port, int)
        return port
