"""Big bodies stream through: the worker's memory stays flat, whatever passes.

256 MiB each way, or what the variable BIG_BODY_MIB says; what grows would grow by some of that.
The bound is generous for the allocator.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.app import PATTERN
from tests.e2e.backends import Peer, scripted
from tests.e2e.clients import curl, http_client
from tests.e2e.conftest import Figure
from tests.e2e.fronts import Front
from tests.e2e.programs import forget_peak, resident_bytes
from tests.e2e.waiting import until
from tests.e2e.wire import Wire

MIB: Final = 1024 * 1024
SIZE: Final = int(os.environ.get("BIG_BODY_MIB", "256")) * MIB
GROWTH: Final = 24 * MIB


class Memory:
    """How much the worker's memory grows within a block, at its peak."""

    def __init__(self, front: Front, what: str, figure: Figure) -> None:
        self._pid = front.proxy.worker
        self._what = f"{what}, {front.engine}"
        self._figure = figure

    def __enter__(self) -> None:
        forget_peak(self._pid)
        self._before = resident_bytes(self._pid)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        growth = resident_bytes(self._pid, peak=True) - self._before
        self._figure(
            f"{self._what}: peak RSS of the worker {self._before / MIB:.1f} MiB "
            f"+ {growth / MIB:.1f} MiB"
        )
        if error is None:
            assert growth < GROWTH


# Engines read heads of HTTP/1.1: to the bodies of HTTP/2 they are all the same.
each_version = pytest.mark.parametrize(
    ("engine", "version"),
    [("h11", "HTTP/1.1"), ("httptools", "HTTP/1.1"), ("httptools", "HTTP/2")],
)


@each_version
def test_a_download(app_front: Front, version: str, figure: Figure) -> None:
    url = app_front.url("app.test", f"/download?size={SIZE}")
    option = "--http2" if version == "HTTP/2" else "--http1.1"
    with Memory(app_front, f"download of {SIZE // MIB} MiB over {version}", figure):
        done = curl(app_front, option, "-o", "/dev/null", "-w", "%{size_download}", url)
    assert done.stdout == b"%d" % SIZE, done.stderr


@each_version
def test_an_upload(app_front: Front, version: str, figure: Figure) -> None:
    digest = hashlib.sha256()

    def body() -> Iterator[bytes]:
        left = SIZE
        while left > 0:
            piece = PATTERN[:left]
            digest.update(piece)
            left -= len(piece)
            yield piece

    with (
        Memory(app_front, f"upload of {SIZE // MIB} MiB over {version}", figure),
        http_client(app_front, http2=version == "HTTP/2") as client,
    ):
        response = client.post(app_front.url("app.test", "/upload"), content=body(), timeout=100)
    assert response.json() == {"size": SIZE, "sha256": digest.hexdigest()}


@pytest.mark.anyio
async def test_a_download_that_nobody_reads(front: Front, figure: Figure) -> None:
    """The backend has far more to say than the client takes: it is made to wait."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            await peer.send(b"x" * MIB)

    size = 64 * MIB

    async with scripted(front.backends.scripted.number, script) as backend:
        with Memory(front, "64 downloads that nobody reads", figure):
            wires = [
                await Wire.open(
                    front.port, front.pki.client_context(), "script.test", receive_buffer=4096
                )
                for _ in range(64)
            ]
            for wire in wires:
                await wire.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
            # As far as anything moves: one of them is read to the end beside the others.
            whole = await Wire.open(front.port, front.pki.client_context(), "script.test")
            async with whole:
                await whole.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
                got = 0
                await whole.read_until(b"\r\n\r\n")
                while got < size:
                    data = await whole.read_some()
                    assert data
                    got += len(data)
            assert len(backend.peers) == 65
            for wire in wires:
                wire.reset()
            for peer in backend.peers[:64]:
                await until(peer.ended.is_set, "the end of an abandoned download")


@pytest.mark.anyio
async def test_an_upload_that_nobody_reads(front: Front, figure: Figure) -> None:
    """The client is made to wait, and not held in memory."""

    stop = asyncio.Event()
    taken: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request_head()
        await stop.wait()

    async def upload(context: ssl.SSLContext) -> None:
        async with await Wire.open(front.port, context, "script.test") as wire:
            await wire.send(
                b"POST / HTTP/1.1\r\nHost: script.test\r\nContent-Length: %d\r\n\r\n" % SIZE
            )
            number = len(taken)
            taken.append(0)
            for _ in range(SIZE // 65536):
                await wire.send(b"x" * 65536)
                taken[number] += 65536

    async with scripted(front.backends.scripted.number, script):
        with Memory(front, "32 uploads that nobody reads", figure):
            context = front.pki.client_context()
            tasks = [asyncio.create_task(upload(context)) for _ in range(32)]
            before = -1

            def stands_still() -> bool:
                nonlocal before
                now = sum(taken)
                still, before = now == before and len(taken) == 32, now
                return still

            for _ in range(20):
                await until(stands_still, "uploads that wait")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        stop.set()
    figure(f"  of each the proxy and the sockets took {max(taken) / MIB:.1f} MiB at most")
    assert max(taken) < SIZE
