"""The process dies at every call to the disk, in the middle of issuing and of renewing.

Death is an exception that nothing catches, after which every further call dies as well: what a
killed process leaves on the disk, and at the CA, which lives on. (That a real SIGKILL leaves no
more than that is shown in ``store/test_files.py``.) Then a new process starts on the same folder.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import anyio
import pytest

from acme_client.manager import CertificateManager
from acme_client.request import CertificateRequest
from acme_client.store.files import FileStore
from acme_client.testing import AcmeCA, Settings
from acme_client.testing import Clock as MovableClock
from tests.acme_client.faulty_disk import DiskFaults, faults
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import DAY, SECOND, START, FakeClock, make_environment

pytestmark = pytest.mark.usefixtures("inline_threads", "quick_disk")

# The other kind holds a lock per name, which this death, unlike a real one, does not release.
REQUEST = CertificateRequest(names=("a.example", "b.example"), challenges=("http-01",))


class Dead(BaseException):
    """The process is gone."""


def die() -> None:
    raise Dead


class World:
    """A CA and a folder, which outlive our processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        clock = MovableClock(START, frozen=True)
        ca_folder = folder / "ca"
        ca_folder.mkdir()
        self.ca = AcmeCA(Settings(validate=False), clock=clock, directory=ca_folder, seed=1)
        self.ca.start()
        self.clock = FakeClock(clock)

    def close(self) -> None:
        self.ca.close()

    def process(self) -> CertificateManager:
        """A new process on the same folder."""
        environment = make_environment(self.folder / "state", self.clock)
        return CertificateManager(
            requests=[REQUEST],
            issuers=[Simulation(self.ca, environment).make_issuer()],
            store=environment.store,
            clock=self.clock,
            random=Random(3),
        )

    def live(self, at: int = 0, moment: str = "before") -> DiskFaults:
        """Let a process see to the certificate, and die at that call (0: never)."""

        async def obtain() -> None:
            await self.process().obtain("a.example")

        with faults(at, moment, die, for_good=True) as book:
            try:
                anyio.run(obtain)
            except (Dead, BaseExceptionGroup):
                assert at > 0
        return book

    def run_briefly(self, at: int) -> None:
        """Let a manager run for ten seconds, unless it dies before."""

        async def run() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(self.process().run)
                await self.clock.advance(10 * SECOND)
                group.cancel_scope.cancel()

        with faults(at, "before", die, for_good=True):
            try:
                anyio.run(run)
            except BaseExceptionGroup as group:
                if group.subgroup(Dead) is None:
                    raise
        self.clock.clock.set(max(self.clock.now(), START) + 10 * SECOND)

    def serial(self) -> str | None:
        """What a server would load now: nothing, or a pair that matches."""
        store = FileStore(self.folder / "state", self.clock.now)
        stored = store.load_certificate("a.example")
        return None if stored is None else stored.serial

    def orders(self) -> int:
        return self.ca.requests.count("newOrder")

    def has_order(self) -> bool:
        """Whether an order was written down."""
        return any((self.folder / "state" / "documents" / "orders").rglob("*.json"))


def prepared(folder: Path, renewal: bool) -> World:
    world = World(folder)
    if renewal:
        world.live()
        world.clock.clock.advance(62 * DAY)
    return world


@pytest.mark.parametrize("renewal", [False, True])
def test_killed_at_every_call(tmp_path: Path, renewal: bool) -> None:
    world = prepared(tmp_path / "count", renewal)
    calls = world.live().calls
    world.close()
    assert len(calls) > 30
    points = [(at, "before") for at in range(1, len(calls) + 1)]
    points += [(at, "half") for at, name in enumerate(calls, 1) if name == "write"]
    points.append((len(calls), "after"))
    twice = 0
    for at, moment in points:
        world = prepared(tmp_path / f"{at}{moment}", renewal)
        old, orders = world.serial(), world.orders()
        world.live(at, moment)
        assert (world.serial() is not None) or not renewal
        kept = world.has_order()
        placed = world.orders() - orders
        done = world.serial() != old
        world.live()
        new = world.serial()
        assert new is not None
        assert new != old, "the next process finishes the job"
        after = world.orders() - orders
        if kept or done:
            assert after == placed == 1, "an order that was written down is gone on with"
        assert after <= 2
        twice += after == 2
        # What is left when the certificate is stored already goes at the next renewal.
        assert done or not world.has_order()
        world.close()
    # Only between the CA's answer and the rename of the order's document can an order be lost:
    # two folders and a file, each made and synced.
    assert twice <= 10


def test_dying_again_and_again_places_few_orders(tmp_path: Path) -> None:
    """A crash loop: killed at the same call again and again, started anew every ten seconds."""
    world = World(tmp_path / "count")
    calls = len(world.live().calls)
    world.close()
    worst = 0
    for at in range(1, calls + 1, 5):
        world = World(tmp_path / f"loop{at}")
        for _ in range(20):
            world.run_briefly(at)
        worst = max(worst, world.orders())
        world.close()
    assert worst <= 4
