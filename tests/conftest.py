"""Fixtures for all tests."""

from __future__ import annotations

import pytest

pytest_plugins = ["acme_client.testing.plugin"]


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"
