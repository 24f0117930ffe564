"""Tests of proxy.downstream.registry."""

from __future__ import annotations

import asyncio

import pytest

from proxy.downstream.registry import Registry

pytestmark = pytest.mark.anyio


async def test_an_empty_one_need_not_be_waited_for() -> None:
    registry: Registry[str] = Registry()
    assert await registry.wait_until_empty(0)


async def test_waiting_ends_with_the_last_connection() -> None:
    registry: Registry[str] = Registry()
    registry.add("a")
    registry.add("b")
    waiting = asyncio.create_task(registry.wait_until_empty(60))
    await asyncio.sleep(0)
    registry.discard("a")
    await asyncio.sleep(0)
    assert not waiting.done()
    registry.discard("b")
    assert await waiting


async def test_waiting_has_a_limit() -> None:
    registry: Registry[str] = Registry()
    registry.add("a")
    assert not await registry.wait_until_empty(0.01)
    assert len(registry) == 1


async def test_a_snapshot_may_close_what_it_lists() -> None:
    registry: Registry[str] = Registry()
    registry.add("a")
    registry.add("b")
    for connection in registry.snapshot():
        registry.discard(connection)
    assert len(registry) == 0
