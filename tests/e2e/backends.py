"""Backends on raw bytes: one that records all it receives, one that says what it is told to.

They live on the test's own event loop, at ports that the proxy knows from its configuration.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.e2e.wire import Fields, Headed

_READ_BYTES: Final = 256 * 1024
_SEND_BYTES: Final = 64 * 1024


class Unexpected(Exception):
    """What came is no HTTP/1.1 request as a proxy may send it."""


class Cut(Exception):
    """The connection ended in the middle of something; ``got`` is what there was of it."""

    def __init__(self, got: bytes) -> None:
        super().__init__(f"the proxy closed after {got[:200]!r}")
        self.got = got


@dataclass(slots=True, eq=False)
class Received(Headed):
    """One request as it reached the backend. ``complete`` is false until its last byte is there."""

    connection: int
    method: bytes
    target: bytes
    fields: Fields
    head: bytes
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


class Peer:
    """The proxy's connection, as a backend sees it."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self._socket = sock
        self._buffer = bytearray()
        self.sent = 0
        """How many bytes the kernel has taken."""
        self.ended = asyncio.Event()
        """The proxy was seen to have closed or reset it."""

    async def send(self, data: bytes) -> None:
        """Send; what nobody takes any more is dropped."""
        loop = asyncio.get_running_loop()
        try:
            for start in range(0, len(data), _SEND_BYTES):
                piece = data[start : start + _SEND_BYTES]
                await loop.sock_sendall(self._socket, piece)
                self.sent += len(piece)
        except ConnectionError:
            self.ended.set()

    async def read_some(self) -> bytes:
        """What comes next, at least one byte; nothing at the end."""
        if self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            return data
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.ended.set()
        return data

    async def read_until(self, mark: bytes) -> bytes:
        """Up to and with the mark; raises Cut."""
        while (at := self._buffer.find(mark)) < 0:
            await self._fill()
        return self._take(at + len(mark))

    async def read_exactly(self, size: int) -> bytes:
        """Raises Cut."""
        while len(self._buffer) < size:
            await self._fill()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _fill(self) -> None:
        held, self._buffer = self._buffer, bytearray()
        data = await self.read_some()
        self._buffer = held + data
        if not data:
            raise Cut(bytes(held))

    async def wait_for_end(self) -> bytes:
        """Read until the proxy closes; what came."""
        got = bytearray()
        while data := await self.read_some():
            got += data
        return bytes(got)

    def close(self) -> None:
        """Close: in order when all that came was read, with RST otherwise."""
        self._socket.close()

    def reset(self) -> None:
        """Close with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close_sending(self) -> None:
        """Half-close; nothing where the proxy has closed it already."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    async def request(self, records: list[Received] | None = None) -> Received | None:
        """The next request, complete; None when the connection has ended between requests.

        Raises:
            Unexpected: it is not what a proxy may send.
            Cut: the connection ended in mid-request.
        """
        received = await self.request_head(records)
        if received is not None:
            await self.request_body(received)
        return received

    async def request_head(self, records: list[Received] | None = None) -> Received | None:
        try:
            head = await self.read_until(b"\r\n\r\n")
        except Cut as cut:
            if cut.got:
                raise
            return None
        received = parse_request_head(self.number, head)
        if records is not None:
            records.append(received)
        return received

    async def request_body(self, received: Received) -> None:
        """Read the body of a request whose head has been read."""
        coding, length = received.get(b"transfer-encoding"), received.get(b"content-length")
        if coding is not None and length is not None:
            raise Unexpected(f"two framing fields: {received.head!r}")
        if coding is not None:
            if coding != b"chunked":
                raise Unexpected(f"an odd coding: {received.head!r}")
            await self._chunks(received)
        elif length is not None:
            if not length.isdigit():
                raise Unexpected(f"an odd length: {received.head!r}")
            while missing := int(length) - len(received.body):
                data = await self.read_some()
                if not data:
                    raise Cut(bytes(received.body))
                received.body += data[:missing]
                self._buffer += data[missing:]
        received.complete = True

    async def _chunks(self, received: Received) -> None:
        while True:
            line = await self.read_until(b"\r\n")
            if not 1 <= len(line) - 2 <= 8 or line[:-2].strip(b"0123456789abcdef"):
                raise Unexpected(f"an odd chunk size: {line!r}")
            size = int(line, 16)
            data = await self.read_exactly(size + 2)
            if data[size:] != b"\r\n":
                raise Unexpected(f"no CRLF behind a chunk: {data[size:]!r}")
            received.body += data[:size]
            if size == 0:
                return


Script: TypeAlias = Callable[[Peer], Awaitable[None]]
"""What to do on a connection; it is closed afterwards."""


@dataclass(slots=True)
class Backend:
    """A running backend; ``faults`` is what came and no proxy may send."""

    peers: list[Peer] = field(default_factory=list)
    records: list[Received] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def targets(self) -> list[bytes]:
        """What was asked for, complete requests only."""
        return [received.target for received in self.records if received.complete]


@asynccontextmanager
async def scripted(
    port: int, script: Script, backend: Backend | None = None
) -> AsyncIterator[Backend]:
    """A backend that runs the script on each connection, and closes it afterwards.

    At the end of the block every connection is closed: none is left over for the next test.
    """
    backend = backend or Backend()
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(peer: Peer) -> None:
        try:
            await script(peer)
        except Cut:
            peer.ended.set()
        except Unexpected as error:
            backend.faults.append(str(error))
        finally:
            peer.close()

    def accept() -> None:
        try:
            sock, _ = listening.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(len(backend.peers), sock)
        backend.peers.append(peer)
        task = loop.create_task(serve(peer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    with socket.create_server(("127.0.0.1", port), backlog=512) as listening:
        listening.setblocking(False)
        loop.add_reader(listening, accept)
        try:
            yield backend
        finally:
            loop.remove_reader(listening)
            unfinished = list(tasks)
            for task in unfinished:
                task.cancel()
            outcomes = await asyncio.gather(*unfinished, return_exceptions=True)
            for peer in backend.peers:
                peer.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    # Not in the finally: a failure of the test itself says more.
    assert backend.faults == []


@asynccontextmanager
async def recording(
    port: int, answer: Callable[[Received], bytes] | None = None
) -> AsyncIterator[Backend]:
    """A backend that records requests and answers each at once."""
    backend = Backend()

    async def script(peer: Peer) -> None:
        while (received := await peer.request(backend.records)) is not None:
            await peer.send(answer(received) if answer is not None else ok(received))

    async with scripted(port, script, backend):
        yield backend


def ok(received: Received) -> bytes:
    """A 200 that names what was asked for."""
    body = received.method + b" " + received.target
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if received.method == b"HEAD" else head + body


def parse_request_head(connection: int, head: bytes) -> Received:
    """Read a request head as the strictest backend would."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] != b"HTTP/1.1" or not all(parts):
        raise Unexpected(f"no request line: {line!r} in {head!r}")
    fields: Fields = []
    for entry in lines:
        name, colon, value = entry.partition(b":")
        bad = b"\n" in entry or b"\r" in entry or b"\0" in entry or b" " in name or b"\t" in name
        if not colon or not name or bad:
            raise Unexpected(f"no field line: {entry!r} in {head!r}")
        fields.append((name, value.strip(b" \t")))
    return Received(connection, parts[0], parts[1], fields, head)
