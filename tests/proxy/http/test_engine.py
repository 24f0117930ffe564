"""Both engines behind the gate: the same verdict and the same fields on every input."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import BadRequest, BadResponse
from proxy.http.engine import EngineName, make_engine
from proxy.http.engine_h11 import H11Engine
from proxy.http.engine_httptools import HttptoolsEngine
from proxy.http.grammar import field_section_fault
from proxy.http.head import HeadReader, RequestFields, ResponseFields
from proxy.limits import Limits
from tests.corpus.model import RequestCase, ResponseCase
from tests.corpus.requests import REQUESTS
from tests.corpus.responses import RESPONSES
from tests.slots import attributes

LIMITS = Limits()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("auto", HttptoolsEngine), ("httptools", HttptoolsEngine), ("h11", H11Engine)],
)
def test_engines_by_name(name: EngineName, kind: type) -> None:
    engine = make_engine(name, LIMITS.header_bytes)
    assert type(engine) is kind
    assert engine.name == ("h11" if name == "h11" else "httptools")


_NAMES = [
    *(b"Host", b"host", b"Content-Length", b"CONTENT-LENGTH", b"Transfer-Encoding", b"Connection"),
    *(b"Upgrade", b"Expect", b"Accept", b"Cookie", b"X", b"X_Y", b"Trailer", b"Proxy-Connection"),
    *(b"Keep-Alive", b"Content_Length", b"!#$%&'*+-.^_`|~", b"0"),
]
_VALUES = [
    *(b"", b" ", b"h", b"a, b", b"0", b"5", b"05", b"5, 5", b"5,6", b"+5", b"-5", b"5 5", b"0x5"),
    *(b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked", b"identity", b"xchunked"),
    *(b"close", b"keep-alive", b"upgrade", b"close, upgrade", b"websocket", b"h2c", b","),
    *(b"100-continue", b"\xff\x80", b"a\tb", b"\t", b"  x  ", b"99999999999999999999", b'"q"'),
]


def _line(name: bytes, space: bytes, value: bytes, end: bytes) -> bytes:
    return name + b":" + space + value + end + b"\r\n"


_spaces = st.sampled_from([b"", b" ", b"\t", b" \t "])
_field_values = st.one_of(
    st.sampled_from(_VALUES),
    st.lists(st.sampled_from([*range(0x20, 0x7F), 9, *range(0x80, 0x100)]), max_size=12).map(bytes),
)
sections = st.lists(
    st.builds(_line, st.sampled_from(_NAMES), _spaces, _field_values, _spaces), max_size=6
).map(lambda lines: b"".join(lines) + b"\r\n")


def _read_request(engine: EngineName, section: bytes) -> RequestFields | None:
    reader = HeadReader(make_engine(engine, LIMITS.header_bytes), LIMITS)
    try:
        return reader.request(b"POST / HTTP/1.1\r\n" + section).fields
    except BadRequest:
        return None  # of two faults the engines may name another one first


def _read_response(engine: EngineName, section: bytes) -> ResponseFields | None:
    reader = HeadReader(make_engine(engine, LIMITS.header_bytes), LIMITS)
    try:
        return reader.response(b"HTTP/1.1 200 OK\r\n" + section).fields
    except BadResponse:
        return None


def _show(fields: RequestFields | ResponseFields | None) -> object:
    if isinstance(fields, RequestFields | ResponseFields):
        return attributes(fields)
    return fields


@given(sections)
@example(b"Host: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")
@example(b"Host: h\r\nContent-Length: 5, 5\r\n\r\n")
@example(b"Host: h\r\nTransfer-Encoding: Chunked\r\n\r\n")
@example(b"Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")
@example(b"Host: h\r\nHost: h\r\n\r\n")
def test_requests_mean_the_same_to_both(section: bytes) -> None:
    assert field_section_fault(section, LIMITS) is None
    for prefix in (b"", b"Host: h\r\n"):
        results = [_show(_read_request(name, prefix + section)) for name in ("h11", "httptools")]
        assert results[0] == results[1]


@given(sections)
@example(b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n")
@example(b"Content-Length: 5, 5\r\n\r\n")
def test_responses_mean_the_same_to_both(section: bytes) -> None:
    assert field_section_fault(section, LIMITS) is None
    results = [_show(_read_response(name, section)) for name in ("h11", "httptools")]
    assert results[0] == results[1]


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_the_corpus_of_requests_means_the_same_to_both(case: RequestCase) -> None:
    _, crlf, rest = case.raw.partition(b"\r\n")
    section = rest[: rest.find(b"\r\n\r\n") + 4]
    if crlf and section.endswith(b"\r\n\r\n"):
        results = [_show(_read_request(name, section)) for name in ("h11", "httptools")]
        assert results[0] == results[1]


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case.name)
def test_the_corpus_of_responses_means_the_same_to_both(case: ResponseCase) -> None:
    _, crlf, rest = case.raw.partition(b"\r\n")
    section = rest[: rest.find(b"\r\n\r\n") + 4]
    if crlf and section.endswith(b"\r\n\r\n"):
        results = [_show(_read_response(name, section)) for name in ("h11", "httptools")]
        assert results[0] == results[1]
