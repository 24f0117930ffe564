"""What fields mean together; above all, what would be two requests in HTTP/1.1 is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.http.h2.faults import ErrorCode, StreamFault
from proxy.http.h2.header_blocks import Block, BlockDecoder, Field, is_sound
from proxy.http.h2.priority import Priority
from proxy.http.h2.request_fields import (
    COOKIE_CRUMBS,
    DecodedRequest,
    read_request,
    read_response,
    read_trailers,
)
from proxy.limits import Limits
from tests.proxy.http.h2.conversation import GET
from tests.proxy.http.h2.conversation import block as encode

LIMITS = Limits()


def block_of(fields: list[Field]) -> Block:
    size = sum(32 + len(name) + len(value) for name, value in fields)
    return Block(tuple(fields), size, sound=all(map(is_sound, fields)))


def request(fields: list[Field], *, extended: bool = True) -> DecodedRequest:
    return read_request(block_of(fields), LIMITS, extended_connect=extended)


def replaced(name: bytes, value: bytes | None) -> list[Field]:
    """GET with one pseudo-header field replaced or left out."""
    fields = [(old, value if old == name else kept) for old, kept in GET]
    return [(old, kept) for old, kept in fields if kept is not None]


# -- what is accepted ---------------------------------------------------------------------------


def test_a_plain_request() -> None:
    got = request([*GET, (b"accept", b"*/*"), (b"content-length", b"12")])
    assert (got.method, got.scheme, got.authority, got.path) == (
        b"GET",
        b"https",
        b"example.com",
        b"/",
    )
    assert got.fields == ((b"accept", b"*/*"), (b"content-length", b"12"))
    assert got.content_length == 12
    assert got.protocol is None
    assert got.priority is None
    assert repr(got) == "<DecodedRequest b'GET' b'example.com' b'/'>"


def test_cookie_crumbs_are_joined_where_the_first_one_stood() -> None:
    got = request([*GET, (b"a", b"1"), (b"cookie", b"x=1"), (b"b", b"2"), (b"cookie", b"y=2; z=3")])
    assert got.fields == ((b"a", b"1"), (b"cookie", b"x=1; y=2; z=3"), (b"b", b"2"))


def test_empty_crumbs_leave_no_blank() -> None:
    got = request([*GET, (b"cookie", b""), (b"cookie", b"x=1"), (b"cookie", b"")])
    assert got.fields == ((b"cookie", b"x=1"),)
    assert request([*GET, (b"cookie", b""), (b"cookie", b"")]).fields == ((b"cookie", b""),)


def test_host_stands_in_for_authority_and_is_not_a_field() -> None:
    got = request([*replaced(b":authority", None), (b"host", b"Example.com:8443"), (b"x", b"1")])
    assert got.authority == b"Example.com:8443"
    assert got.fields == ((b"x", b"1"),)


def test_host_may_repeat_the_authority_in_another_case() -> None:
    assert request([*GET, (b"host", b"EXAMPLE.com")]).authority == b"example.com"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (b"/", b"GET"),
        (b"/a%20b?q=1&r={x}|y", b"GET"),
        (b"//double", b"GET"),
        (b"*", b"OPTIONS"),
        (b"/!$&'()*+,;=:@%7E", b"PROPFIND"),
    ],
)
def test_paths(path: bytes, method: bytes) -> None:
    fields = [(b":method", method), *replaced(b":path", path)[1:]]
    assert request(fields).path == path


def test_connect() -> None:
    got = request([(b":method", b"CONNECT"), (b":authority", b"example.com:443")])
    assert (got.method, got.scheme, got.path) == (b"CONNECT", b"", b"")


def test_extended_connect() -> None:
    got = request([*replaced(b":method", b"CONNECT"), (b":protocol", b"websocket")])
    assert got.protocol == b"websocket"
    assert got.path == b"/"


def test_priority_is_read_and_kept_as_a_field() -> None:
    got = request([*GET, (b"priority", b"u=1, i")])
    assert got.priority == Priority(1, incremental=True)
    assert got.fields == ((b"priority", b"u=1, i"),)


def test_te_trailers_is_kept() -> None:
    assert request([*GET, (b"te", b"Trailers")]).fields == ((b"te", b"Trailers"),)


# -- what is malformed --------------------------------------------------------------------------

SMUGGLING: list[tuple[str, list[Field]]] = [
    ("CRLF in a value", [*GET, (b"x", b"1\r\nHost: evil")]),
    ("CRLF and a second request in a value", [*GET, (b"x", b"1\r\n\r\nGET /evil HTTP/1.1\r\n")]),
    ("bare LF in a value", [*GET, (b"x", b"1\nx: 2")]),
    ("bare CR in a value", [*GET, (b"x", b"1\rx: 2")]),
    ("NUL in a value", [*GET, (b"x", b"1\x002")]),
    ("DEL in a value", [*GET, (b"x", b"1\x7f2")]),
    ("a blank in front of a value", [*GET, (b"x", b" 1")]),
    ("a tab behind a value", [*GET, (b"x", b"1\t")]),
    ("a value of one blank", [*GET, (b"x", b" ")]),
    ("CRLF in a name", [*GET, (b"x\r\nhost", b"evil")]),
    ("a colon in a name", [*GET, (b"transfer-encoding: chunked\r\nx", b"1")]),
    ("a colon behind a name", [*GET, (b"x:", b"1")]),
    ("a blank behind a name", [*GET, (b"transfer-encoding ", b"chunked")]),
    ("a blank in front of a name", [*GET, (b" transfer-encoding", b"chunked")]),
    ("a tab in a name", [*GET, (b"transfer-encoding\t", b"chunked")]),
    ("NUL in a name", [*GET, (b"x\0", b"1")]),
    ("an upper-case name", [*GET, (b"Transfer-Encoding", b"chunked")]),
    ("one upper-case letter", [*GET, (b"transfer-encodinG", b"chunked")]),
    ("obs-text in a name", [*GET, (b"x\xff", b"1")]),
    ("an empty name", [*GET, (b"", b"1")]),
    ("a name of one colon", [*GET, (b":", b"1")]),
    ("transfer-encoding", [*GET, (b"transfer-encoding", b"chunked")]),
    (
        "transfer-encoding with another case in the value",
        [*GET, (b"transfer-encoding", b"Chunked")],
    ),
    ("transfer-encoding: identity", [*GET, (b"transfer-encoding", b"identity")]),
    ("connection", [*GET, (b"connection", b"close")]),
    ("connection nominating a header", [*GET, (b"connection", b"x-forwarded-for")]),
    ("keep-alive", [*GET, (b"keep-alive", b"timeout=5")]),
    ("proxy-connection", [*GET, (b"proxy-connection", b"keep-alive")]),
    ("upgrade", [*GET, (b"upgrade", b"websocket")]),
    ("upgrade to h2c", [*GET, (b"upgrade", b"h2c")]),
    ("http2-settings", [*GET, (b"http2-settings", b"AAMAAABkAARAAAAAAAIAAAAA")]),
    ("te other than trailers", [*GET, (b"te", b"chunked")]),
    ("te with trailers and more", [*GET, (b"te", b"trailers, chunked")]),
    ("two content-lengths", [*GET, (b"content-length", b"1"), (b"content-length", b"2")]),
    ("two equal content-lengths", [*GET, (b"content-length", b"1"), (b"content-length", b"1")]),
    ("a content-length list", [*GET, (b"content-length", b"1, 1")]),
    ("a signed content-length", [*GET, (b"content-length", b"+1")]),
    ("a negative content-length", [*GET, (b"content-length", b"-1")]),
    ("a hexadecimal content-length", [*GET, (b"content-length", b"0x1")]),
    ("a content-length with an underscore", [*GET, (b"content-length", b"1_0")]),
    ("an empty content-length", [*GET, (b"content-length", b"")]),
    ("a content-length beyond 18 digits", [*GET, (b"content-length", b"1" * 19)]),
    (
        "a content-length in other digits",
        [*GET, (b"content-length", "\N{ARABIC-INDIC DIGIT ONE}".encode())],
    ),
    ("two hosts", [*GET, (b"host", b"example.com"), (b"host", b"example.com")]),
    ("host and authority differ", [*GET, (b"host", b"evil.example")]),
    ("host and authority differ by port", [*GET, (b"host", b"example.com:443")]),
    ("no authority and no host", replaced(b":authority", None)),
    ("an empty authority", replaced(b":authority", b"")),
    ("an empty host", [*replaced(b":authority", None), (b"host", b"")]),
    ("userinfo in the authority", replaced(b":authority", b"user@example.com")),
    ("CRLF in the authority", replaced(b":authority", b"example.com\r\nx: 1")),
    ("a blank in the authority", replaced(b":authority", b"example.com x")),
    ("a slash in the authority", replaced(b":authority", b"example.com/path")),
    ("a path in host", [*replaced(b":authority", None), (b"host", b"a/b")]),
    ("a backslash in the authority", replaced(b":authority", b"example.com\\x")),
    ("a query in the authority", replaced(b":authority", b"example.com?x")),
    ("a fragment in the authority", replaced(b":authority", b"example.com#x")),
    ("a blank in the path", replaced(b":path", b"/ HTTP/1.1")),
    ("a request line in the path", replaced(b":path", b"/ HTTP/1.1\r\nHost: evil\r\n\r\n")),
    ("CRLF in the path", replaced(b":path", b"/\r\nx: 1")),
    ("NUL in the path", replaced(b":path", b"/\0")),
    ("an encoded NUL in the path", replaced(b":path", b"/a?b=%00")),
    ("a tab in the path", replaced(b":path", b"/\tx")),
    ("a fragment in the path", replaced(b":path", b"/#x")),
    ("a backslash in the path", replaced(b":path", b"/\\x")),
    ("obs-text in the path", replaced(b":path", b"/\xc3\xa9")),
    ("a path without a slash", replaced(b":path", b"x")),
    ("an absolute path", replaced(b":path", b"http://evil/")),
    ("an asterisk for GET", replaced(b":path", b"*")),
    ("an empty path", replaced(b":path", b"")),
    ("no path", replaced(b":path", None)),
    ("a blank in the method", replaced(b":method", b"GET /evil HTTP/1.1\r\nx:")),
    ("CRLF in the method", replaced(b":method", b"GET\r\n")),
    ("an empty method", replaced(b":method", b"")),
    ("a very long method", replaced(b":method", b"M" * 33)),
    ("no method", replaced(b":method", None)),
    ("no scheme", replaced(b":scheme", None)),
    ("another scheme", replaced(b":scheme", b"ftp")),
    ("a URL as scheme", replaced(b":scheme", b"https://evil/?")),
    ("an upper-case scheme", replaced(b":scheme", b"HTTPS")),
    ("a repeated :method", [*GET, (b":method", b"GET")]),
    ("a repeated :path", [*GET, (b":path", b"/")]),
    ("a repeated :authority", [*GET, (b":authority", b"example.com")]),
    ("an unknown pseudo-header field", [*GET, (b":evil", b"1")]),
    ("the response's pseudo-header field", [*GET, (b":status", b"200")]),
    ("a pseudo-header field after a regular one", [*GET[:3], (b"x", b"1"), GET[3]]),
    ("a pseudo-header field after a cookie", [*GET[:3], (b"cookie", b"x=1"), GET[3]]),
    ("a pseudo-header field after host", [*GET[:3], (b"host", b"example.com"), GET[3]]),
    ("CONNECT with a scheme", [(b":method", b"CONNECT"), (b":authority", b"a:1"), GET[1]]),
    ("CONNECT with a path", [(b":method", b"CONNECT"), (b":authority", b"a:1"), GET[3]]),
    ("CONNECT without an authority", [(b":method", b"CONNECT")]),
    (
        "CONNECT with a content-length",
        [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b"content-length", b"0")],
    ),
    (":protocol without CONNECT", [*GET, (b":protocol", b"websocket")]),
    (
        "a :protocol that is no token",
        [*replaced(b":method", b"CONNECT"), (b":protocol", b"web socket\r\n")],
    ),
    ("CR in a cookie", [*GET, (b"cookie", b"a=1\r\n")]),
]


@pytest.mark.parametrize(
    "fields", [fields for _, fields in SMUGGLING], ids=[n for n, _ in SMUGGLING]
)
@pytest.mark.parametrize("sound_is_known", [True, False])
def test_malformed_requests(fields: list[Field], sound_is_known: bool) -> None:
    block = block_of(fields)
    if not sound_is_known:
        block = Block(block.fields, block.size, sound=False)
    with pytest.raises(StreamFault) as caught:
        read_request(block, LIMITS, extended_connect=True)
    assert caught.value.code == ErrorCode.PROTOCOL_ERROR


def test_extended_connect_only_when_it_was_offered() -> None:
    with pytest.raises(StreamFault):
        request([*replaced(b":method", b"CONNECT"), (b":protocol", b"websocket")], extended=False)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"x", b"cookie", b"host", b":path"])),
            st.binary(max_size=8),
        ),
        max_size=5,
    )
)
def test_whatever_passes_is_one_request_in_http_1(extra: list[Field]) -> None:
    """No control octet, blank or colon that could end a line, a name or a target gets through."""
    decoded = BlockDecoder(LIMITS.header_bytes).decode(encode([*GET, *extra]))
    try:
        got = read_request(decoded, LIMITS, extended_connect=True)
    except StreamFault:
        return
    for part in (got.method, got.authority, got.path):
        assert part
        assert all(0x21 <= octet <= 0x7E for octet in part)
    for name, value in got.fields:
        assert name
        assert not set(name) & set(b" :\t\r\n\0")
        assert name == name.lower()
        assert not set(value) & set(b"\r\n\0")
        assert value == value.strip()


# -- what asks too much -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([*GET, *[(b"x", b"1")] * 101], 431),
        ([*GET, (b"x", b"v" * 8192)], 431),
        ([*GET, *[(b"cookie", b"")] * (COOKIE_CRUMBS + 1)], 431),
        ([*GET, *[(b"cookie", b"v" * 100)] * 90], 431),
        (replaced(b":path", b"/" + b"p" * 8192), 414),
    ],
)
def test_too_much_is_answered(fields: list[Field], status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        request(fields)
    assert caught.value.status == status


def test_just_enough_is_accepted() -> None:
    assert len(request([*GET, *[(b"x", b"1")] * 100]).fields) == 100
    assert request([*GET, (b"x", b"v" * 8191)]).fields[0][0] == b"x"
    assert len(request([*GET, *[(b"cookie", b"a=b")] * COOKIE_CRUMBS]).fields) == 1


# -- responses and trailers ---------------------------------------------------------------------

OK: Field = (b":status", b"200")


def test_a_response() -> None:
    got = read_response(block_of([OK, (b"content-length", b"3"), (b"x", b"1")]), LIMITS)
    assert got.status == 200
    assert got.content_length == 3
    assert got.fields == ((b"content-length", b"3"), (b"x", b"1"))
    assert repr(got) == "<DecodedResponse 200>"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"x", b"1")],
        [(b":status", b"101")],
        [(b":status", b"20")],
        [(b":status", b"2000")],
        [(b":status", b"abc")],
        [(b":status", b"099")],
        [OK, OK],
        [(b"x", b"1"), OK],
        [OK, (b":path", b"/")],
        [OK, (b"connection", b"close")],
        [OK, (b"transfer-encoding", b"chunked")],
        [OK, (b"x", b"1\r\nset-cookie: evil")],
        [OK, (b"X", b"1")],
        [OK, (b"content-length", b"1"), (b"content-length", b"1")],
        [OK, (b"content-length", b"-1")],
        [OK, *[(b"x", b"1")] * 101],
    ],
)
def test_malformed_responses(fields: list[Field]) -> None:
    with pytest.raises(StreamFault) as caught:
        read_response(block_of(fields), LIMITS)
    assert caught.value.code == ErrorCode.PROTOCOL_ERROR


def test_trailers() -> None:
    fields = [(b"grpc-status", b"0"), (b"grpc-message", b"")]
    assert read_trailers(block_of(fields), LIMITS) == tuple(fields)


@pytest.mark.parametrize(
    "field",
    [
        (b":status", b"200"),
        (b"content-length", b"3"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"host", b"evil"),
        (b"te", b"trailers"),
        (b"trailer", b"x"),
        (b"x", b"1\r\n"),
        (b"x y", b"1"),
        (b"X", b"1"),
        (b"", b"1"),
    ],
)
def test_malformed_trailers(field: Field) -> None:
    with pytest.raises(StreamFault):
        read_trailers(block_of([field]), LIMITS)


def test_too_many_trailers() -> None:
    with pytest.raises(StreamFault):
        read_trailers(block_of([(b"x", b"1")] * 101), LIMITS)
