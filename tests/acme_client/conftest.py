"""Fixtures for the tests of the ACME client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio.lowlevel
import anyio.to_thread
import pytest

from acme_client import disk, worker
from acme_client.testing import AcmeCA, Settings
from acme_client.testing import Clock as MovableClock
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import START, FakeClock, make_environment
from tests.pebble import pebble

T = TypeVar("T")


@pytest.fixture
def inline_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what would be in worker threads in place, so that "nothing happens" can be seen."""

    async def run_sync(call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        await anyio.lowlevel.checkpoint()
        return call(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(worker, "in_daemon_thread", run_sync)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, in tests of what is not the disk's durability."""
    monkeypatch.setattr(disk, "fsync", lambda fd: None)


@pytest.fixture
def simulation(tmp_path: Path, inline_threads: None, quick_disk: None) -> Iterator[Simulation]:
    """Our client and the in-process CA, without sockets, on one clock that the test moves.

    The CA believes every answer to a challenge; tests of validation itself talk over sockets.
    """
    clock = MovableClock(START, frozen=True)
    folder = tmp_path / "ca"
    folder.mkdir()
    with AcmeCA(Settings(validate=False), clock=clock, directory=folder, seed=1) as ca:
        environment = make_environment(tmp_path / "state", FakeClock(clock))
        yield Simulation(ca, environment)


__all__ = ["inline_threads", "pebble", "quick_disk", "simulation"]
