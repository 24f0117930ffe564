"""What breaks around the proxy, and what must hold meanwhile: a backend that swallows connections,
one that comes and goes under load; and streams, which live through new certificates and end in
order when the proxy stops."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
from collections import Counter

import pytest
from websockets.asyncio.client import connect

from tests.e2e.backends import Peer, ok, recording, scripted
from tests.e2e.conftest import StartVestibule
from tests.e2e.fronts import Backends, Front
from tests.e2e.pki import Pki
from tests.e2e.proxy_process import Vestibule
from tests.e2e.uvicorn_process import Uvicorn
from tests.e2e.waiting import PATIENCE, until
from tests.e2e.wire import Wire

pytestmark = pytest.mark.anyio

GET = b"GET %b HTTP/1.1\r\nHost: own.test\r\n\r\n"
UPGRADE = (
    b"GET /tunnel HTTP/1.1\r\nHost: own.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def dial(proxy: Vestibule, pki: Pki, source: str | None = None) -> Wire:
    return await Wire.open(proxy.https, pki.client_context(), "own.test", source=source)


async def test_a_backend_that_swallows_connections_is_504(front: Front) -> None:
    """Its backlog is full: nobody refuses the connection, and nobody takes it."""
    port = front.backends.scripted.number
    with socket.create_server(("127.0.0.1", port), backlog=0):
        fillers = []
        try:
            # The kernel drops what comes when the queue is full.
            for _ in range(8):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
                fillers.append(sock)
            context = front.pki.client_context()
            async with (
                recording(front.backends.recording.number),
                await Wire.open(front.port, context, "script.test") as wire,
                await Wire.open(front.port, context, "front.test") as other,
            ):
                await wire.send(
                    b"POST / HTTP/1.1\r\nHost: script.test\r\nContent-Length: 1\r\n\r\nx"
                )
                # Nobody else waits for it.
                for _ in range(5):
                    assert (
                        await other.ask(b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n")
                    ).status == 200
                assert (await wire.response()).status == 504
        finally:
            for sock in fillers:
                sock.close()


async def test_a_backend_that_comes_and_goes_under_load(front: Front) -> None:
    """Each answer is the request's own, no POST arrives twice, no GET more than twice."""
    seen: Counter[bytes] = Counter()
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    numbers = itertools.count()
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            seen[received.method + b" " + received.target] += 1
            await peer.send(ok(received))

    async def load() -> None:
        wire = await Wire.open(front.port, front.pki.client_context(), "script.test")
        while not done.is_set():
            number = next(numbers)
            method = (b"GET", b"POST")[number % 2]
            framing = b"Content-Length: 0\r\n" if method == b"POST" else b""
            response = await wire.ask(
                b"%b /%d HTTP/1.1\r\nHost: script.test\r\n%b\r\n" % (method, number, framing)
            )
            statuses[response.status] += 1
            if response.status == 200 and response.body != b"%b /%d" % (method, number):
                wrong.append(f"{method!r} {number} got {response.body!r}")
            if response.get(b"connection") == b"close":
                wire.close()
                wire = await Wire.open(front.port, front.pki.client_context(), "script.test")
        wire.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(load())
        try:
            for _ in range(8):
                async with scripted(front.backends.scripted.number, script):
                    before = statuses[200]
                    await until(
                        lambda before=before: statuses[200] > before + 50,  # type: ignore[misc]
                        lambda: f"answers again, but {statuses}",
                    )
                before = statuses[502]
                await until(
                    lambda before=before: statuses[502] > before + 5,  # type: ignore[misc]
                    lambda: f"502 while it is away, but {statuses}",
                )
        finally:
            done.set()
    assert wrong == []
    assert set(statuses) == {200, 502}
    assert max(count for name, count in seen.items() if name.startswith(b"POST")) == 1
    assert max(count for name, count in seen.items() if name.startswith(b"GET")) <= 2


