"""Fixtures for the tests of the ACME client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.pebble import pebble

T = TypeVar("T")


@pytest.fixture
def inline_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what would be in worker threads in place, so that "nothing happens" can be seen."""

    async def run_sync(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        await anyio.lowlevel.checkpoint()
        return call(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)


__all__ = ["inline_threads", "pebble"]
