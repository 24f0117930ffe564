"""A client on raw bytes: TLS of its own over a plain socket, so that it can do what no library's
client would, and sees all that the proxy sends.

It half-closes as TLS allows (RFC 8446 §6.1), connects from any loopback address, and reads
responses strictly: what it cannot account for is a failure of the test.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from tests.e2e.waiting import PATIENCE

_READ_BYTES: Final = 256 * 1024

Fields = list[tuple[bytes, bytes]]


class EndOfStream(Exception):
    """The connection ended where more was due; ``got`` is what there was of it."""

    def __init__(self, what: str, got: bytes) -> None:
        super().__init__(f"the connection ended in {what} after {got[:200]!r}")
        self.got = got


class BadBytes(Exception):
    """What came is no HTTP/1.1 message."""


class Headed:
    """Looks up fields of a message's head."""

    __slots__ = ()
    fields: Fields

    def get(self, name: bytes) -> bytes | None:
        """The value of a field that may occur once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name!r} occurs {len(values)} times: {self.fields}"
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


@dataclass(slots=True)
class Response(Headed):
    """A complete response, and the 1xx ones before it."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes
    informational: list[Response] = field(default_factory=list)
    head: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


class Wire:
    """One connection. Reading ends the test when nothing comes for ``PATIENCE`` seconds."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, name: str | None):
        self._socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.buffer = bytearray()
        self.ended = False
        """The other side has closed, or reset, the connection."""
        self.was_reset = False
        _open.add(self)

    # -- opening and closing -------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        port: int,
        context: ssl.SSLContext | None = None,
        name: str | None = None,
        *,
        source: str | None = None,
        host: str = "127.0.0.1",
        receive_buffer: int | None = None,
    ) -> Wire:
        """Connect, and shake hands where there is a context."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                # One address after another is used once; their ports need not be kept apart.
                sock.bind((source, 0))
            async with asyncio.timeout(PATIENCE):
                await loop.sock_connect(sock, (host, port))
                wire = cls(sock, context, name)
                await wire._shake_hands()
        except BaseException:
            sock.close()
            raise
        return wire

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Shake hands on a connection that was opened in plain, behind what was sent so far."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        await self._shake_hands()

    async def _shake_hands(self) -> None:
        while self._tls is not None:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                if self.ended:
                    raise EndOfStream("the handshake", b"") from None
            except ssl.SSLError:
                await self._flush()
                raise
            else:
                await self._flush()
                return

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()
        _open.discard(self)

    def reset(self) -> None:
        """End the connection with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    async def send_end(self) -> None:
        """Half-close: close_notify and FIN. Reading goes on."""
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except (ssl.SSLWantReadError, ssl.SSLError):
                # The peer's own close_notify is not waited for here.
                pass
            await self._flush()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = self.was_reset = True

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol() if self._tls else None

    @property
    def certificate(self) -> bytes:
        """The server's, as DER."""
        assert self._tls is not None
        der = self._tls.getpeercert(binary_form=True)
        assert der is not None
        return der

    # -- sending -------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send all of it; what a peer that has gone does not take is dropped."""
        if self._tls is None:
            await self._send_raw(data)
            return
        if data:
            self._tls.write(data)
        await self._flush()

    async def send_bytes(self, data: bytes) -> None:
        """Send byte by byte, each in a TLS record and a segment of its own."""
        for position in range(len(data)):
            if self.ended:
                return
            await self.send(data[position : position + 1])
            os.sched_yield()  # let the proxy read this one before the next is there

    async def _flush(self) -> None:
        await self._send_raw(self._outgoing.read())

    async def _send_raw(self, data: bytes) -> None:
        if not data or self.ended:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except (BrokenPipeError, ConnectionResetError):
            # What it sent before may still be there to be read.
            return

    # -- reading -------------------------------------------------------------------------------

    async def read_some(self) -> bytes:
        """What has come, at least one byte; nothing at the end."""
        while not self.buffer and not self.ended:
            await self._fill()
        data, self.buffer = bytes(self.buffer), bytearray()
        return data

    async def read_to_end(self) -> bytes:
        """All until the other side ends the connection."""
        while not self.ended:
            await self._fill()
        data, self.buffer = bytes(self.buffer), bytearray()
        return data

    async def read_exactly(self, size: int, what: str = "data") -> bytes:
        while len(self.buffer) < size:
            if self.ended:
                raise EndOfStream(what, bytes(self.buffer))
            await self._fill()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def read_until(self, mark: bytes, what: str = "data") -> bytes:
        """Up to and with the mark."""
        while (at := self.buffer.find(mark)) < 0:
            if self.ended:
                raise EndOfStream(what, bytes(self.buffer))
            await self._fill()
        end = at + len(mark)
        data = bytes(self.buffer[:end])
        del self.buffer[:end]
        return data

    async def _fill(self) -> None:
        if self._tls is not None and self._decrypt():
            return
        if self.ended:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                data = await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
        except ConnectionResetError:
            self.ended = self.was_reset = True
            return
        except TimeoutError:
            raise AssertionError(
                f"nothing came for {PATIENCE:g} s; before it: {bytes(self.buffer)!r}"
            ) from None
        if self._tls is None:
            self.buffer += data
            self.ended = not data
        elif data:
            self._incoming.write(data)
            if self._tls.version() is not None:
                self._decrypt()
        else:
            # FIN without close_notify: what came last may be cut short (RFC 8446 §6.1).
            self._incoming.write_eof()
            self.ended = self.was_reset = True

    def _decrypt(self) -> bool:
        """Move what can be decrypted into the buffer; whether there was anything."""
        assert self._tls is not None
        before = len(self.buffer)
        try:
            while data := self._tls.read(_READ_BYTES):
                self.buffer += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLEOFError:
            self.ended = self.was_reset = True
        else:
            self.ended = True
        return len(self.buffer) > before

    # -- HTTP ----------------------------------------------------------------------------------

    async def ask(self, raw: bytes, method: bytes = b"GET") -> Response:
        """Send a request and read its response."""
        await self.send(raw)
        return await self.response(method)

    async def response(self, method: bytes = b"GET") -> Response:
        """The next final response."""
        informational = []
        while True:
            response = await self.response_head()
            if response.status >= 200 or response.status == 101:
                break
            informational.append(response)
        response.informational = informational
        if response.status != 101:
            response.body = await self._body(response, method)
        return response

    async def response_head(self) -> Response:
        """The next response, without its body."""
        return parse_response_head(await self.read_until(b"\r\n\r\n", "a response head"))

    async def _body(self, response: Response, method: bytes) -> bytes:
        if method == b"HEAD" or response.status in (204, 304):
            return b""
        coding, length = response.get(b"transfer-encoding"), response.get(b"content-length")
        if coding is not None:
            if coding != b"chunked" or length is not None:
                raise BadBytes(f"odd framing: {response.fields}")
            return await self._chunks()
        if length is not None:
            return await self.read_exactly(int(length), "a body")
        body = await self.read_to_end()
        if self.was_reset:
            raise EndOfStream("a body that the end of the connection ends", body)
        return body

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = int((await self.read_until(b"\r\n", "a chunk size"))[:-2], 16)
            data = await self.read_exactly(size + 2, "a chunk")
            if data[size:] != b"\r\n":
                raise BadBytes(f"no CRLF behind a chunk: {data[size:]!r}")
            body += data[:size]
            if size == 0:
                return bytes(body)


_open: set[Wire] = set()


def close_all() -> None:
    """Drop the connections that a test, having failed, left open."""
    for wire in list(_open):
        wire.close()


def parse_response_head(head: bytes) -> Response:
    """Read a response head strictly."""
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    version, status, reason = (*line.split(b" ", 2), b"")[:3]
    if version != b"HTTP/1.1" or len(status) != 3:
        raise BadBytes(f"no status line: {line!r}")
    fields = []
    for entry in lines:
        name, colon, value = entry.partition(b":")
        if not colon or not name or name != name.strip() or b"\n" in entry or b"\r" in entry:
            raise BadBytes(f"no field line: {entry!r}")
        fields.append((name, value.strip(b" \t")))
    return Response(int(status), reason, fields, b"", head=head)
