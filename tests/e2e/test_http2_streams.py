"""Streams beside each other on one HTTP/2 connection, and answers that come early."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from h2.exceptions import StreamClosedError

from tests.e2e.app import PATTERN
from tests.e2e.backends import Peer, ok, recording, scripted
from tests.e2e.clients import curl
from tests.e2e.fronts import Front
from tests.e2e.h2_wire import H2Wire
from tests.e2e.programs import resident_bytes
from tests.e2e.waiting import PATIENCE, until

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def pattern(size: int) -> bytes:
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@pytest.mark.parametrize("length", ["true", "false"])
async def test_slow_readers_get_every_byte_beside_busy_streams(
    app_front: Front, length: str
) -> None:
    """Twenty streams stand still while others go on; then each turns out whole."""
    size = 3 * MIB
    path = f"/download?size={size}&length={length}"
    async with await H2Wire.open(app_front, "app.test") as client:
        slow = [await client.request(path) for _ in range(20)]
        client.slow.update(slow)
        for number in slow:
            await client.head(number)
        before = resident_bytes(app_front.proxy.worker)
        for _ in range(100):
            answer = await client.get("/status/200")
            assert (answer.status, bytes(answer.body)) == (200, b"status 200")
        assert all(len(client.streams[number].body) <= 65_535 for number in slow)
        # Not the 60 MiB that they have asked for.
        assert resident_bytes(app_front.proxy.worker) - before < 10 * MIB
        expected = pattern(size)
        for number in slow:
            await client.speed_up(number)
        for number in slow:
            stream = await client.ended(number)
            assert stream.reset is None
            assert stream.body == expected


async def test_a_small_window_that_grows_by_odd_steps(app_front: Front) -> None:
    size = 500_000
    async with await H2Wire.open(app_front, "app.test", window=1000) as client:
        number = await client.request(f"/download?size={size}")
        client.slow.add(number)
        stream = client.streams[number]
        granted, step = 1000, 777
        while granted < size:
            while len(stream.body) < granted:
                await client.read()
            client.protocol.increment_flow_control_window(step, number)
            await client.flush()
            granted += step
            step = min(step * 3 // 2 + 1, 100_000)
        assert bytes((await client.ended(number)).body) == pattern(size)


async def test_a_backend_that_does_not_read_stops_its_own_stream(front: Front) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (received := await peer.request_head()) is not None:
            if received.method == b"POST":
                await go_on.wait()
            await peer.request_body(received)
            answer = hashlib.sha256(received.body).hexdigest().encode()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + answer)

    body = pattern(20 * MIB)
    async with (
        scripted(front.backends.scripted.number, script),
        await H2Wire.open(front, "script.test") as client,
    ):
        upload = await client.request("/up", method="POST", end=False)
        sent = 0
        # Until all buffers on the way are full; more would need the backend to read.
        while sent < len(body):
            window = client.protocol.local_flow_control_window(upload)
            if window:
                count = min(window, 16_384)
                client.protocol.send_data(upload, body[sent : sent + count])
                sent += count
                await client.flush()
                continue
            try:
                async with asyncio.timeout(1):
                    await client.read()
            except TimeoutError:
                break
        assert sent < len(body), "the proxy swallows what nobody reads"
        for _ in range(20):
            assert (await client.get("/")).status == 200
        go_on.set()
        await client.send(upload, body[sent:], end=True)
        assert bytes((await client.ended(upload)).body) == hashlib.sha256(body).hexdigest().encode()


async def test_request_trailers_stop_before_http_1(front: Front) -> None:
    async with (
        recording(front.backends.recording.number) as backend,
        await H2Wire.open(front, "front.test") as client,
    ):
        number = await client.request("/", method="POST", end=False)
        await client.send(number, b"body")
        client.protocol.send_headers(number, [("x-sum", "1")], end_stream=True)
        await client.flush()
        assert (await client.ended(number)).status == 200
        (received,) = backend.records
        assert bytes(received.body) == b"body"
        assert received.all(b"x-sum") == []


async def test_an_answer_before_the_end_of_the_request(front: Front, tmp_path: Path) -> None:
    """curl gets it, whatever it was still about to send."""

    async def script(peer: Peer) -> None:
        await peer.request_head()
        # Or it would get the next request too, when all of this one had come before the answer.
        close = b"Connection: close\r\nContent-Length: 5\r\n\r\nearly"
        await peer.send(b"HTTP/1.1 200 OK\r\n" + close)
        await peer.wait_for_end()

    body = tmp_path / "body"
    body.write_bytes(bytes(500_000))
    async with scripted(front.backends.scripted.number, script):
        for _ in range(3):
            done = await asyncio.to_thread(
                curl,
                front,
                *("--http2", "-w", " %{http_code}", "--data-binary", f"@{body}"),
                front.url("script.test", "/"),
            )
            assert (done.stdout, done.returncode) == (b"early 200", 0), done.stderr


async def test_a_request_that_goes_on_after_its_answer_leaves_the_others_alone(
    front: Front,
) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.request_head()
        assert received is not None
        if received.method == b"POST":
            await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
            await peer.wait_for_end()
        else:
            await peer.send(ok(received))

    async with (
        scripted(front.backends.scripted.number, script) as backend,
        await H2Wire.open(front, "script.test") as client,
    ):
        upload = await client.request("/", method="POST", end=False)
        stream = await client.ended(upload)
        assert (stream.status, stream.ended, stream.reset) == (413, True, None)
        await until(backend.peers[0].ended.is_set, "the end of the backend's request", PATIENCE)
        await client.send(upload, bytes(100_000))
        assert (await client.get("/")).status == 200
        # More than is worth taking.
        with pytest.raises(StreamClosedError):
            await client.send(upload, bytes(2 * MIB))
        assert stream.reset == 0
        assert (await client.get("/")).status == 200
