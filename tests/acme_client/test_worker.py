"""Blocking calls, from the event loop, with limits."""

from __future__ import annotations

import threading

import anyio
import pytest

from acme_client import worker
from acme_client.errors import IssuerUnreachable
from acme_client.worker import at_the_ca, on_disk

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_back() -> None:
    assert await on_disk(threading.get_ident) != threading.get_ident()
    assert await at_the_ca(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await on_disk(lambda: 1 / 0)


async def test_a_disk_operation_is_finished_under_cancellation() -> None:
    begun, finish, done = threading.Event(), threading.Event(), []

    def write() -> None:
        begun.set()
        finish.wait()
        done.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(on_disk, write)
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
        finish.set()
    assert done == [True]


async def test_a_request_is_abandoned_under_cancellation() -> None:
    begun, finish, done = threading.Event(), threading.Event(), threading.Event()

    def request() -> None:
        begun.set()
        finish.wait()
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(at_the_ca, request)
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    assert not done.is_set()
    finish.set()
    done.wait()  # what belongs together still happens together


async def test_a_request_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "REQUEST_SECONDS", 0.01)
    finish = threading.Event()
    with pytest.raises(IssuerUnreachable, match="did not finish"):
        await at_the_ca(finish.wait)
    finish.set()
