"""A reader of HTTP/1.1 messages that forgives nothing, to judge what the proxy sends.

It shares no code with the proxy, and is stricter than any backend: what passes here is read the
same way by all of them. On top of it each request is read by h11, which must see the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import h11

Fields = list[tuple[bytes, bytes]]

_HEAD_END: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([/*][!-~]*) HTTP/1\.1")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)")
_SIZE: Final = re.compile(rb"(0|[1-9a-f][0-9a-f]{0,7})\r\n")

ONCE: Final = (
    *(b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port"),
    *(b"x-forwarded-proto", b"x-real-ip"),
)
"""What every forwarded request has exactly once."""

NEVER: Final = frozenset(
    {
        *(b"expect", b"forwarded", b"http2-settings", b"keep-alive", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"x-forwarded-prefix", b"x-forwarded-ssl"),
    }
)


class NotStrict(AssertionError):
    """What was sent could be read in more than one way."""


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def upgrade(self) -> bool:
        return (b"upgrade", b"websocket") in self.fields

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)


def read_request(data: bytes) -> tuple[Request | None, bytes]:
    """The request at the start of ``data`` and what is behind it; None while it is incomplete.

    Raises:
        NotStrict: it is none, or could be taken for another.
    """
    head, end, rest = data.partition(_HEAD_END)
    if not end:
        if re.search(rb"(?<!\r)\n|\r(?!\n|\Z)|\0", data):
            raise NotStrict(f"the beginning of no request: {data!r}")
        return None, data
    method, target, fields = _read_head(head)
    body, rest, complete = _read_body(fields, rest)
    if not complete:
        return None, data
    request = Request(method, target, tuple(fields), body)
    _agrees_with_h11(request, data[: len(data) - len(rest)])
    return request, rest


def _read_head(head: bytes) -> tuple[bytes, bytes, Fields]:
    line, *lines = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise NotStrict(f"an odd request line: {line!r}")
    fields = []
    for entry in lines:
        field = _FIELD.fullmatch(entry)
        if field is None:
            raise NotStrict(f"an odd field line: {entry!r}")
        fields.append((field[1].lower(), field[2]))
    names = [name for name, _ in fields]
    for name in ONCE:
        if names.count(name) != 1:
            raise NotStrict(f"{name!r} {names.count(name)} times: {head!r}")
    for name in names:
        if name in NEVER or _imitates(name):
            raise NotStrict(f"{name!r} must not go on: {head!r}")
    upgrade = [value for name, value in fields if name in (b"connection", b"upgrade")]
    if upgrade not in ([], [b"Upgrade", b"websocket"]):
        raise NotStrict(f"odd connection options: {head!r}")
    return match[1], match[2], fields


@lru_cache(maxsize=1024)
def _imitates(name: bytes) -> bool:
    """A backend that takes other characters for a hyphen would read it as one of ours."""
    return name not in ONCE and re.sub(rb"[^a-z0-9]", b"-", name) in ONCE


def _read_body(fields: Fields, rest: bytes) -> tuple[bytes, bytes, bool]:
    framing = [f for f in fields if f[0] in (b"content-length", b"transfer-encoding")]
    if len(framing) > 1:
        raise NotStrict(f"framed twice: {framing}")
    if not framing:
        return b"", rest, True
    name, value = framing[0]
    if name == b"content-length":
        if re.fullmatch(rb"0|[1-9][0-9]{0,17}", value) is None:
            raise NotStrict(f"an odd length: {value!r}")
        length = int(value)
        return rest[:length], rest[length:], len(rest) >= length
    if value != b"chunked":
        raise NotStrict(f"an odd coding: {value!r}")
    return _read_chunks(rest)


def _read_chunks(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        match = _SIZE.match(rest)
        if match is None:
            if len(rest) < 10 and b"\n" not in rest:
                return body, rest, False
            raise NotStrict(f"an odd chunk size: {rest[:20]!r}")
        size = int(match[1], 16)
        end = match.end() + size
        if rest[end : end + 2] != b"\r\n"[: len(rest[end : end + 2])]:
            raise NotStrict(f"no CRLF behind a chunk: {rest[end : end + 20]!r}")
        if len(rest) < end + 2:
            return body, rest, False
        body += rest[match.end() : end]
        rest = rest[end + 2 :]
        if not size:
            return body, rest, True


def _agrees_with_h11(request: Request, data: bytes) -> None:
    seen, rest = h11_request(data)
    if seen is None or rest:
        raise NotStrict(f"h11 sees no single request in {data!r}")
    if (seen.method, seen.target, seen.body) != (request.method, request.target, request.body):
        raise NotStrict(f"h11 sees {seen!r} in {request!r}")


@lru_cache(maxsize=256)  # the same bytes come once for each way to cut them
def h11_request(data: bytes) -> tuple[Request | None, bytes]:
    """What h11 makes of the request at the start of ``data``; None when it is incomplete or bad."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        connection.receive_data(data)
        head = connection.next_event()
        if not isinstance(head, h11.Request):
            return None, data
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None, data
    if not isinstance(event, h11.EndOfMessage):
        return None, data
    rest = bytes(connection.trailing_data[0])
    return Request(head.method, head.target, tuple(head.headers), body), rest
