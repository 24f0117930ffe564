"""Clients with many things under way at once: WebSocket echo, and HTTP/2 with changing requests."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from functools import cache
from typing import cast

import hpack
import uvloop

from benchmarks.clients import ClientFailure
from benchmarks.peers import HOST, client_context

_FRAME_HEADERS = b"\x01\x05"  # type HEADERS, flags END_HEADERS | END_STREAM
# No limit worth the name on what the server may send: SETTINGS_INITIAL_WINDOW_SIZE, and a
# WINDOW_UPDATE for the connection.
_PREFACE = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff"
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xfe\xff\xff"
)
_SETTINGS_ACK = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"


def websocket_echo(port: int, *, connections: int, seconds: float, size: int = 64) -> int:
    """Messages there and back on each connection, one after the other; how many came back."""
    payload = os.urandom(size)
    # A masked text frame (RFC 6455 §5.2) whose mask is zero.
    frame = b"\x81" + bytes([0x80 | size]) + bytes(4) + payload
    return uvloop.run(_run(port, "http/1.1", connections, seconds, lambda: _WebSocket(port, frame)))


def http2_changing(
    port: int, *, connections: int, streams: int, seconds: float, paths: int = 1000
) -> int:
    """Requests for ``paths`` different paths with a cookie that changes each time; how many were
    answered. Header blocks are encoded beforehand, one long sequence per connection."""
    sequences = [_blocks(paths, 12_000, seed) for seed in range(connections)]
    return uvloop.run(
        _run(port, "h2", connections, seconds, lambda: _Changing(sequences.pop(), streams))
    )


def http2_percentile(port: int, share: float, *, seconds: float, stalled: bool) -> float:
    """A percentile, in seconds, of the times of requests on 99 streams of one connection; if asked
    for, beside a stream whose large response is not taken."""
    client = _Timed(stalled)
    uvloop.run(_run(port, "h2", 1, seconds, lambda: client))
    times = sorted(client.times)
    return times[int(len(times) * share)]


class _Counting(asyncio.Protocol):
    """A client on one connection that counts what came back."""

    def __init__(self) -> None:
        self.done = 0
        self.failure: str | None = None
        self.stopped = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says without being one.
        self.transport = cast(asyncio.Transport, transport)
        self.begin()

    def begin(self) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.stopped and self.failure is None:
            self.failure = f"the connection ended: {error}"


class _WebSocket(_Counting):
    def __init__(self, port: int, frame: bytes) -> None:
        super().__init__()
        self._port = port
        self._frame = frame
        self._upgraded = False
        self._received = 0
        self._head = b""

    def begin(self) -> None:
        self.write(
            f"GET / HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self._upgraded:
            self._head += data
            if self._head.endswith(b"\r\n\r\n"):
                if not self._head.startswith(b"HTTP/1.1 101 "):
                    self.failure = f"no upgrade: {self._head[:100]!r}"
                    return
                self._upgraded = True
                self.write(self._frame)
            return
        self._received += len(data)
        if self._received == len(self._frame):
            self._received = 0
            self.done += 1
            if not self.stopped:
                self.write(self._frame)


class _Http2(_Counting):
    """Reads frames; what is sent in answer to a response's end is a subclass's business."""

    preface = _PREFACE

    def __init__(self) -> None:
        super().__init__()
        self._next_stream = 1
        self._received = b""

    def answered(self, stream: int) -> bytes:
        """A response is complete; what to send now."""
        raise NotImplementedError

    def headers(self, block: bytes) -> bytes:
        """A HEADERS frame on a new stream."""
        stream = self._next_stream
        self._next_stream += 2
        return len(block).to_bytes(3, "big") + _FRAME_HEADERS + stream.to_bytes(4, "big") + block

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        position, end, out = 0, len(received), b""
        while end - position >= 9:
            size = int.from_bytes(received[position : position + 3], "big")
            if end - position < 9 + size:
                break
            kind, flags = received[position + 3], received[position + 4]
            if kind <= 1 and flags & 1:  # DATA or HEADERS with END_STREAM
                self.done += 1
                stream = int.from_bytes(received[position + 5 : position + 9], "big")
                out += self.answered(stream)
            elif kind == 4 and not flags & 1:
                out += _SETTINGS_ACK
            elif kind in (3, 7):
                self.failure = "the server reset a stream or went away"
            position += 9 + size
        self._received = received[position:]
        if out:
            self.write(out)


class _Changing(_Http2):
    """Sends one prepared request after the other, so many at a time."""

    def __init__(self, blocks: list[bytes], streams: int) -> None:
        super().__init__()
        self._blocks = iter(blocks)
        self._streams = streams

    def begin(self) -> None:
        self.write(self.preface + b"".join(self.answered(0) for _ in range(self._streams)))

    def answered(self, stream: int) -> bytes:
        block = next(self._blocks, None)
        return b"" if block is None or self.stopped else self.headers(block)


class _Timed(_Http2):
    """99 busy streams; the connection's window is wide, a stream's is 64 KiB and never widened."""

    preface = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xfe\xff\xff"
    )

    def __init__(self, stalled: bool) -> None:
        super().__init__()
        self.times: list[float] = []
        self._stalled = stalled
        self._sent: dict[int, float] = {}
        self._encoder = hpack.Encoder()

    def begin(self) -> None:
        large = self._request("/1m") if self._stalled else b""
        self._sent.clear()  # the stalled one is not timed
        self.write(self.preface + large + b"".join(self._request("/") for _ in range(99)))

    def answered(self, stream: int) -> bytes:
        self.times.append(time.perf_counter() - self._sent.pop(stream))
        return b"" if self.stopped else self._request("/")

    def _request(self, path: str) -> bytes:
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]
        self._sent[self._next_stream] = time.perf_counter()
        return self.headers(self._encoder.encode(fields))


@cache
def _blocks(paths: int, count: int, seed: int) -> list[bytes]:
    random_source = random.Random(seed)
    encoder = hpack.Encoder()
    return [
        encoder.encode(
            [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", HOST),
                (":path", f"/items/{random_source.randrange(paths)}?page=1"),
                ("user-agent", "bench/1.0 (changing)"),
                ("accept", "application/json"),
                ("cookie", f"session=4f2a9c; seen={random_source.getrandbits(64):016x}"),
            ]
        )
        for _ in range(count)
    ]


async def _run(
    port: int, protocol: str, connections: int, seconds: float, make: Callable[[], _Counting]
) -> int:
    loop = asyncio.get_running_loop()
    context = client_context(protocol)
    clients: list[_Counting] = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            make, "127.0.0.1", port, ssl=context, server_hostname=HOST
        )
        clients.append(client)
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopped = True
    await asyncio.sleep(0.1)  # what is under way comes back
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
    failures = {client.failure for client in clients if client.failure is not None}
    if failures:
        raise ClientFailure("; ".join(sorted(failures)))
    if not all(client.done for client in clients):
        raise ClientFailure("a connection got no answer at all")
    return sum(client.done for client in clients)
