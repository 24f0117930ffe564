"""Fixtures for all tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import lexicon
import pytest

# Lexicon puts modules into sys.modules that warn when anything is asked of them; hypothesis asks
# every module for its file, and warnings are errors here.
for deprecated in ("cli", "parser", "discovery"):
    sys.modules.pop(f"{lexicon.__name__}.{deprecated}", None)

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


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands set up logging for their process; here the next test must find none of it."""
    names = (None, "proxy", "proxy.access", "acme_client")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
