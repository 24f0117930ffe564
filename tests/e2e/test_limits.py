"""What one client may cost: slow, large and many, each with a defined end.

``tight_front`` has the times small enough to be waited for; sizes are the defaults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.e2e.backends import Backend, Peer, recording, scripted
from tests.e2e.fronts import TIGHT_LIMITS, Front
from tests.e2e.waiting import PATIENCE, eventually, until
from tests.e2e.wire import EndOfStream, Wire

pytestmark = pytest.mark.anyio

HEAD = b"GET / HTTP/1.1\r\nHost: front.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: script.test\r\n"


async def dial(front: Front, site: str = "front.test", source: str | None = None) -> Wire:
    return await Wire.open(front.port, front.pki.client_context(), site, source=source)


async def drip(wire: Wire, data: Iterator[bytes]) -> None:
    """Send pieces for as long as the proxy takes them."""
    for piece in data:
        if wire.ended:
            return
        await wire.send(piece)
        await asyncio.sleep(0.05)


def endless_fields() -> Iterator[bytes]:
    yield HEAD
    number = 0
    while True:
        number += 1
        yield b"X%d: y\r\n" % number


async def test_a_head_that_drips_gets_408(tight_front: Front) -> None:
    """The time for a head is absolute: activity does not extend it."""
    async with await dial(tight_front) as wire:
        dripping = asyncio.create_task(drip(wire, endless_fields()))
        response = await wire.response()
        assert response.status == 408
        assert response.get(b"connection") == b"close"
        assert await wire.read_to_end() == b""
        dripping.cancel()


async def test_a_second_head_that_drips_gets_408(tight_front: Front) -> None:
    async with (
        recording(tight_front.backends.recording.number),
        await dial(tight_front) as wire,
    ):
        assert (await wire.ask(HEAD + b"\r\n")).status == 200
        await wire.send(HEAD)
        assert (await wire.response()).status == 408
        assert await wire.read_to_end() == b""


async def test_an_idle_connection_is_closed_without_a_word(tight_front: Front) -> None:
    async with recording(tight_front.backends.recording.number):
        async with await dial(tight_front) as fresh:
            assert await fresh.read_to_end() == b""
            assert not fresh.was_reset
        async with await dial(tight_front) as used:
            assert (await used.ask(HEAD + b"\r\n")).status == 200
            assert await used.read_to_end() == b""
            assert not used.was_reset


async def test_an_old_connection_is_asked_to_end(tight_front: Front) -> None:
    """Between two requests, and never without saying so."""
    async with recording(tight_front.backends.recording.number), await dial(tight_front) as wire:
        served = 0
        async with asyncio.timeout(PATIENCE):
            while True:
                response = await wire.ask(HEAD + b"\r\n")
                assert response.status == 200
                served += 1
                if response.get(b"connection") == b"close":
                    break
                await asyncio.sleep(0.1)
        assert served > 1
        assert await wire.read_to_end() == b""
        assert not wire.was_reset


async def test_a_body_that_stops_gets_408(tight_front: Front) -> None:
    """And the backend is not left waiting for it."""

    async def script(peer: Peer) -> None:
        await peer.request_head(backend.records)
        await peer.wait_for_end()

    backend = Backend()
    async with (
        scripted(tight_front.backends.scripted.number, script, backend),
        await dial(tight_front, "script.test") as wire,
    ):
        await wire.send(POST + b"Content-Length: 10\r\n\r\nhello")
        assert (await wire.response()).status == 408
        assert await wire.read_to_end() == b""
        async with asyncio.timeout(PATIENCE):
            await backend.peers[0].ended.wait()


async def test_a_body_that_is_slow_but_moves_is_waited_for(tight_front: Front) -> None:
    """The limit is on standing still: this one takes longer than stall_timeout as a whole."""
    pieces = 40

    async with (
        recording(tight_front.backends.scripted.number),
        await dial(tight_front, "script.test") as wire,
    ):
        assert isinstance(TIGHT_LIMITS["stall_timeout"], float)
        assert pieces * 0.05 > TIGHT_LIMITS["stall_timeout"]
        await wire.send(POST + b"Content-Length: %d\r\n\r\n" % pieces)
        await drip(wire, iter([b"x"] * pieces))
        assert (await wire.response()).status == 200


async def test_a_client_that_does_not_read_is_cut_off(tight_front: Front) -> None:
    """And while it does not, the backend is held back: what lies between them is bounded."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        piece = b"x" * 65536
        while not peer.ended.is_set():
            await peer.send(piece)

    async with scripted(tight_front.backends.scripted.number, script) as backend:
        wire = await Wire.open(
            tight_front.port,
            tight_front.pki.client_context(),
            "script.test",
            receive_buffer=4096,
        )
        async with wire:
            await wire.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
            await until(lambda: backend.peers, "the request at the backend")
            async with asyncio.timeout(PATIENCE):
                await backend.peers[0].ended.wait()
            # Socket buffers of both connections, which the kernel sizes, and our 64 KiB.
            assert backend.peers[0].sent < 30_000_000
            with pytest.raises(EndOfStream):
                await wire.response()


