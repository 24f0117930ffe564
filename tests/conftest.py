"""Fixtures for all tests."""

from __future__ import annotations

import pytest

pytest_plugins = ["acme_client.testing.plugin"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the report tell which tests need Pebble (``.ci/check_report.py`` reads it)."""
    for item in items:
        if item.get_closest_marker("pebble") is not None:
            item.user_properties.append(("needs", "pebble"))


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"
