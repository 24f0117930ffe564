"""Faults of the surroundings: no file descriptors, backends that restart, vanish or go silent,
certificates replaced again and again. Each with its figure.

``TEST_RELOADS=100`` replaces a hundred certificates instead of ten.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections import Counter

import pytest
from cryptography import x509

from tests.e2e.backends import Backend, Peer, ok, recording, scripted
from tests.e2e.conftest import Figure, Ports, StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.proxy_process import COMMAND, Value, Vestibule
from tests.e2e.waiting import eventually, until
from tests.e2e.wire import EndOfStream, Wire

pytestmark = pytest.mark.anyio

RELOADS = int(os.environ.get("TEST_RELOADS", "10"))


def get(name: str, target: str = "/") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


async def dial(proxy: Vestibule, pki: Pki, name: str, source: str | None = None) -> Wire:
    return await Wire.open(proxy.https, pki.client_context(), name, source=source)


# -- file descriptors ----------------------------------------------------------------------------

FILES = 256
CLIENTS = 1000


async def test_few_file_descriptors_and_many_clients(
    start_vestibule: StartVestibule,
    pki: Pki,
    ports: Ports,
    figure: Figure,
) -> None:
    """Who is connected is served; the others are let go; it recovers, and does not fill the log."""
    config: dict[str, Value] = {
        "limits": {"connections_per_address": 100_000, "header_timeout": 30.0},
        "log": {"access": False},
        "sites": [pki.site("own.test", str(ports[0]))],
    }
    command = ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", *COMMAND)
    proxy = start_vestibule(config, command=command).until_ready()
    workers = proxy.children
    async with recording(ports[0].number), await dial(proxy, pki, "own.test") as early:
        assert (await early.ask(get("own.test"))).status == 200
        began = asyncio.get_running_loop().time()
        flood = [await Wire.open(proxy.https) for _ in range(CLIENTS)]
        for _ in range(20):
            assert (await early.ask(get("own.test"))).status == 200
        refused = [wire for wire in flood if await _is_closed(wire)]
        assert len(refused) > CLIENTS - FILES
        for wire in flood:
            wire.close()
        freed = asyncio.get_running_loop().time()
        await until_served(proxy, pki)
        now = asyncio.get_running_loop().time()
    assert proxy.children == workers, proxy.told("a process ended")
    lines = len(proxy.log.splitlines()) - 2
    assert lines <= now - began + 1, proxy.told("more than a line a second")
    assert "Traceback" not in proxy.log
    figure(
        f"ulimit -n {FILES}, {CLIENTS} clients: {CLIENTS - len(refused)} kept, recovered in "
        f"{now - freed:.2f} s, {lines} lines logged"
    )


async def _is_closed(wire: Wire) -> bool:
    """Whether the other side has closed by now."""
    try:
        async with asyncio.timeout(0.01):
            return await wire.read_to_end() == b""
    except TimeoutError:
        return False


async def until_served(proxy: Vestibule, pki: Pki) -> None:
    """Until a new client gets an answer."""

    async def served() -> bool:
        try:
            async with await dial(proxy, pki, "own.test") as wire:
                return (await wire.ask(get("own.test"))).status == 200
        except (OSError, EndOfStream):
            return False

    await eventually(served, "an answer to a new client")


# -- backends ------------------------------------------------------------------------------------


class Restarting:
    """A backend whose connections all end now and then, as when its process is replaced.

    It takes new ones at once; so whatever fails does so because of an old one. A request that had
    reached it is answered first, as by a server that stops gracefully.
    """

    def __init__(self) -> None:
        self.backend = Backend()
        self.restarts = 0
        self._idle: set[Peer] = set()

    async def script(self, peer: Peer) -> None:
        while True:
            self._idle.add(peer)
            try:
                received = await peer.request(self.backend.records)
            finally:
                self._idle.discard(peer)
            if received is None:
                return
            await peer.send(ok(received))

    def restart(self) -> None:
        self.restarts += 1
        for peer in list(self._idle):
            peer.close_sending()


async def test_a_backend_that_restarts_under_load(
    start_vestibule: StartVestibule,
    pki: Pki,
    ports: Ports,
    figure: Figure,
) -> None:
    """No GET meets a stale connection; no POST is executed twice."""
    proxy = start_vestibule({"sites": [pki.site("own.test", str(ports[0]))]}).until_ready()
    restarting = Restarting()
    done = asyncio.Event()
    statuses: Counter[tuple[str, int]] = Counter()

    async def load(worker: int) -> None:
        method = "GET" if worker % 2 else "POST"
        length = "" if worker % 2 else "Content-Length: 1\r\n"
        count = 0
        async with await dial(proxy, pki, "own.test") as wire:
            while not done.is_set():
                count += 1
                head = f"{method} /{worker}/{count} HTTP/1.1\r\nHost: own.test\r\n{length}\r\n"
                response = await wire.ask(head.encode() + (b"" if worker % 2 else b"x"))
                statuses[method, response.status] += 1
                if response.status == 200:
                    assert response.body == f"{method} /{worker}/{count}".encode()

    backend = restarting.backend
    async with (
        scripted(ports[0].number, restarting.script, backend),
        asyncio.TaskGroup() as group,
    ):
        for worker in range(8):
            group.create_task(load(worker))
        for turn in range(1, 21):
            await until(lambda turn=turn: len(backend.records) > 40 * turn, "load")  # type: ignore[misc]
            restarting.restart()
        done.set()
    times = Counter((received.method, received.target) for received in backend.records)
    assert max(count for (method, _), count in times.items() if method == b"POST") == 1
    assert {status for method, status in statuses if method == "GET"} == {200}
    posts = statuses["POST", 502]
    figure(
        f"{restarting.restarts} restarts under load: {statuses['GET', 200]} GETs, 0 failed; "
        f"{statuses['POST', 200]} POSTs, {posts} failed, 0 executed twice"
    )


async def test_a_silent_backend_gets_504_and_holds_up_no_other_route(
    start_vestibule: StartVestibule, pki: Pki, ports: Ports
) -> None:
    """Silent once connected, and silent from the first SYN."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        # A full backlog drops the SYNs of all who come later.
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        black: Value = {"path": "/hole", "upstreams": [f"127.0.0.1:{hole.getsockname()[1]}"]}
        silent: Value = {"path": "/silent", "upstreams": [str(ports[1])]}
        config: dict[str, Value] = {
            "limits": {"upstream_connect_timeout": 3.0, "upstream_response_timeout": 3.0},
            "sites": [pki.site("own.test", str(ports[0]), routes=[black, silent])],
        }
        proxy = start_vestibule(config).until_ready()
        try:
            await _others_are_quick(proxy, pki, ports)
        finally:
            for filler in fillers:
                filler.close()