async def test_an_endless_stream_is_not_cut_off(tight_front: Front) -> None:
    """A response that has begun may be silent for as long as it likes: longer than all limits."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        )
        await go.wait()
        await peer.send(b"4\r\nlast\r\n0\r\n\r\n")
        await peer.wait_for_end()

    async with (
        scripted(tight_front.backends.scripted.number, script),
        await dial(tight_front, "script.test") as wire,
        await dial(tight_front, "script.test") as idle,
    ):
        await wire.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
        await wire.read_until(b"first\r\n")
        # Twice as long as the keep-alive time, which this connection shows by its end.
        await idle.read_to_end()
        async with await dial(tight_front, "script.test") as idle:
            await idle.read_to_end()
        go.set()
        assert await wire.read_until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"


async def test_one_address_has_so_many_connections(tight_front: Front) -> None:
    """Another address is not touched by it, and a place that becomes free is given again."""
    limit = TIGHT_LIMITS["connections_per_address"]
    assert isinstance(limit, int)

    async def script(peer: Peer) -> None:
        # A response that has begun and never ends: no limit in time ends these connections.
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.wait_for_end()

    async def can_come(source: str) -> bool:
        try:
            async with await dial(tight_front, "script.test", source) as wire:
                await wire.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
                return (await wire.response_head()).status == 200
        except (EndOfStream, OSError):
            return False

    async with (
        scripted(tight_front.backends.scripted.number, script),
        AsyncExitStack() as stack,
    ):
        wires = []
        for _ in range(limit):
            wire = await stack.enter_async_context(
                await dial(tight_front, "script.test", "127.2.0.1")
            )
            await wire.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
            assert (await wire.response_head()).status == 200
            wires.append(wire)
        assert not await can_come("127.2.0.1")
        assert await can_come("127.2.0.2")
        wires[0].close()
        await eventually(lambda: can_come("127.2.0.1"), "a place for the address")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /%b HTTP/1.1\r\nHost: front.test\r\n\r\n" % (b"x" * 8200), 414),
        (b"GET /%b" % (b"x" * 20_000), 414),
        (HEAD + b"X: %b\r\n\r\n" % (b"x" * 8200), 431),
        (HEAD + b"X: y\r\n" * 101 + b"\r\n", 431),
        (HEAD + b"".join(b"X%d: %b\r\n" % (n, b"y" * 4000) for n in range(9)) + b"\r\n", 431),
        (HEAD + b"".join(b"X%d: %b\r\n" % (n, b"y" * 4000) for n in range(9)), 431),
    ],
)
async def test_heads_have_a_largest_size(front: Front, raw: bytes, status: int) -> None:
    async with recording(front.backends.recording.number) as backend:
        async with await dial(front) as wire:
            response = await wire.ask(raw)
            assert response.status == status
            assert await wire.read_to_end() == b""
        # What is just within the limits passes.
        async with await dial(front) as wire:
            line = b"GET /%b HTTP/1.1\r\nHost: front.test\r\n\r\n" % (b"x" * 8000)
            assert (await wire.ask(line)).status == 200
            assert (await wire.ask(HEAD + b"X: y\r\n" * 90 + b"\r\n")).status == 200
    assert len(backend.records) == 2


async def test_a_flood_of_tiny_chunks_is_ended(front: Front) -> None:
    """More framing than data is an attack on whoever must read it."""

    async def script(peer: Peer) -> None:
        await peer.request(backend.records)

    backend = Backend()
    async with (
        scripted(front.backends.scripted.number, script, backend),
        await dial(front, "script.test") as wire,
    ):
        await wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await wire.send(b"1\r\nx\r\n" * 20_000)
        assert (await wire.response()).status == 400
        assert await wire.read_to_end() == b""
    assert not any(received.complete for received in backend.records)


async def test_thousands_of_slow_heads_do_not_hold_up_others(front: Front) -> None:
    """Each from an address of its own, as a botnet's would be."""
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(recording(front.backends.recording.number))
        for number in range(1000):
            source = f"127.3.{number // 250}.{number % 250 + 1}"
            wire = await Wire.open(front.port, source=source)
            stack.callback(wire.close)
            await wire.send(b"\x16\x03\x01")
        async with await dial(front) as wire:
            for _ in range(10):
                assert (await wire.ask(HEAD + b"\r\n")).status == 200
        assert len(backend.records) == 10


async def test_an_early_answer_to_an_upload_ends_it_well(front: Front) -> None:
    """The client reads the answer, whole, although it had not sent its body yet."""

    async def script(peer: Peer) -> None:
        await peer.request_head()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script) as backend,
        await dial(front, "script.test") as wire,
    ):
        await wire.send(POST + b"Content-Length: 50000000\r\n\r\nbegin")
        response = await wire.response()
        assert (response.status, response.body) == (403, b"no")
        async with asyncio.timeout(PATIENCE):
            await backend.peers[0].ended.wait()
        # More than the proxy is willing to drop.
        await wire.send(b"x" * 1_000_000)
        assert await wire.read_to_end() == b""


async def test_the_connection_after_an_early_answer_is_clean(front: Front) -> None:
    """A small rest of the body is read and dropped; it is not the next request."""

    async def script(peer: Peer) -> None:
        if (await peer.request_head(backend.records)) is not None:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await peer.wait_for_end()

    backend = Backend()
    async with (
        scripted(front.backends.scripted.number, script, backend),
        await dial(front, "script.test") as wire,
    ):
        inside = b"GET /smuggled HTTP/1.1\r\nHost: script.test\r\n\r\n"
        await wire.send(POST + b"Content-Length: %d\r\n\r\n" % len(inside))
        assert (await wire.response()).status == 200
        await wire.send(inside + b"GET /canary HTTP/1.1\r\nHost: script.test\r\n\r\n")
        assert (await wire.response()).status == 200
    assert [received.target for received in backend.records] == [b"/", b"/canary"]
    assert backend.records[0].connection != backend.records[1].connection
