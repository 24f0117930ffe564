"""Waiting for what must come: a condition and a deadline, never a guess at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 20.0
"""Long enough for a loaded machine; a test that waits so long has failed."""

_POLL_SECONDS: Final = 0.01


def wait_until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    seconds: float = PATIENCE,
) -> T:
    """Wait until the condition is true, and return its value.

    Args:
        condition: looked at again and again.
        what: what was waited for; as a function, it is called only when it did not come.
        seconds: after so long the test fails.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {_text(what)}")
        time.sleep(_POLL_SECONDS)
    return value


async def until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    seconds: float = PATIENCE,
) -> T:
    """The same on an event loop."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {_text(what)}")
        await asyncio.sleep(_POLL_SECONDS)
    return value


async def eventually(
    attempt: Callable[[], Awaitable[T | None]], what: str, seconds: float = PATIENCE
) -> T:
    """Try again until something comes of it."""
    deadline = time.monotonic() + seconds
    while not (value := await attempt()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        await asyncio.sleep(_POLL_SECONDS)
    return value


def _text(what: str | Callable[[], str]) -> str:
    return what if isinstance(what, str) else what()
