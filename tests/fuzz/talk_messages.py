"""What clients ask, backends answer, and how the client's bytes are read, in ``talks``.

All that a backend says to a request carries the number of that request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import h11

from tests.fuzz.exchanges import asked as waiting
from tests.proxy.bench import Backend

_MARK: Final = re.compile(rb"<r(\d+)>")

# -- what the client may ask ---------------------------------------------------------------------

_HOST: Final = b"Host: front.test\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_WEBSOCKET: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def _with_length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _in_chunks(body: bytes) -> bytes:
    half = len(body) // 2 + 1
    chunks = [piece for piece in (body[:half], body[half:]) if piece]
    return b"\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


def _broken(body: bytes) -> bytes:
    return b"\r\n3\r\n%b" % body  # never so short, and never with a line's end there


ASKS: Final[tuple[tuple[bytes, bytes, bytes, Callable[[bytes], bytes] | None], ...]] = (
    (b"GET", b"1.1", b"", None),
    (b"HEAD", b"1.1", b"", None),
    (b"POST", b"1.1", b"", _with_length),
    (b"POST", b"1.1", _CHUNKED, _in_chunks),
    (b"PUT", b"1.1", _CHUNKED + b"Expect: 100-continue\r\n", _in_chunks),
    (b"PUT", b"1.1", b"Expect: 100-continue\r\n", _with_length),
    (b"GET", b"1.0", b"", None),
    (b"GET", b"1.0", b"Connection: keep-alive\r\n", None),
    (b"GET", b"1.1", b"Connection: close\r\n", None),
    (b"GET", b"1.1", _WEBSOCKET, None),
    (b"POST", b"1.0", b"Connection: keep-alive\r\n", _with_length),
    # Refused by the proxy itself, or in the middle of the body.
    (b"TRACE", b"1.1", b"", None),
    (b"POST", b"1.1", _CHUNKED, _broken),
)
"""Method, version, fields, and how a body is written."""

# -- what a backend may say ----------------------------------------------------------------------


def _plain(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


def _chunked(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + _in_chunks(text)


CLEAN: Final[tuple[Callable[[bytes], bytes], ...]] = (
    _plain,
    _chunked,
    lambda text: b"HTTP/1.1 100 Continue\r\n\r\n" + _plain(text),
    lambda text: b"HTTP/1.1 103 Early\r\nLink: %b\r\n\r\n" % text + _chunked(text),
    lambda text: _plain(text).replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
    lambda text: _chunked(text).removesuffix(b"\r\n") + b"X-Trailer: %b\r\n\r\n" % text,
)
"""Right in every way, for a request that a body may answer."""

OTHERS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda text: b"HTTP/1.1 200 OK\r\n\r\n" + text,
    lambda text: b"HTTP/1.0 200 OK\r\n\r\n" + text,
    lambda text: b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + _with_length(text),
    lambda text: b"HTTP/1.1 204 No Content\r\nX-Mark: %b\r\n\r\n" % text,
    lambda text: b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nX-Mark: %b\r\n\r\n" % text,
    lambda text: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Mark: %b\r\n\r\n" % text,
    lambda text: b"HTTP/1.1 200 OK\r\nX-Mark: %b\r\nContent-Length: 99\r\n\r\n" % text,
    lambda text: _plain(text).replace(b"200 OK", b"413 Too Large"),
    lambda text: (
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + text
    ),
    lambda text: (
        b"HTTP/1.1 403 No\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + _with_length(text)
    ),
    lambda text: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + text,
    lambda text: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n" + text,
    lambda text: b"HTTP/1.1 200 OK\r\nX-A: a\nb\r\n\r\n" + text,
    lambda text: b"\r\n" + _plain(text),
    lambda text: text,
)

SURPLUS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda text: _plain(text) + _plain(text),
    lambda text: _plain(text) + b"more",
    lambda text: _chunked(text) + _plain(text),
)
"""More than was asked for: what came behind could be taken for the next response."""

ANSWERS: Final = (*CLEAN, *OTHERS, *SURPLUS)


_SIZES: Final = (1, 2, 9, 30)
_MANY: Final = 15_000
"""Marks in a body; this is more than is held for a backend that is not there yet."""


def some_body(number: int, choice: int) -> bytes:
    """A body that tells whose it is; a long one is a rare choice."""
    return b"<q%d>" % number * (_MANY if choice == 255 else _SIZES[choice % len(_SIZES)])


def marks(said: bytes) -> set[int]:
    """The numbers of the requests that this was said to."""
    return {int(number) for number in _MARK.findall(said)}


class Asked:
    """A request as the client means it, and what became of it.

    Attributes:
        method: as a backend sees it.
        body: None when it never becomes complete.
    """

    def __init__(self, number: int, method: bytes, body: bytes | None) -> None:
        self.number = number
        self.method = method
        self.body = body
        self.reached: list[Backend] = []
        self.says: list[bytes | None] = []
        """The bodies of what backends began to say to it; None for what is not clean."""
        self.heard = False
        """A byte of an answer has come."""


class Http1Asked(Asked):
    """The same with its bytes in HTTP/1.1."""

    def __init__(self, number: int, kind: int, size: int) -> None:
        method, version, fields, write_body = ASKS[kind % len(ASKS)]
        body = some_body(number, size) if write_body else b""
        super().__init__(number, method, None if write_body is _broken else body)
        self.wire = b"%b /q%d HTTP/%b\r\n%b%b%b" % (
            *(method, number, version, _HOST, fields),
            b"\r\n" if write_body is None else write_body(body),
        )


class Response:
    """The first response in what a client got, as h11 reads it; it raises what is malformed."""

    def __init__(self, method: bytes, data: bytes, *, ended: bool) -> None:
        self.status = 0
        self.body = b""
        self.whole = False
        self._head = b""
        connection = waiting(method)
        connection.receive_data(data)
        event = self._read(connection)
        if ended and event is h11.NEED_DATA and connection.their_state is h11.SEND_BODY:
            connection.receive_data(b"")
            try:
                event = self._read(connection)
            except h11.RemoteProtocolError:
                return  # cut short
        self.whole = isinstance(event, h11.EndOfMessage)
        self.rest = bytes(connection.trailing_data[0])

    def _read(self, connection: h11.Connection) -> object:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response | h11.InformationalResponse):
                self.status = event.status_code
                self._head += b"".join(b"%b: %b\n" % field for field in event.headers)
                if self.status == 101:
                    return event
            elif isinstance(event, h11.Data):
                self.body += event.data
            else:
                return event

    @property
    def marks(self) -> set[int]:
        """The numbers of the requests that it answers."""
        return marks(self._head + self.body)
