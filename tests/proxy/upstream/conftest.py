"""Fixtures for the tests of the upstream side."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Async tests run on uvloop, as the workers do."""
    return "asyncio", {"use_uvloop": True}
