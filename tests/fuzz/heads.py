"""Targets: both engines behind the strict check read heads and chunked bodies alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import h11

from proxy.errors import BadRequest, BadResponse
from proxy.http.chunked import ChunkedBody, ChunkedError
from proxy.http.engine import EngineName, make_engine
from proxy.http.grammar import HEAD_END
from proxy.http.head import (
    CHUNKED,
    HTTP_1_1,
    HeadReader,
    RequestFields,
    RequestHead,
    ResponseFields,
    ResponseHead,
)
from proxy.limits import Limits
from tests.corpus import chunks
from tests.corpus.requests import REQUESTS
from tests.corpus.responses import RESPONSES
from tests.fuzz.target import MAX_BYTES, Target, cuts, same
from tests.slots import attributes

ENGINES: Final[tuple[EngineName, ...]] = ("h11", "httptools")
LIMITS: Final = Limits()

SCRAPS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"=", b'"', b"\\"),
    *(b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", b"\xff", b"_", b".", b"%00", b"#", b"*", b"//"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length:5\r\n", b"5, 5", b"+5"),
    *(b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:\tchunked\r\n", b", chunked"),
    *(b"Host: front.test\r\n", b"Host: a,b\r\n", b"Expect: 100-continue\r\n", b"TE: trailers\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: X-Forwarded-For\r\n"),
    *(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"X_Forwarded_For: 6"),
    *(b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HEAD ", b"GET / HTTP/1.1\r\n", b"http://front.test"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n", b"00000000", b"FFFFFFFFF", b"0x5", b"-1", b"1e1"),
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 101 S\r\n",
        b" 304 ",
    ),
)


def ways(data: bytes) -> Iterator[tuple[EngineName, list[bytes]]]:
    """Every engine and every way to cut the data at least once, in few combinations."""
    whole, *others = cuts(data)
    for engine in ENGINES:
        yield engine, whole
    for engine, pieces in zip(ENGINES, others, strict=False):
        yield engine, pieces


def _values(meaning: RequestFields | ResponseFields) -> dict[str, object]:
    return attributes(meaning)


def _request(engine: EngineName, block: bytes) -> RequestHead | None:
    reader = HeadReader(make_engine(engine, LIMITS.header_bytes), LIMITS)
    try:
        head = reader.request(block)
    except BadRequest:
        return None  # of two faults the engines may name another one first
    again = reader.request(block)  # most are remembered by now
    assert again is head or _meaning(again) == _meaning(head)
    return head


def _meaning(head: RequestHead | None) -> object:
    return head and (head.method, head.target, head.version, _values(head.fields))


def _response(engine: EngineName, block: bytes) -> ResponseHead | None:
    reader = HeadReader(make_engine(engine, LIMITS.header_bytes), LIMITS)
    try:
        return reader.response(block)
    except BadResponse:
        return None


def _response_meaning(head: ResponseHead | None) -> object:
    return head and (head.status, head.reason, head.version, _values(head.fields))


def check_request_head(data: bytes) -> None:
    """Both engines say the same of a request head; and so does h11 alone of what they accept."""
    block = data.partition(HEAD_END)[0] + HEAD_END
    heads = [_request(engine, block) for engine in ENGINES]
    same(map(_meaning, heads), "the engines differ")
    if heads[0] is not None:
        _agrees_with_h11(heads[0], block)


def _agrees_with_h11(head: RequestHead, block: bytes) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * LIMITS.header_bytes)
    connection.receive_data(block)
    event = connection.next_event()
    assert isinstance(event, h11.Request), f"h11 sees {event!r}"
    assert event.method == head.method
    assert head.target == origin_form(event.target)
    framing = [value for name, value in event.headers if name == b"transfer-encoding"]
    assert (framing == [b"chunked"]) == (head.fields.length == CHUNKED)
    assert len([name for name, _ in event.headers if name == b"host"]) == 1
    if head.fields.length == CHUNKED:
        assert head.version == HTTP_1_1


def origin_form(target: bytes) -> bytes:
    """The origin-form of a request target (RFC 9112 §3.2.1 and §3.2.2)."""
    scheme, separator, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or not separator:
        return target
    end = min(rest.find(mark) % (len(rest) + 1) for mark in (b"/", b"?"))
    path = rest[end:]
    return path if path.startswith(b"/") else b"/" + path


def check_response_head(data: bytes) -> None:
    """Both engines say the same of a response head."""
    block = data.partition(HEAD_END)[0] + HEAD_END
    heads = [_response(engine, block) for engine in ENGINES]
    same(map(_response_meaning, heads), "the engines differ")
    if heads[0] is not None:
        _is_sound(heads[0])


def _is_sound(head: ResponseHead) -> None:
    for text in (head.reason, *(part for field in head.fields.fields for part in field)):
        assert not set(text) & set(b"\r\n\0"), f"{text!r} could split a response"
    length = head.fields.length
    assert length is None or length >= CHUNKED


def _decode(engine: EngineName, pieces: Sequence[bytes]) -> object:
    """Body, what is behind it, whether it is complete; None when it was refused."""
    body = ChunkedBody(make_engine(engine, LIMITS.header_bytes).chunked_reader())
    decoded, rest = bytearray(), bytearray()
    for piece in pieces:
        if body.complete:
            rest += piece
            continue
        try:
            data, behind = body.receive(piece)
        except ChunkedError:
            return None
        decoded += data
        rest += behind
    return bytes(decoded), bytes(rest), body.complete


def check_chunked(data: bytes) -> None:
    """Both engines decode a chunked body alike, in any pieces; so does h11 alone."""
    results = [_decode(engine, pieces) for engine, pieces in ways(data)]
    same(results, "a chunked body is read in two ways")
    result = results[0]
    if not isinstance(result, tuple) or not result[2]:
        return
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=8 * MAX_BYTES)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.next_event()
    connection.receive_data(data)
    decoded = bytearray()
    while isinstance(event := connection.next_event(), h11.Data):
        decoded += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (bytes(decoded), connection.trailing_data[0]) == result[:2]


def small(inputs: Sequence[bytes]) -> list[bytes]:
    """Those that are short enough, each once."""
    return list(dict.fromkeys(data for data in inputs if len(data) <= MAX_BYTES))


def _request_heads() -> list[bytes]:
    return small([case.raw.partition(HEAD_END)[0] + HEAD_END for case in REQUESTS])


def _response_heads() -> list[bytes]:
    return small([case.raw.partition(HEAD_END)[0] + HEAD_END for case in RESPONSES])


def _bodies() -> list[bytes]:
    return small([case.raw.partition(HEAD_END)[2] for case in chunks.cases()])


TARGETS: Final = (
    Target("request-head", check_request_head, _request_heads, SCRAPS),
    Target("response-head", check_response_head, _response_heads, SCRAPS),
    Target("chunked", check_chunked, _bodies, SCRAPS),
)
