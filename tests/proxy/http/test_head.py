"""What heads mean, what is refused with which status, and that the memory changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest, BadResponse
from proxy.http.engine import EngineName, make_engine
from proxy.http.head import CHUNKED, HeadReader, RequestFields, RequestHead, parse_host
from proxy.http.memory import ENTRIES, GENERATION_BYTES, KEY_BYTES, Memory
from proxy.limits import Limits
from tests.slots import attributes

LIMITS = Limits()


def reader(engine: EngineName = "httptools", limits: Limits = LIMITS) -> HeadReader:
    return HeadReader(make_engine(engine, limits.header_bytes), limits)


READERS = {name: reader(name) for name in ("h11", "httptools")}


@pytest.fixture(params=READERS)
def heads(request: pytest.FixtureRequest) -> HeadReader:
    return READERS[request.param]


def block(*lines: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"h") -> bytes:
    first = (line,) if host is None else (line, b"Host: " + host)
    return b"\r\n".join((*first, *lines, b"", b""))


def answer(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((line, *lines, b"", b""))


# -- requests ----------------------------------------------------------------------------------


def test_a_request_head(heads: HeadReader) -> None:
    head = heads.request(
        block(
            b"Content-Length: 5",
            b"X-A:\tb ",
            b"Accept: application/json",
            line=b"PUT /a?b HTTP/1.1",
            host=b"Example.COM.:8443",
        )
    )
    fields = head.fields
    assert (head.method, head.target, head.version) == (b"PUT", b"/a?b", 11)
    assert (fields.host, fields.host_name) == (b"Example.COM.:8443", "example.com")
    assert fields.length == 5
    assert fields.get(b"x-a") == b"b"
    assert fields.get(b"x-b") is None
    assert fields.wants_json
    assert not fields.close
    assert repr(head) == "<RequestHead b'PUT' b'/a?b' HTTP/1.1>"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Host: h",), 400),
        ((b"Content-Length: 5", b"Content-Length: 5"), 400),
        ((b"Content-Length: 5, 5",), 400),
        ((b"Content-Length: +5",), 400),
        ((b"Content-Length: 1234567890123456789",), 400),
        ((b"Content-Length:",), 400),
        ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
        ((b"Transfer-Encoding: gzip, chunked",), 400),
        ((b"Transfer-Encoding: identity",), 400),
        ((b"Transfer-Encoding:",), 400),
        ((b"Expect: 200-ok",), 417),
        ((b"Expect:",), 417),
        ((b"X_Forwarded_For: a",), 400),
        ((b"X.Real.IP: a",), 400),
        ((b"X_Forwarded_Ssl: on",), 400),
        ((b"x-forwarded_anything: on",), 400),
        ((b"Content_Length: 5",), 400),
        ((b"A : b",), 400),
        ((b"A: b",) * 100, 431),
        ((b"A: " + b"b" * 9000,), 431),
    ],
)
def test_fields_that_are_refused(heads: HeadReader, lines: tuple[bytes, ...], status: int) -> None:
    for _ in range(2):  # a refusal is not remembered as anything else
        with pytest.raises(BadRequest) as caught:
            heads.request(block(*lines))
        assert caught.value.status == status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.2", 505),
        (b"GET /\\ HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"CONNECT h:443 HTTP/1.1", 405),
        (b"GET a HTTP/1.1", 400),
        (b"GET ftp://h/ HTTP/1.1", 400),
        (b"GET http://other/ HTTP/1.1", 400),
        (b"GET http://h@h/ HTTP/1.1", 400),
        (b"GET http:///a HTTP/1.1", 400),
    ],
)
def test_lines_that_are_refused(heads: HeadReader, line: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        heads.request(block(line=line))
    assert caught.value.status == status


def test_a_host_is_required(heads: HeadReader) -> None:
    for version in (b"1.0", b"1.1"):
        with pytest.raises(BadRequest):
            heads.request(block(line=b"GET / HTTP/" + version, host=None))


def test_chunked_does_not_exist_in_http_1_0(heads: HeadReader) -> None:
    lines = (b"Transfer-Encoding: chunked",)
    assert heads.request(block(*lines, line=b"POST / HTTP/1.1")).fields.length == CHUNKED
    with pytest.raises(BadRequest):
        heads.request(block(*lines, line=b"POST / HTTP/1.0"))


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"/a", b"/a"),
        (b"http://h/a?b", b"/a?b"),
        (b"HTTPS://H", b"/"),
        (b"http://h?a", b"/?a"),
        (b"//x", b"//x"),
    ],
)
def test_targets_become_origin_form(heads: HeadReader, target: bytes, origin: bytes) -> None:
    assert heads.request(block(line=b"GET " + target + b" HTTP/1.1")).target == origin


def test_asterisk_form(heads: HeadReader) -> None:
    assert heads.request(block(line=b"OPTIONS * HTTP/1.1")).target == b"*"
    # RFC 9112 §3.2.4: what the last proxy makes of a target without a path.
    line = b"OPTIONS http://h%b HTTP/1.1"
    assert heads.request(block(line=line % b"")).target == b"*"
    assert heads.request(block(line=line % b"/")).target == b"/"
    assert heads.request(block(line=line % b"?a")).target == b"/?a"


@pytest.mark.parametrize(
    ("value", "close", "keep_alive", "nominated"),
    [
        (b"close", True, False, {b"close"}),
        (b"Keep-Alive", False, True, {b"keep-alive"}),
        (b" , x ,CLOSE,", True, False, {b"x", b"close"}),
        (b"", False, False, set()),
    ],
)
def test_connection_options(
    heads: HeadReader, value: bytes, close: bool, keep_alive: bool, nominated: set[bytes]
) -> None:
    fields = heads.request(block(b"Connection: " + value)).fields
    assert (fields.close, fields.keep_alive) == (close, keep_alive)
    assert set(fields.nominated) == nominated


def test_connection_options_of_several_lines_are_one_list(heads: HeadReader) -> None:
    fields = heads.request(block(b"Connection: a", b"connection: close")).fields
    assert fields.close
    assert fields.nominated == {b"a", b"close"}


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ((b"Connection: Upgrade", b"Upgrade: WebSocket"), True),
        ((b"Connection: keep-alive, upgrade", b"Upgrade: websocket"), True),
        ((b"Upgrade: websocket",), False),
        ((b"Connection: upgrade", b"Upgrade: h2c"), False),
        ((b"Connection: upgrade", b"Upgrade: websocket, h2c"), False),
        ((b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c"), False),
        ((b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: websocket"), False),
        ((b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1"), False),
    ],
)
def test_asking_for_websocket(heads: HeadReader, lines: tuple[bytes, ...], asked: bool) -> None:
    assert heads.request(block(*lines)).fields.websocket is asked


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        (b"application/json", True),
        (b"application/problem+json, text/html", True),
        (b"text/html,application/json", False),
        (b"*/*", False),
        (b"", False),
    ],
)
def test_who_wants_json(heads: HeadReader, accept: bytes, json: bool) -> None:
    assert heads.request(block(b"Accept: " + accept)).fields.wants_json is json


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"a", "a"),
        (b"A.B.", "a.b"),
        (b"a:0", "a"),
        (b"a:", "a"),
        (b"a:65535", "a"),
        (b"127.0.0.1:80", "127.0.0.1"),
        (b"[::1]:443", "::1"),
        (b"[2001:DB8::1]", "2001:db8::1"),
        (b"a_b-c.d", "a_b-c.d"),
    ],
)
def test_hosts(host: bytes, name: str) -> None:
    assert parse_host(host) == name


@pytest.mark.parametrize(
    "host",
    [b"", b".", b":1", b"a:65536", b"a:1a", b"a b", b"a,b", b"u@a", b"a/b", b"[::1", b"::1", b"[]"],
)
def test_bad_hosts(host: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_host(host)


@given(st.binary(max_size=30))
def test_any_host_is_judged(host: bytes) -> None:
    try:
        name = parse_host(host)
    except BadRequest:
        return
    assert name == name.lower()
    assert name.isascii()
    assert not set(name) & set(" ,/\\@?#%\r\n\0")


# -- responses ---------------------------------------------------------------------------------


def test_a_response_head(heads: HeadReader) -> None:
    head = heads.response(answer(b"Content-Length: 5", b"Connection: close, X-A", b"X-A: b"))
    assert (head.status, head.reason, head.version) == (200, b"OK", 11)
    assert head.fields.length == 5
    assert head.fields.close
    assert head.fields.nominated == {b"close", b"x-a"}
    assert repr(head) == "<ResponseHead 200>"
    assert heads.response(answer()).fields.length is None
    assert heads.response(answer(b"Transfer-Encoding: Chunked")).fields.length == CHUNKED
    assert heads.response(answer(b"Upgrade: WebSocket")).fields.upgrade == b"websocket"


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"Content-Length: 5", b"Content-Length: 5"),
        answer(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        answer(b"Transfer-Encoding: gzip"),
        answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        answer(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"),
        answer(b"A: b\x00"),
        answer(b"A: b", line=b"HTTP/1.1 600 High"),
        answer(*(b"A: b",) * 101),
    ],
)
def test_responses_that_are_refused(heads: HeadReader, raw: bytes) -> None:
    for _ in range(2):
        with pytest.raises(BadResponse):
            heads.response(raw)


# -- memory ------------------------------------------------------------------------------------


def meaning(head: RequestHead) -> tuple[object, ...]:
    return head.method, head.target, head.version, attributes(head.fields)


@given(
    st.sampled_from([b"GET", b"HEAD", b"OPTIONS"]),
    st.sampled_from([b"/", b"/a", b"http://h/x", b"http://g/", b"*"]),
    st.sampled_from([b"1.0", b"1.1"]),
    st.lists(
        st.sampled_from(
            [b"A: b", b"Connection: close", b"Transfer-Encoding: chunked", b"Content-Length: 1"]
        ),
        max_size=3,
    ),
)
def test_a_hit_equals_a_miss(
    method: bytes, target: bytes, version: bytes, lines: list[bytes]
) -> None:
    raw = block(*lines, line=method + b" " + target + b" HTTP/" + version)
    used, fresh = READERS["httptools"], reader()
    for _ in range(2):
        results = []
        for heads in (used, fresh):
            try:
                results.append(meaning(heads.request(raw)))
            except BadRequest as error:
                results.append((error.status,))
        assert results[0] == results[1]
        recalled = used.recall(raw)
        assert (recalled is None) is (len(results[0]) == 1)


def test_what_was_seen_is_recalled_whole() -> None:
    heads = reader()
    assert heads.recall(block()) is None
    head = heads.request(block())
    assert heads.recall(block()) is head
    assert heads.request(block()) is head
    other = heads.request(block(line=b"GET /other HTTP/1.1"))
    assert other.fields is head.fields, "the same section under another target"


def test_memory_keeps_what_is_used_and_forgets_the_rest() -> None:
    memory: Memory[RequestFields] = Memory()
    used = RequestFields([])
    memory.put(b"used", used)
    for number in range(10 * ENTRIES):
        memory.put(b"%d" % number, RequestFields([]))
        assert memory.get(b"used") is used
        assert len(memory) <= 2 * ENTRIES
    assert memory.get(b"0") is None


def test_memory_is_bounded_in_bytes() -> None:
    memory: Memory[RequestFields] = Memory()
    size = KEY_BYTES
    for number in range(1000):
        memory.put(b"%04d" % number + b"x" * (size - 4), RequestFields([]))
        assert len(memory) * size <= 2 * GENERATION_BYTES
    memory.put(b"x" * (size + 1), RequestFields([]))
    assert memory.get(b"x" * (size + 1)) is None
