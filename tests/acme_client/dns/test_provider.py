from __future__ import annotations

import threading

import anyio
import pytest

from acme_client.dns import DnsProvider, in_thread

pytestmark = pytest.mark.anyio


class Blocking:
    """A provider of one's own, as the documentation has it."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str]] = []

    async def present(self, name: str, value: str) -> None:
        await in_thread(lambda: self.records.append((name, value)))

    async def clean_up(self, name: str, value: str) -> None:
        await in_thread(lambda: self.records.remove((name, value)))


async def test_a_provider_of_ones_own() -> None:
    blocking = Blocking()
    provider: DnsProvider = blocking
    await provider.present("n", "v")
    assert blocking.records == [("n", "v")]
    await provider.clean_up("n", "v")
    assert not blocking.records


async def test_a_blocked_thread_holds_up_nobody() -> None:
    release, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        release.wait(10)

    async with anyio.create_task_group() as group:
        group.start_soon(in_thread, block)
        await in_thread(lambda: entered.wait(10))
        group.cancel_scope.cancel()
    assert not release.is_set()
    release.set()