async def _others_are_quick(proxy: Vestibule, pki: Pki, ports: Ports) -> None:
    async def say_nothing(peer: Peer) -> None:
        await peer.wait_for_end()

    stuck: list[Wire] = []
    async with recording(ports[0].number), scripted(ports[1].number, say_nothing):
        for number in range(40):
            wire = await dial(proxy, pki, "own.test")
            await wire.send(get("own.test", "/hole" if number % 2 else "/silent"))
            stuck.append(wire)
        answers = [asyncio.create_task(wire.response()) for wire in stuck]
        async with await dial(proxy, pki, "own.test") as quick:
            for _ in range(200):
                assert (await quick.ask(get("own.test", "/quick"))).status == 200
        # 200 requests one after the other, before the first of the stuck ones has timed out.
        assert not any(answer.done() for answer in answers)
        for response in await asyncio.gather(*answers):
            assert response.status == 504
            assert re.search(rb"127\.0\.0\.1|Errno|timed", response.body) is None


# -- certificates --------------------------------------------------------------------------------

SITES_AT_ONCE = 10


async def test_many_certificates_are_replaced_under_load(
    start_vestibule: StartVestibule,
    pki: Pki,
    ports: Ports,
    figure: Figure,
) -> None:
    """No request and no handshake fails, and each new certificate is shown."""
    names = [f"own{number}.test" for number in range(SITES_AT_ONCE)]
    files = {name: pki.issue(name) for name in names}
    sites: list[Value] = [
        {
            "names": [name],
            "certificate": {"chain": str(chain), "key": str(key)},
            "upstreams": [str(ports[0])],
        }
        for name, (chain, key) in files.items()
    ]
    proxy = start_vestibule({"log": {"access": False}, "sites": sites}).until_ready()
    done = asyncio.Event()
    shown: dict[str, int] = {}
    counts = Counter[str]()

    async def handshakes() -> None:
        while not done.is_set():
            for name in names:
                async with await dial(proxy, pki, name) as wire:
                    certificate = x509.load_der_x509_certificate(wire.certificate)
                    shown[name] = certificate.serial_number
                    assert (await wire.ask(get(name))).status == 200
                counts["handshakes"] += 1

    async def requests(name: str) -> None:
        async with await dial(proxy, pki, name) as wire:
            while not done.is_set():
                assert (await wire.ask(get(name))).status == 200
                counts["requests"] += 1

    async with recording(ports[0].number), asyncio.TaskGroup() as group:
        group.create_task(handshakes())
        for name in names[:3]:
            group.create_task(requests(name))
        for _ in range(max(1, RELOADS // SITES_AT_ONCE)):
            wanted = {name: pki.write(*files[name], name) for name in names}
            await until(lambda wanted=wanted: shown == wanted, "the new certificates")  # type: ignore[misc]
            counts["reloads"] += SITES_AT_ONCE
        done.set()
    assert "WARNING" not in proxy.log, proxy.told("something was not as it should be")
    figure(
        f"{counts['reloads']} certificates replaced under load: {counts['requests']} requests and "
        f"{counts['handshakes']} handshakes, 0 failed"
    )
