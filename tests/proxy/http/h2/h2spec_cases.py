"""The public case list of h2spec, case by case and under its names, on raw frames.

:mod:`tests.proxy.http.h2.test_conformance` says what the expectations mean, and runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import hpack

from proxy.http.h2.header_blocks import Field
from tests.proxy.http.h2.conversation import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    PADDED,
    POST,
    PRIORITY,
    block,
    continuation,
    data,
    goaway,
    headers,
    literal,
    padded,
    ping,
    priority,
    raw,
    rst_stream,
    settings,
    window_update,
)

OPEN = END_HEADERS
"""Flags of a HEADERS frame whose stream stays open."""


@dataclass(frozen=True)
class Case:
    section: str
    name: str
    frames: tuple[bytes, ...]
    expected: str
    answer: bool = True
    greeting: bytes | None = None


def case(
    section: str,
    name: str,
    *frames: bytes,
    expected: str,
    answer: bool = True,
    greeting: bytes | None = None,
) -> Case:
    return Case(section, name, frames, expected, answer, greeting)


def indexed(*indexes: int) -> bytes:
    return bytes(0x80 | index for index in indexes)


def huffman(text: bytes) -> bytes:
    encoder = hpack.Encoder()
    coded = encoder.huffman_coder.encode(text)
    return bytes((0x80 | len(coded),)) + coded


def without(*names: bytes) -> list[Field]:
    return [field for field in GET if field[0] not in names]


def big_fields(count: int) -> list[Field]:
    return [*GET, *[(b"x-filler-%d" % number, b"v" * 4000) for number in range(count)]]


def fragmented(stream_id: int, fields: bytes) -> list[bytes]:
    """A long field block in HEADERS and CONTINUATION frames."""
    pieces = [fields[start : start + 16384] for start in range(0, len(fields), 16384)]
    frames = [headers(stream_id, pieces[0], END_STREAM)]
    frames += [continuation(stream_id, piece, 0) for piece in pieces[1:]]
    return [*frames, continuation(stream_id, b"")]


DEPENDS_ON_ITSELF = b"\x00\x00\x00\x01\x0f"
HALF = len(block(GET)) // 2
FIRST, SECOND = block(GET)[:HALF], block(GET)[HALF:]
HELLO_TRAILER = [(b"x-checksum", b"1")]
MAX_WINDOW = 2**31 - 1

GENERIC = [
    case("generic/1", "Sends a client connection preface", expected="ping"),
    case("generic/2", "Sends a PRIORITY frame on idle stream", priority(1), expected="ping"),
    case(
        "generic/2",
        "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
        headers(1),
        window_update(1, 100),
        expected="ping",
        answer=False,
    ),
    case(
        "generic/2",
        "Sends a PRIORITY frame on half-closed (remote) stream",
        headers(1),
        priority(1),
        expected="ping",
        answer=False,
    ),
    case(
        "generic/2",
        "Sends a RST_STREAM frame on half-closed (remote) stream",
        headers(1),
        rst_stream(1),
        expected="ping",
        answer=False,
    ),
    case(
        "generic/2",
        "Sends a PRIORITY frame on closed stream",
        headers(1),
        priority(1),
        expected="ping",
    ),
    case(
        "generic/3.1",
        "Sends a DATA frame",
        headers(1, POST, OPEN),
        data(1, b"test", END_STREAM),
        expected="response 1",
    ),
    case(
        "generic/3.1",
        "Sends multiple DATA frames",
        headers(1, POST, OPEN),
        data(1, b"test"),
        data(1, b"test", END_STREAM),
        expected="response 1",
    ),
    case(
        "generic/3.1",
        "Sends a DATA frame with padding",
        headers(1, POST, OPEN),
        padded(0, END_STREAM, 1, b"test", 6),
        expected="response 1",
    ),
    case("generic/3.2", "Sends a HEADERS frame", headers(1), expected="response 1"),
    case(
        "generic/3.2",
        "Sends a HEADERS frame with padding",
        padded(1, END_HEADERS | END_STREAM, 1, block(GET), 6),
        expected="response 1",
    ),
    case(
        "generic/3.2",
        "Sends a HEADERS frame with priority",
        headers(1, b"\x00\x00\x00\x00\x0f" + block(GET), END_HEADERS | END_STREAM | PRIORITY),
        expected="response 1",
    ),
    case(
        "generic/3.3",
        "Sends a PRIORITY frame with priority 1",
        priority(1, 0, 0),
        headers(1),
        expected="response 1",
    ),
    case(
        "generic/3.3",
        "Sends a PRIORITY frame with priority 256",
        priority(1, 0, 255),
        headers(1),
        expected="response 1",
    ),
    case(
        "generic/3.3",
        "Sends a PRIORITY frame with stream dependency",
        priority(3, 1),
        headers(1),
        expected="response 1",
    ),
    case(
        "generic/3.3",
        "Sends a PRIORITY frame with exclusive",
        priority(3, 1 << 31 | 1),
        headers(1),
        expected="response 1",
    ),
    case(
        "generic/3.3",
        "Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a lower stream ID",
        priority(5),
        headers(3),
        expected="response 3",
    ),
    case(
        "generic/3.4",
        "Sends a RST_STREAM frame",
        headers(1, POST, OPEN),
        rst_stream(1),
        expected="ping",
    ),
    case("generic/3.5", "Sends a SETTINGS frame", settings((3, 100)), expected="settings"),
    case("generic/3.7", "Sends a PING frame", ping(), expected="ping"),
    case("generic/3.8", "Sends a GOAWAY frame", goaway(), expected="ping"),
    case(
        "generic/3.9",
        "Sends a WINDOW_UPDATE frame with stream ID 0",
        window_update(0, 1),
        expected="ping",
    ),
    case(
        "generic/3.9",
        "Sends a WINDOW_UPDATE frame with stream ID 1",
        headers(1, POST, OPEN),
        window_update(1, 1),
        data(1, b"", END_STREAM),
        expected="response 1",
    ),
    case(
        "generic/3.10",
        "Sends a CONTINUATION frame",
        headers(1, FIRST, END_STREAM),
        continuation(1, SECOND),
        expected="response 1",
    ),
    case(
        "generic/3.10",
        "Sends multiple CONTINUATION frames",
        headers(1, FIRST, END_STREAM),
        continuation(1, SECOND[:5], 0),
        continuation(1, SECOND[5:]),
        expected="response 1",
    ),
    case("generic/4", "Sends a GET request", headers(1), expected="response 1"),
    case(
        "generic/4",
        "Sends a HEAD request",
        headers(1, [(b":method", b"HEAD"), *GET[1:]]),
        expected="response 1",
    ),
    case(
        "generic/4",
        "Sends a POST request",
        headers(1, POST, OPEN),
        data(1, b"test", END_STREAM),
        expected="response 1",
    ),
    case(
        "generic/4",
        "Sends a POST request with trailers",
        headers(1, POST, OPEN),
        data(1, b"test"),
        headers(1, HELLO_TRAILER),
        expected="response 1",
    ),
]

# RFC 7541 representations: each follows :method GET, :scheme https, :path / as indexes.
START = indexed(2, 7, 4)
AUTHORITY = b"\x01\x0bexample.com"
HPACK_ACCEPTED = [
    ("indexed header field representation", START + AUTHORITY),
    (
        "literal header field with incremental indexing - indexed name",
        START + b"\x41\x0bexample.com",
    ),
    (
        "literal header field with incremental indexing - indexed name (with Huffman coding)",
        START + b"\x41" + huffman(b"example.com"),
    ),
    (
        "literal header field with incremental indexing - new name",
        START + AUTHORITY + literal(b"x-test", b"test1", 0x40),
    ),
    (
        "literal header field with incremental indexing - new name (with Huffman coding)",
        START + AUTHORITY + b"\x40" + huffman(b"x-test") + huffman(b"test1"),
    ),
    ("literal header field without indexing - indexed name", START + b"\x01\x0bexample.com"),
    (
        "literal header field without indexing - indexed name (with Huffman coding)",
        START + b"\x01" + huffman(b"example.com"),
    ),
    (
        "literal header field without indexing - new name",
        START + AUTHORITY + literal(b"x-test", b"test1", 0x00),
    ),
    (
        "literal header field without indexing - new name (huffman encoded)",
        START + AUTHORITY + b"\x00" + huffman(b"x-test") + huffman(b"test1"),
    ),
    ("literal header field never indexed - indexed name", START + b"\x11\x0bexample.com"),
    (
        "literal header field never indexed - indexed name (huffman encoded)",
        START + b"\x11" + huffman(b"example.com"),
    ),
    (
        "literal header field never indexed - new name",
        START + AUTHORITY + literal(b"x-test", b"test1", 0x10),
    ),
    (
        "literal header field never indexed - new name (huffman encoded)",
        START + AUTHORITY + b"\x10" + huffman(b"x-test") + huffman(b"test1"),
    ),
    ("dynamic table size update", b"\x3f\x61" + START + AUTHORITY),
    ("multiple dynamic table size update", b"\x20\x3f\x61" + START + AUTHORITY),
]
GENERIC += [
    case("generic/5", f"Sends a {name}", headers(1, fields), expected="response 1")
    for name, fields in HPACK_ACCEPTED
]

HPACK = [
    case(section, f"Sends a {name}", headers(1, fields), expected="connection COMPRESSION_ERROR")
    for section, name, fields in [
        ("hpack/2.3.3", "indexed header field representation with invalid index", indexed(70)),
        (
            "hpack/2.3.3",
            "literal header field representation with invalid index",
            b"\x7f\x07\x04test",
        ),
        (
            "hpack/4.2",
            "dynamic table size update at the end of header block",
            START + AUTHORITY + b"\x20",
        ),
        (
            "hpack/5.2",
            "Huffman-encoded string literal representation with padding longer than 7 bits",
            START + AUTHORITY + b"\x00" + huffman(b"x-test") + b"\x84\x49\x50\x9f\xff",
        ),
        (
            "hpack/5.2",
            "Huffman-encoded string literal representation padded by zero",
            START + AUTHORITY + b"\x00" + huffman(b"x-test") + b"\x83\x49\x50\x90",
        ),
        (
            "hpack/5.2",
            "Huffman-encoded string literal representation containing the EOS symbol",
            START + AUTHORITY + b"\x00" + huffman(b"x-test") + b"\x87\x49\x51\xff\xff\xff\xfa\x7f",
        ),
        ("hpack/6.1", "indexed header field representation with index 0", indexed(0)),
        (
            "hpack/6.3",
            "dynamic table size update larger than the value of SETTINGS_HEADER_TABLE_SIZE",
            b"\x3f\xe2\x1f" + START + AUTHORITY,
        ),
    ]
]

PROTOCOL = "connection PROTOCOL_ERROR"
SIZE = "connection FRAME_SIZE_ERROR"
CLOSED = "connection STREAM_CLOSED"
MALFORMED = "stream 1 PROTOCOL_ERROR"

HTTP2 = [
    case("http2/3.5", "Sends client connection preface", expected="ping"),
    case(
        "http2/3.5",
        "Sends invalid connection preface",
        expected=PROTOCOL,
        greeting=b"INVALID CONNECTION PREFACE\r\n\r\n",
    ),
    case("http2/4.1", "Sends a frame with unknown type", raw(0xFF, 0, 0, b""), expected="ping"),
    case("http2/4.1", "Sends a frame with undefined flag", ping(flags=0x16), expected="ping"),
    case(
        "http2/4.1",
        "Sends a frame with reserved field bit",
        raw(6, 0, 1 << 31, b"12345678"),
        expected="ping",
    ),
    case(
        "http2/4.2",
        "Sends a DATA frame with 2^14 octets in length",
        headers(1, POST, OPEN),
        data(1, bytes(16384), END_STREAM),
        expected="response 1",
    ),
    case(
        "http2/4.2",
        "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
        headers(1, POST, OPEN),
        data(1, bytes(16385), END_STREAM),
        expected=SIZE,
    ),
    case(
        "http2/4.2",
        "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
        headers(1, block(big_fields(5))),
        expected=SIZE,
    ),
    case(
        "http2/4.3",
        "Sends invalid header block fragment",
        headers(1, b"\x40\x09too-short"),
        expected="connection COMPRESSION_ERROR",
    ),
    case(
        "http2/4.3",
        "Sends a PRIORITY frame while sending the header blocks",
        headers(1, FIRST, END_STREAM),
        priority(1),
        expected=PROTOCOL,
    ),
    case(
        "http2/4.3",
        "Sends a HEADERS frame to another stream while sending the header blocks",
        headers(1, FIRST, END_STREAM),
        headers(3),
        expected=PROTOCOL,
    ),
    case("http2/5.1", "idle: Sends a DATA frame", data(1, b"test"), expected=PROTOCOL),
    case("http2/5.1", "idle: Sends a RST_STREAM frame", rst_stream(1), expected=PROTOCOL),
    case(
        "http2/5.1", "idle: Sends a WINDOW_UPDATE frame", window_update(1, 100), expected=PROTOCOL
    ),
    case(
        "http2/5.1",
        "idle: Sends a CONTINUATION frame",
        continuation(1, block(GET)),
        expected=PROTOCOL,
    ),
    case(
        "http2/5.1",
        "half closed (remote): Sends a DATA frame",
        headers(1),
        data(1, b"test"),
        expected="stream 1 STREAM_CLOSED",
        answer=False,
    ),
    case(
        "http2/5.1",
        "half closed (remote): Sends a HEADERS frame",
        headers(1),
        headers(1),
        expected="stream 1 STREAM_CLOSED",
        answer=False,
    ),
    case(
        "http2/5.1",
        "half closed (remote): Sends a CONTINUATION frame",
        headers(1),
        continuation(1, block(GET)),
        expected=PROTOCOL,
        answer=False,
    ),
    case(
        "http2/5.1",
        "closed: Sends a DATA frame after sending RST_STREAM frame",
        headers(1, POST, OPEN),
        rst_stream(1),
        data(1, b"test"),
        expected="stream 1 STREAM_CLOSED",
    ),
    case(
        "http2/5.1",
        "closed: Sends a HEADERS frame after sending RST_STREAM frame",
        headers(1, POST, OPEN),
        rst_stream(1),
        headers(1),
        expected="stream 1 STREAM_CLOSED",
    ),
    case(
        "http2/5.1",
        "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
        headers(1, POST, OPEN),
        rst_stream(1),
        continuation(1, block(GET)),
        expected=PROTOCOL,
    ),
    case("http2/5.1", "closed: Sends a DATA frame", headers(1), data(1, b"test"), expected=CLOSED),
    case("http2/5.1", "closed: Sends a HEADERS frame", headers(1), headers(1), expected=CLOSED),
    case(
        "http2/5.1",
        "closed: Sends a CONTINUATION frame",
        headers(1),
        continuation(1, block(GET)),
        expected=PROTOCOL,
    ),
    case("http2/5.1.1", "Sends even-numbered stream identifier", headers(2), expected=PROTOCOL),
    case(
        "http2/5.1.1",
        "Sends stream identifier that is numerically smaller than previous",
        headers(5),
        headers(3),
        expected=PROTOCOL,
    ),
    case(
        "http2/5.1.2",
        "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
        *[headers(stream_id, POST, OPEN) for stream_id in range(1, 203, 2)],
        expected="stream 201 REFUSED_STREAM",
    ),
    case(
        "http2/5.3.1",
        "Sends HEADERS frame that depends on itself",
        headers(1, DEPENDS_ON_ITSELF + block(GET), END_HEADERS | END_STREAM | PRIORITY),
        expected=PROTOCOL,
    ),
    case(
        "http2/5.3.1",
        "Sends PRIORITY frame that depend on itself",
        priority(1, 1),
        expected=PROTOCOL,
    ),
    case(
        "http2/5.4.1", "Sends an invalid PING frame for connection close", ping(b""), expected=SIZE
    ),
    case(
        "http2/5.4.1",
        "Sends an invalid PING frame to receive GOAWAY frame",
        ping(b""),
        expected=SIZE,
    ),
    case(
        "http2/5.5", "Sends an unknown extension frame", raw(0x16, 0, 0, bytes(8)), expected="ping"
    ),
    case(
        "http2/5.5",
        "Sends an unknown extension frame in the middle of a header block",
        headers(1, FIRST, END_STREAM),
        raw(0x16, 0, 0, bytes(8)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.1",
        "Sends a DATA frame with 0x0 stream identifier",
        data(0, b"test"),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.1",
        'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state',
        headers(1),
        data(1, b"test"),
        expected="stream 1 STREAM_CLOSED",
        answer=False,
    ),
    case(
        "http2/6.1",
        "Sends a DATA frame with invalid pad length",
        headers(1, POST, OPEN),
        raw(0, PADDED | END_STREAM, 1, b"\x06Test"),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.2",
        "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
        headers(1, block(GET), END_STREAM),
        priority(1),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.2",
        "Sends a HEADERS frame to another stream while sending a HEADERS frame",
        headers(1, block(GET), END_STREAM),
        headers(3),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.2",
        "Sends a HEADERS frame with 0x0 stream identifier",
        headers(0),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.2",
        "Sends a HEADERS frame with invalid pad length",
        raw(1, PADDED | END_HEADERS | END_STREAM, 1, b"\xff" + block(GET)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.3",
        "Sends a PRIORITY frame with 0x0 stream identifier",
        priority(0),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.3",
        "Sends a PRIORITY frame with a length other than 5 octets",
        headers(1, POST, OPEN),
        raw(2, 0, 1, b"\x00\x00\x00\x00"),
        expected="stream 1 FRAME_SIZE_ERROR",
    ),
    case(
        "http2/6.4",
        "Sends a RST_STREAM frame with 0x0 stream identifier",
        rst_stream(0),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.4", "Sends a RST_STREAM frame on a idle stream", rst_stream(1), expected=PROTOCOL
    ),
    case(
        "http2/6.4",
        "Sends a RST_STREAM frame with a length other than 4 octets",
        headers(1, POST, OPEN),
        raw(3, 0, 1, b"\x00\x00\x00"),
        expected=SIZE,
    ),
    case(
        "http2/6.5",
        "Sends a SETTINGS frame with ACK flag and payload",
        raw(4, ACK, 0, b"\x00"),
        expected=SIZE,
    ),
    case(
        "http2/6.5",
        "Sends a SETTINGS frame with a stream identifier other than 0x0",
        raw(4, 0, 1, b"\x00\x03\x00\x00\x00\x64"),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.5",
        "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
        raw(4, 0, 0, b"\x00\x03\x00"),
        expected=SIZE,
    ),
    case(
        "http2/6.5.2",
        "SETTINGS_ENABLE_PUSH (0x2): Sends the value other than 0 or 1",
        settings((2, 2)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.5.2",
        "SETTINGS_INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window"
        " size",
        settings((4, 2**31)),
        expected="connection FLOW_CONTROL_ERROR",
    ),
    case(
        "http2/6.5.2",
        "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
        settings((5, 16383)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.5.2",
        "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
        settings((5, 2**24)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.5.2",
        "Sends a SETTINGS frame with unknown identifier",
        settings((0xFF, 1)),
        expected="ping",
    ),
    case(
        "http2/6.5.3",
        "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
        settings((4, 100), (4, 1)),
        headers(1),
        expected="data 1 h",
    ),
    case("http2/6.5.3", "Sends a SETTINGS frame without ACK flag", settings(), expected="settings"),
    case("http2/6.7", "Sends a PING frame", ping(), expected="ping"),
    case("http2/6.7", "Sends a PING frame with ACK", ping(b"unsolici", ACK), expected="ping"),
    case(
        "http2/6.7",
        "Sends a PING frame with a stream identifier field value other than 0x0",
        raw(6, 0, 1, bytes(8)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.7",
        "Sends a PING frame with a length field value other than 8",
        ping(b"123456"),
        expected=SIZE,
    ),
    case(
        "http2/6.8",
        "Sends a GOAWAY frame with a stream identifier other than 0x0",
        raw(7, 0, 1, bytes(8)),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.9",
        "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
        window_update(0, 0),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.9",
        "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
        headers(1, POST, OPEN),
        window_update(1, 0),
        expected=MALFORMED,
    ),
    case(
        "http2/6.9",
        "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
        raw(8, 0, 0, b"\x00\x00\x01"),
        expected=SIZE,
    ),
    case(
        "http2/6.9.1",
        "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
        settings((4, 1)),
        headers(1),
        expected="data 1 h",
    ),
    case(
        "http2/6.9.1",
        "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1",
        window_update(0, MAX_WINDOW),
        window_update(0, MAX_WINDOW),
        expected="connection FLOW_CONTROL_ERROR",
    ),
    case(
        "http2/6.9.1",
        "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on"
        " a stream",
        headers(1, POST, OPEN),
        window_update(1, MAX_WINDOW),
        window_update(1, MAX_WINDOW),
        expected="stream 1 FLOW_CONTROL_ERROR",
    ),
    case(
        "http2/6.9.2",
        "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame",
        settings((4, 0)),
        headers(1),
        settings((4, 1)),
        expected="data 1 h",
    ),
    case(
        "http2/6.9.2",
        "Sends a SETTINGS frame for window size to be negative",
        settings((4, 3)),
        headers(1),
        settings((4, 2)),
        window_update(1, 2),
        expected="data 1 hell",
    ),
    case(
        "http2/6.9.2",
        "Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum window size value",
        settings((4, 2**31)),
        expected="connection FLOW_CONTROL_ERROR",
    ),
    case(
        "http2/6.10",
        "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
        headers(1, FIRST, END_STREAM),
        continuation(1, SECOND[:3], 0),
        continuation(1, SECOND[3:]),
        expected="response 1",
    ),
    case(
        "http2/6.10",
        "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
        headers(1, FIRST, END_STREAM),
        continuation(1, SECOND, 0),
        data(1, b"test", END_STREAM),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.10",
        "Sends a CONTINUATION frame with 0x0 stream identifier",
        headers(1, FIRST, END_STREAM),
        continuation(0, SECOND),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.10",
        "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
        headers(1, POST, OPEN),
        continuation(1, SECOND),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.10",
        "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
        headers(1, FIRST, 0),
        continuation(1, SECOND),
        continuation(1, SECOND),
        expected=PROTOCOL,
    ),
    case(
        "http2/6.10",
        "Sends a CONTINUATION frame preceded by a DATA frame",
        headers(1, POST, OPEN),
        data(1, b"test"),
        continuation(1, SECOND),
        expected=PROTOCOL,
    ),
    case(
        "http2/7", "Sends a GOAWAY frame with unknown error code", goaway(0, 0xFF), expected="ping"
    ),
    case(
        "http2/7",
        "Sends a RST_STREAM frame with unknown error code",
        headers(1, POST, OPEN),
        rst_stream(1, 0xFF),
        expected="ping",
    ),
    case(
        "http2/8.1",
        "Sends a second HEADERS frame without the END_STREAM flag",
        headers(1, POST, OPEN),
        headers(1, HELLO_TRAILER, OPEN),
        expected=MALFORMED,
    ),
    *[
        case(
            f"http2/{section}",
            f"Sends a HEADERS frame {name}",
            headers(1, fields),
            expected=MALFORMED,
        )
        for section, name, fields in [
            (
                "8.1.2",
                "that contains the header field name in uppercase letters",
                [*GET, (b"X-TEST", b"test")],
            ),
            (
                "8.1.2.1",
                "that contains a unknown pseudo-header field",
                [*GET, (b":test", b"test")],
            ),
            (
                "8.1.2.1",
                "that contains the pseudo-header field defined for response",
                [*GET, (b":status", b"200")],
            ),
            (
                "8.1.2.1",
                "that contains a pseudo-header field that appears in a header block after a regular"
                " header field",
                [*without(b":path"), (b"x-test", b"test"), (b":path", b"/")],
            ),
            (
                "8.1.2.2",
                "that contains the connection-specific header field",
                [*GET, (b"connection", b"keep-alive")],
            ),
            (
                "8.1.2.2",
                'that contains the TE header field with any value other than "trailers"',
                [*GET, (b"te", b"trailers, deflate")],
            ),
            (
                "8.1.2.3",
                'with empty ":path" pseudo-header field',
                [*without(b":path"), (b":path", b"")],
            ),
            ("8.1.2.3", 'that omits ":method" pseudo-header field', without(b":method")),
            ("8.1.2.3", 'that omits ":scheme" pseudo-header field', without(b":scheme")),
            ("8.1.2.3", 'that omits ":path" pseudo-header field', without(b":path")),
            (
                "8.1.2.3",
                'with duplicated ":method" pseudo-header field',
                [*GET, (b":method", b"GET")],
            ),
            (
                "8.1.2.3",
                'with duplicated ":scheme" pseudo-header field',
                [*GET, (b":scheme", b"https")],
            ),
            ("8.1.2.3", 'with duplicated ":path" pseudo-header field', [*GET, (b":path", b"/")]),
        ]
    ],
    case(
        "http2/8.1.2.1",
        "Sends a HEADERS frame that contains a pseudo-header field as trailers",
        headers(1, POST, OPEN),
        headers(1, [(b":method", b"200")]),
        expected=MALFORMED,
    ),
    case(
        "http2/8.1.2.6",
        'Sends a HEADERS frame with the "content-length" header field which does not equal the DATA'
        " frame payload length",
        headers(1, [*POST, (b"content-length", b"1")], OPEN),
        data(1, b"test", END_STREAM),
        expected=MALFORMED,
    ),
    case(
        "http2/8.1.2.6",
        'Sends a HEADERS frame with the "content-length" header field which does not equal the sum'
        " of the multiple DATA frames payload length",
        headers(1, [*POST, (b"content-length", b"1")], OPEN),
        data(1, b"test"),
        data(1, b"test", END_STREAM),
        expected=MALFORMED,
    ),
    case(
        "http2/8.2",
        "Sends a PUSH_PROMISE frame",
        raw(5, END_HEADERS, 1, b"\x00\x00\x00\x02" + block(GET)),
        expected=PROTOCOL,
    ),
]
