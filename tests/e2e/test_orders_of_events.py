"""What happens in an unlucky order: ends in the middle, answers to nobody, processes that die.

Each test ends with a request that is served as if nothing had been.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.backends import Peer, ok, recording, scripted
from tests.e2e.conftest import StartVestibule
from tests.e2e.fronts import Front
from tests.e2e.pki import Pki
from tests.e2e.programs import ReservedPort, is_running
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.waiting import eventually, until
from tests.e2e.wire import EndOfStream, Wire

pytestmark = pytest.mark.anyio

UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
GOING_AWAY = b"\x88\x02\x03\xe9"
"""A Close frame with 1001 (RFC 6455 §7.4.1)."""


def request(target: bytes, *lines: bytes, method: bytes = b"GET", host: bytes = b"") -> bytes:
    head = method + b" " + target + b" HTTP/1.1", b"Host: " + (host or b"script.test"), *lines
    return b"\r\n".join((*head, b"", b""))


async def dial(front: Front) -> Wire:
    return await Wire.open(front.port, front.pki.client_context(), "script.test")


async def outcome(wire: Wire) -> str:
    try:
        response = await wire.response()
    except EndOfStream:
        return "cut"
    return "whole" if response.body == b"hello" else str(response.status)


async def is_closed(port: int) -> bool:
    """Whether nobody accepts there any more."""
    try:
        (await Wire.open(port)).close()
    except ConnectionRefusedError:
        return True
    return False


async def rest_of(wire: Wire) -> bytes:
    """What is still to come of four bytes."""
    try:
        return await wire.read_exactly(4)
    except EndOfStream as end:
        return end.got


async def is_well(front: Front) -> None:
    async with recording(front.backends.scripted.number), await dial(front) as wire:
        assert (await wire.ask(request(b"/well"))).body == b"GET /well"


# -- backends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
async def test_a_response_that_ends_at_any_byte(front: Front, reset: bool) -> None:
    """A POST is sent once. The client gets all of it, or a 502, or sees that it was cut."""
    for raw in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ):
        body = raw.index(b"\r\n\r\n") + 4
        for end in range(len(raw) + 1):
            met: list[bytes] = []

            async def serve(peer: Peer, part: bytes = raw[:end], met: list[bytes] = met) -> None:
                if (received := await peer.request()) is not None:
                    met.append(received.target)
                    await peer.send(part)
                    if reset:
                        peer.reset()

            async with scripted(front.backends.scripted.number, serve), await dial(front) as wire:
                await wire.send(request(b"/once", b"Content-Length: 0", method=b"POST"))
                got = await outcome(wire)
            if reset:
                # It may overtake what was sent before it.
                assert got in ("whole", "cut", "502")
            elif end == len(raw):
                assert got == "whole"
            else:
                assert got == ("502" if end < body else "cut")
            assert met == [b"/once"]
    await is_well(front)


@pytest.mark.parametrize(("count", "status"), [(10, 200), (11, 502), (5000, 502)])
async def test_a_flood_of_1xx(front: Front, count: int, status: int) -> None:
    async def serve(peer: Peer) -> None:
        if await peer.request() is not None:
            hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * count
            await peer.send(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with scripted(front.backends.scripted.number, serve), await dial(front) as wire:
        response = await wire.ask(request(b"/"))
        assert response.status == status
        assert len(response.informational) <= 10
    await is_well(front)


async def test_an_answer_to_nobody_is_given_to_nobody(front: Front) -> None:
    """A backend that speaks on an idle connection has lost it."""
    speak = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            await peer.send(ok(received))
            if received.target == b"/first":
                await speak.wait()
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    async with scripted(front.backends.scripted.number, serve) as backend:
        async with await dial(front) as wire:
            assert (await wire.ask(request(b"/first"))).body == b"GET /first"
            speak.set()
            await asyncio.wait_for(backend.peers[0].ended.wait(), 20)
            assert (await wire.ask(request(b"/second"))).body == b"GET /second"
    await is_well(front)


async def test_a_unix_socket_that_goes_and_comes_back(
    start_vestibule: StartVestibule, pki: Pki, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    chain, key = pki.issue("own.test")
    site: Value = {
        "names": ["own.test"],
        "certificate": {"chain": str(chain), "key": str(key)},
        "upstreams": [f"unix:{path}"],
    }
    proxy = start_vestibule({"sites": [site]}).until_ready()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()

    async def status() -> int:
        async with await Wire.open(proxy.https, pki.client_context(), "own.test") as wire:
            return (await wire.ask(request(b"/", host=b"own.test"))).status

    for _ in range(2):
        assert await status() == 502
        server = await asyncio.start_unix_server(serve, str(path))
        assert await status() == 200
        server.close()
        await server.wait_closed()
        path.unlink()
    path.mkdir()  # worse than nothing
    assert await status() == 502
    assert "Traceback" not in proxy.log


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


async def test_an_http_2_backend_that_takes_no_streams_for_a_while(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """SETTINGS_MAX_CONCURRENT_STREAMS of 0 holds for its connection, and not for ever."""
    chain, key = pki.issue("own.test")
    site: Value = {
        "names": ["own.test"],
        "certificate": {"chain": str(chain), "key": str(key)},
        "upstreams": [f"h2c://127.0.0.1:{backend_port}"],
        "balancing": {"failures": 1000, "queue_timeout": 1.0},
    }
    proxy = start_vestibule({"sites": [site]}).until_ready()

    async def refuse(peer: Peer) -> None:
        await peer.send(frame(4, 0, 0, b"\0\3\0\0\0\0"))
        await peer.wait_for_end()

    async def serve(peer: Peer) -> None:
        await peer.send(frame(4, 0, 0))
        await peer.read_exactly(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        while True:
            head = await peer.read_exactly(9)
            await peer.read_exactly(int.from_bytes(head[:3]))
            if head[3] == 1:  # HEADERS; 0x88 is ":status: 200" (RFC 7541, Appendix A)
                await peer.send(frame(1, 5, int.from_bytes(head[5:]), b"\x88"))

    async def status() -> int:
        async with await Wire.open(proxy.https, pki.client_context(), "own.test") as wire:
            return (await wire.ask(request(b"/", host=b"own.test"))).status

    async with scripted(backend_port, refuse):
        assert await status() == 503
    async with scripted(backend_port, serve):
        assert await status() == 200


# -- clients ---------------------------------------------------------------------------------------


async def test_a_client_that_leaves_at_any_byte(front: Front) -> None:
    """By FIN, by RST or by close_notify: nothing of it is kept."""
    raw = request(b"/left", b"Transfer-Encoding: chunked", method=b"POST")
    raw += b'5;a="b"\r\nhello\r\n0\r\nX: y\r\n\r\n'

    def open_files() -> int:
        return len(os.listdir(f"/proc/{front.proxy.worker}/fd"))

    await is_well(front)
    before = open_files()
    async with recording(front.backends.scripted.number) as backend:
        for end in range(0, len(raw) + 1, 3):
            for how in ("close", "reset", "end"):
                wire = await dial(front)
                await wire.send(raw[:end])
                if how == "end":
                    await wire.send_end()
                    await wire.read_to_end()
                wire.reset() if how == "reset" else wire.close()
        for received in backend.records:
            assert not received.complete or bytes(received.body) == b"hello"
    await until(lambda: open_files() <= before, "the end of all these connections")
    await is_well(front)


# -- processes -------------------------------------------------------------------------------------


@pytest.fixture
def backend_port() -> Iterator[int]:
    port = ReservedPort()
    yield port.number
    port.close()


@pytest.fixture
def start(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> Callable[[int], Vestibule]:
    """A proxy with so many workers before own.test."""

    def begin(workers: int) -> Vestibule:
        chain, key = pki.issue("own.test")
        site: Value = {
            "names": ["own.test"],
            "certificate": {"chain": str(chain), "key": str(key)},
            "upstreams": [f"127.0.0.1:{backend_port}"],
        }
        return start_vestibule({"workers": workers, "sites": [site]}).until_ready()

    return begin


def slowly(go_on: asyncio.Event) -> Callable[[Peer], Awaitable[None]]:
    """Half of an answer, and the rest later."""

    async def serve(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await go_on.wait()
            await peer.send(b"cd")

    return serve


async def own(proxy: Vestibule, pki: Pki) -> Wire:
    return await Wire.open(proxy.https, pki.client_context(), "own.test")


async def test_a_killed_worker_takes_only_its_own_requests_with_it(
    start: Callable[[int], Vestibule], pki: Pki, backend_port: int
) -> None:
    proxy = start(2)
    go_on = asyncio.Event()
    async with scripted(backend_port, slowly(go_on)):
        wires = [await own(proxy, pki) for _ in range(24)]
        for wire in wires:
            await wire.send(request(b"/", host=b"own.test"))
            assert (await wire.response_head()).status == 200
        killed = proxy.worker
        os.kill(killed, signal.SIGKILL)
        await until(lambda: killed not in proxy.children, "the death of a worker")
        go_on.set()
        rests = [await rest_of(wire) for wire in wires]
        assert set(rests) <= {b"ab", b"abcd"}
        assert b"ab" in rests
        await until(lambda: len(proxy.children) == 2, "another worker")
        async with await own(proxy, pki) as wire:
            assert (await wire.ask(request(b"/", host=b"own.test"))).body == b"abcd"


async def test_a_stopped_worker_holds_up_no_new_client(
    start: Callable[[int], Vestibule], pki: Pki, backend_port: int
) -> None:
    """SIGSTOP, as a debugger or a starved machine does it; then it goes on as if nothing was."""
    proxy = start(2)
    stopped = proxy.worker
    async with recording(backend_port):
        wires = [await own(proxy, pki) for _ in range(12)]
        for wire in wires:
            assert (await wire.ask(request(b"/", host=b"own.test"))).status == 200
        os.kill(stopped, signal.SIGSTOP)
        try:
            for _ in range(12):
                async with await own(proxy, pki) as wire:
                    assert (await wire.ask(request(b"/", host=b"own.test"))).status == 200
        finally:
            os.kill(stopped, signal.SIGCONT)
        for wire in wires:
            assert (await wire.ask(request(b"/", host=b"own.test"))).status == 200
    assert stopped in proxy.children


async def test_the_parents_death_cuts_nobody_off(
    start: Callable[[int], Vestibule], pki: Pki, backend_port: int
) -> None:
    proxy = start(1)
    workers = proxy.children
    go_on = asyncio.Event()
    async with scripted(backend_port, slowly(go_on)), await own(proxy, pki) as wire:
        await wire.send(request(b"/", host=b"own.test"))
        assert (await wire.response_head()).status == 200
        await asyncio.to_thread(proxy.kill)

        await eventually(partial(is_closed, proxy.https), "the worker's end of accepting")
        go_on.set()
        assert await wire.read_exactly(4) == b"abcd"
        assert await wire.read_to_end() == b""
    await until(lambda: not any(map(is_running, workers)), "the end of the worker")


async def test_a_stop_in_the_middle_of_an_upgrade(
    start: Callable[[int], Vestibule], pki: Pki, backend_port: int
) -> None:
    """The tunnel that opens then is closed in order, and not cut off when the time is up."""
    proxy = start(1)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def serve(peer: Peer) -> None:
        if await peer.request_head() is not None:
            asked.set()
            await go_on.wait()
            await peer.send(SWITCHED + b"\x81\x02hi")
            await peer.wait_for_end()

    async with scripted(backend_port, serve) as backend, await own(proxy, pki) as wire:
        await wire.send(request(b"/ws", *UPGRADE, host=b"own.test"))
        await asked.wait()
        proxy.signal(signal.SIGTERM)

        await eventually(partial(is_closed, proxy.http), "the end of accepting")
        go_on.set()
        assert (await wire.response()).status == 101
        assert await wire.read_exactly(len(GOING_AWAY)) == GOING_AWAY
        await wire.send_end()
        await asyncio.wait_for(backend.peers[0].ended.wait(), 20)
        assert await asyncio.to_thread(proxy.wait) == 0
    assert "cut off" not in proxy.log
