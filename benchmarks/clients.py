"""Clients of our own, for what the usual load generators do not do.

Blocking sockets where one thing happens after the other (handshakes, connections that are opened
and then idle, a slow reader). The client's CPU time is not counted, so plain code is good enough.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.peers import HOST, client_context

_PER_ADDRESS = 200
"""Connections from one loopback address; Vestibule allows 256 by default."""

# An HTTP/2 client's first bytes (RFC 9113 §3.4) with empty SETTINGS, and a GET on stream 1:
# :method GET, :scheme https, :path / from the static table, :authority as a literal.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_END_STREAM = 0x1


class ClientFailure(Exception):
    """A proxy did not do what the client expected of it."""


def get_request(port: int, path: str = "/", name: str = HOST) -> bytes:
    """A plain GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUser-Agent: bench\r\n\r\n".encode()


def connect(
    port: int,
    context: ssl.SSLContext,
    *,
    name: str = HOST,
    session: ssl.SSLSession | None = None,
    source: str = "127.0.0.1",
) -> ssl.SSLSocket:
    """A connection after its handshake."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=name, session=session)


def exchange(secure: ssl.SSLSocket, request: bytes, end: bytes = b"hello world\n") -> None:
    """Send a request and read until its response ends."""
    secure.sendall(request)
    received = b""
    while not received.endswith(end):
        piece = secure.recv(65536)
        if not piece:
            raise ClientFailure(f"the connection ended after {received[:200]!r}")
        received += piece
    if not received.startswith(b"HTTP/1.1 200 "):
        raise ClientFailure(f"the response was {received[:200]!r}")


def full_handshakes(port: int, count: int, names: Callable[[int], str] = lambda _: HOST) -> None:
    """So many connections, each with a full TLS 1.3 handshake and nothing else."""
    context = client_context("http/1.1")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for number in range(count):
        with connect(port, context, name=names(number)) as secure:
            if secure.session_reused:
                raise ClientFailure("a handshake that should be full was resumed")


def resumed_handshakes(port: int, count: int) -> None:
    """So many connections, each resumed with a ticket (TLS 1.3)."""
    context = client_context("http/1.1")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    session = None
    for _ in range(count + 1):
        with connect(port, context, session=session) as secure:
            if session is not None:
                if not secure.session_reused:
                    raise ClientFailure("a handshake that should be resumed was full")
                continue
            # In TLS 1.3 the ticket comes after the handshake, with the first data.
            exchange(secure, get_request(port))
            session = secure.session


@contextmanager
def idle_connections(port: int, count: int, protocol: str) -> Iterator[None]:
    """So many connections that have had one request each and are silent now."""
    context = client_context(protocol)
    opened: list[ssl.SSLSocket] = []
    try:
        for number in range(count):
            source = f"127.0.1.{1 + number // _PER_ADDRESS}"
            secure = connect(port, context, source=source)
            opened.append(secure)
            if protocol == "h2":
                _http2_get(secure, port)
            else:
                exchange(secure, get_request(port))
        yield
    finally:
        for secure in opened:
            secure.close()


def slow_download(port: int, path: str, size: int, bytes_per_second: float) -> Iterator[None]:
    """Read a large response at a limited speed; yields several times a second and at its end."""
    with connect(port, client_context("http/1.1")) as secure:
        secure.sendall(get_request(port, path))
        received, begin, sampled = 0, time.monotonic(), 0.0
        while received < size:
            piece = secure.recv(262_144)
            if not piece:
                raise ClientFailure(f"the download ended after {received} of {size} bytes")
            received += len(piece)
            now = time.monotonic()
            if now - sampled > 0.25:
                sampled = now
                yield
            ahead = begin + received / bytes_per_second - now
            if ahead > 0.002:
                time.sleep(ahead)
        yield


def _http2_get(secure: ssl.SSLSocket, port: int) -> None:
    authority = f"{HOST}:{port}".encode()
    block = b"\x82\x87\x84\x01" + bytes([len(authority)]) + authority
    headers = len(block).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + block
    secure.sendall(_PREFACE + headers)
    received = bytearray()
    while True:
        piece = secure.recv(65536)
        if not piece:
            raise ClientFailure("the HTTP/2 connection ended")
        received += piece
        while len(received) >= 9:
            size = int.from_bytes(received[:3], "big")
            if len(received) < 9 + size:
                break
            kind, flags, stream = received[3], received[4], int.from_bytes(received[5:9], "big")
            del received[: 9 + size]
            if stream == 1 and kind in (0x0, 0x1) and flags & _END_STREAM:
                # The peer's SETTINGS came before its response; acknowledge them at last.
                secure.sendall(b"\x00\x00\x00\x04\x01\x00\x00\x00\x00")
                return
