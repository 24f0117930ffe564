"""The strict check of lines and sections: what is let through, what is refused, at what price."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest, BadResponse
from proxy.http.grammar import (
    RequestLine,
    StatusLine,
    field_section_fault,
    parse_request_line,
    parse_status_line,
)
from proxy.limits import Limits

LIMITS = Limits()
TOKEN_CHARS = b"!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", 11)),
        (b"GET / HTTP/1.0", (b"GET", b"/", 10)),
        (b"get /a?b=c HTTP/1.1", (b"get", b"/a?b=c", 11)),
        (b"OPTIONS * HTTP/1.1", (b"OPTIONS", b"*", 11)),
        (b"!#$%&'*+-.^_`|~09Az / HTTP/1.1", (b"!#$%&'*+-.^_`|~09Az", b"/", 11)),
        (b"M" * 32 + b" / HTTP/1.1", (b"M" * 32, b"/", 11)),
        (b"GET http://a/b HTTP/1.1", (b"GET", b"http://a/b", 11)),
        (b'GET /"<>[]^`{|}~!$&()*+,;=:@% HTTP/1.1', (b"GET", b'/"<>[]^`{|}~!$&()*+,;=:@%', 11)),
    ],
)
def test_request_lines(line: bytes, parts: tuple[bytes, bytes, int]) -> None:
    assert parse_request_line(line) == RequestLine(*parts)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"", 400),
        (b"GET", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET /\tHTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.1\r", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/11", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"M" * 33 + b" / HTTP/1.1", 400),
        (b"GET /#a HTTP/1.1", 400),
        (b"GET /\\ HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\x80 HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /%00 HTTP/1.1", 400),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
    ],
)
def test_bad_request_lines(line: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request_line(line)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"HTTP/1.1 200 OK", (200, b"OK", 11)),
        (b"HTTP/1.0 404 Not Found", (404, b"Not Found", 10)),
        (b"HTTP/1.1 200", (200, b"", 11)),
        (b"HTTP/1.1 200 ", (200, b"", 11)),
        (b"HTTP/1.1 599 \xe4\t!", (599, b"\xe4\t!", 11)),
        (b"HTTP/1.1 100 Continue", (100, b"Continue", 11)),
    ],
)
def test_status_lines(line: bytes, parts: tuple[int, bytes, int]) -> None:
    assert parse_status_line(line) == StatusLine(*parts)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 Low",
        b"HTTP/1.1 600 High",
        b"HTTP/1.1 999 High",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK",
    ],
)
def test_bad_status_lines(line: bytes) -> None:
    with pytest.raises(BadResponse):
        parse_status_line(line)


@pytest.mark.parametrize(
    "section",
    [
        b"\r\n",
        b"A: b\r\n\r\n",
        b"A:b\r\nA:\r\n\r\n",
        b"A: \xff\t b \r\n\r\n",
        b"!#$%&'*+-.^_`|~09Az: x\r\n\r\n",
        b"A: ::: \r\n\r\n",
    ],
)
def test_good_sections(section: bytes) -> None:
    assert field_section_fault(section, LIMITS) is None


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (b"A : b\r\n\r\n", "a header name that is no token"),
        (b": b\r\n\r\n", "a header name that is no token"),
        (b"A\r\n\r\n", "a header line without a colon"),
        (b"A: b\r\n c\r\n\r\n", "a folded header line"),
        (b"A: b\r\n\tc\r\n\r\n", "a folded header line"),
        (b" A: b\r\n\r\n", "a folded header line"),
        (b"A: b\nB: c\r\n\r\n", "a bare CR, LF or NUL in a header line"),
        (b"A: b\rB: c\r\n\r\n", "a bare CR, LF or NUL in a header line"),
        (b"A: b\x00\r\n\r\n", "a bare CR, LF or NUL in a header line"),
        (b"A: b\x0bc\r\n\r\n", "a control character in a header value"),
        (b"A: b\x7fc\r\n\r\n", "a control character in a header value"),
        (b"A\xff: b\r\n\r\n", "a header name that is no token"),
        (b"A B: b\r\n\r\n", "a header name that is no token"),
    ],
)
def test_bad_sections(section: bytes, kind: str) -> None:
    assert field_section_fault(section, LIMITS) == (400, kind)


@pytest.mark.parametrize("section", [b"", b"A: b\r\n", b"A: b\r\n\r\nB", b"\r\n\r\n"])
def test_a_section_is_lines_and_one_empty_line(section: bytes) -> None:
    fault = field_section_fault(section, LIMITS)
    assert fault is not None
    assert fault[0] == 400


def test_the_number_of_fields_is_bounded() -> None:
    limits = Limits(header_count=3)
    assert field_section_fault(b"A: b\r\n" * 3 + b"\r\n", limits) is None
    fault = field_section_fault(b"A: b\r\n" * 4 + b"\r\n", limits)
    assert fault == (431, "more than 3 header fields")


def test_the_length_of_a_line_is_bounded() -> None:
    limits = Limits(header_line_bytes=20)
    line = b"A: " + b"x" * 17 + b"\r\n"
    assert field_section_fault(line * 3 + b"\r\n", limits) is None
    fault = field_section_fault(b"B: c\r\nA: " + b"x" * 18 + b"\r\n\r\n", limits)
    assert fault == (431, "a header line of 21 bytes; at most 20")


def test_a_fault_never_echoes_what_was_sent() -> None:
    for section in (b"evil\r\n\r\n", b"evil name: x\r\n\r\n", b"x: evil\x00\r\n\r\n"):
        fault = field_section_fault(section, LIMITS)
        assert fault is not None
        assert "evil" not in fault[1]


_PLAIN_SECTION = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*\r\n")
_PIECES = [b"A", b":", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"A: b\r\n", b"\xff", b"("]


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map(b"".join))
def test_the_possessive_expression_means_what_the_plain_one_does(section: bytes) -> None:
    """Possessive repeats only save time (and some Pythons got them wrong: gh-106052)."""
    refused = field_section_fault(section, LIMITS) is not None
    assert refused is (_PLAIN_SECTION.fullmatch(section) is None)


@given(st.binary(max_size=60))
def test_any_bytes_are_judged_without_another_exception(data: bytes) -> None:
    for parse in (parse_request_line, parse_status_line):
        with suppress(BadRequest, BadResponse):
            parse(data)
    field_section_fault(data, LIMITS)


@given(
    st.text("".join(map(chr, TOKEN_CHARS)), min_size=1, max_size=32),
    st.text([chr(c) for c in range(0x21, 0x7F) if chr(c) not in "#\\%"], min_size=1, max_size=50),
)
def test_every_token_and_visible_target_passes(method: str, target: str) -> None:
    line = f"{method} {target} HTTP/1.1".encode()
    assert parse_request_line(line) == (method.encode(), target.encode(), 11)


@pytest.mark.parametrize(
    "hostile",
    [
        b"A" * 2_000_000,
        b"A:" * 1_000_000,
        b"A: b\r\n" * 300_000 + b"\x00",
        b"A: " + b" " * 2_000_000 + b"\x00\r\n\r\n",
        b"A" * 2_000_000 + b" \r\n\r\n",
        b"\t" * 2_000_000,
        b"HTTP/1.1 200 " + b" \t" * 1_000_000 + b"\x00",
        b"GET /" + b"%" * 2_000_000 + b" HTTP/1.1 ",
        b"G" * 2_000_000 + b" / HTTP/1.1",
    ],
)
def test_matching_takes_linear_time(hostile: bytes) -> None:
    """2 MB pass in milliseconds; anything quadratic would run into the test's time limit."""
    for parse in (parse_request_line, parse_status_line):
        with pytest.raises((BadRequest, BadResponse)):
            parse(hostile)
    assert field_section_fault(hostile, LIMITS) is not None