async def serve_streams(peer: Peer) -> None:
    """Tunnels that echo, and responses that send an event when the test says ``tick``."""
    received = await peer.request()
    if received is None:
        return
    if received.target == b"/tunnel":
        await peer.send(SWITCHED)
        while data := await peer.read_some():
            await peer.send(data)
        return
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
    await peer.wait_for_end()


async def test_streams_live_through_new_certificates(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """100 tunnels and 100 endless responses, none of which notices."""
    chain, key = pki.issue("own.test")
    config = pki.own_site(
        backend_port, files=(chain, key), limits={"connections_per_address": 1000}
    )
    proxy = start_vestibule(config).until_ready()
    async with scripted(backend_port, serve_streams) as backend:
        tunnels = [await dial(proxy, pki) for _ in range(100)]
        for tunnel in tunnels:
            assert (await tunnel.ask(UPGRADE)).status == 101
        responses = [await dial(proxy, pki) for _ in range(100)]
        for wire in responses:
            await wire.send(GET % b"/endless")
            await wire.read_until(b"begin\r\n")
        for turn in range(2):
            pki.write(chain, key, "own.test")
            await until(
                lambda turn=turn: proxy.log.count("new certificate") > turn,  # type: ignore[misc]
                lambda: proxy.told("a new certificate"),
            )
            for number, tunnel in enumerate(tunnels):
                await tunnel.send(b"%d" % number)
                assert await tunnel.read_exactly(len(b"%d" % number)) == b"%d" % number
            for peer in backend.peers[100:]:
                await peer.send(b"4\r\ntick\r\n")
            for wire in responses:
                assert await wire.read_exactly(9) == b"4\r\ntick\r\n"
        for wire in (*tunnels, *responses):
            wire.close()
        for peer in backend.peers:
            await until(peer.ended.is_set, "the end at the backend")
    assert proxy.stop() == 0


async def test_a_stop_ends_streams_in_order(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """They would go on for ever; after their time they are ended, and the exit code is 0."""
    config = pki.own_site(backend_port, limits={"shutdown_timeout": 0.5})
    proxy = start_vestibule(config).until_ready()
    async with scripted(backend_port, serve_streams) as backend:
        tunnel, endless = await dial(proxy, pki), await dial(proxy, pki)
        assert (await tunnel.ask(UPGRADE)).status == 101
        await endless.send(GET % b"/endless")
        await endless.read_until(b"begin\r\n")
        proxy.signal(signal.SIGTERM)
        # A WebSocket is told: 1001, going away (RFC 6455 §7.4.1).
        assert await tunnel.read_to_end() == b"\x88\x02\x03\xe9"
        assert await endless.read_to_end() == b""
        async with asyncio.timeout(PATIENCE):
            for peer in backend.peers:
                await peer.ended.wait()
    assert proxy.wait() == 0
    assert "connections were cut off" in proxy.log


async def test_a_stop_says_goodbye_to_websockets(
    start_vestibule: StartVestibule, pki: Pki, uvicorn: Uvicorn, backends: Backends
) -> None:
    """A real client of a real app sees a clean close, between two messages, and the stop is quick:
    nothing has to be cut off."""
    proxy = start_vestibule(pki.own_site(backends.app.number)).until_ready()
    sockets = [
        await connect(
            f"wss://own.test:{proxy.https}/ws",
            host="127.0.0.1",
            ssl=pki.client_context(),
            proxy=None,
        )
        for _ in range(10)
    ]
    for socket_ in sockets:
        await socket_.send("hello")
        assert await socket_.recv() == "hello"
    proxy.signal(signal.SIGTERM)
    for socket_ in sockets:
        async with asyncio.timeout(PATIENCE):
            await socket_.wait_closed()
        assert socket_.close_code == 1001
    assert await asyncio.to_thread(proxy.wait) == 0
    assert "cut off" not in proxy.log
