"""Blocking calls, from the event loop, with limits."""

from __future__ import annotations

import subprocess
import sys
import threading

import anyio
import anyio.to_thread
import pytest

from acme_client import worker
from acme_client.errors import IssuerUnreachable
from acme_client.worker import at_the_ca, on_disk

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_back() -> None:
    assert await on_disk(threading.get_ident) != threading.get_ident()
    assert await at_the_ca(threading.get_ident) != threading.get_ident()
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


def test_a_request_left_behind_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import anyio, threading
from acme_client.worker import at_the_ca

async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(at_the_ca, threading.Event().wait)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

anyio.run(main)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


async def test_a_request_that_outlives_the_event_loop() -> None:
    finish = threading.Event()
    before: set[threading.Thread] = set()
    threads: list[threading.Thread] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(at_the_ca, finish.wait)
            await anyio.wait_all_tasks_blocked()
            threads.extend(set(threading.enumerate()) - before)
            group.cancel_scope.cancel()

    def run() -> None:
        before.update(threading.enumerate())
        anyio.run(main)

    await anyio.to_thread.run_sync(run)
    finish.set()
    [thread] = threads
    thread.join()  # and nothing is raised in it


async def test_errors_of_any_kind_come_back() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await at_the_ca(leave)


async def test_a_request_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "REQUEST_SECONDS", 0.01)
    finish = threading.Event()
    with pytest.raises(IssuerUnreachable, match="did not finish"):
        await at_the_ca(finish.wait)
    finish.set()
