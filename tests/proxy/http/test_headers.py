"""What goes on of a head: hop-by-hop out, the forwarded family replaced, framing anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.head import (
    CHUNKED,
    HTTP_1_1,
    HTTP_2,
    RequestHead,
    ResponseHead,
    interpret_request,
    interpret_response,
)
from proxy.http.headers import (
    HOP_BY_HOP,
    connection_fields,
    field_lines,
    framing_field,
    http2_request_fields,
    request_forwardable,
    request_framing,
    request_lines,
    response_fields,
    response_forwardable,
    response_has_no_body,
    response_wire,
    status_line,
)

HOST = (b"Host", b"a.test:8443")
_FORWARDED = [
    *(b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Port", b"X-Forwarded-Prefix"),
    *(b"X-Forwarded-Proto", b"X-Forwarded-Server", b"x-forwarded-ssl", b"X-FORWARDED-USER"),
    *(b"X-Real-IP", b"Forwarded"),
]


def names(lines: bytes) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in lines.split(b"\r\n") if line]


def test_a_request_goes_on_with_its_end_to_end_headers() -> None:
    fields = interpret_request([(b"X-A", b"1"), HOST, (b"x-b", b""), (b"X-A", b"2")])
    assert request_forwardable(fields) == (
        b"Host: a.test:8443\r\nX-A: 1\r\nx-b: \r\nX-A: 2\r\nX-Forwarded-Host: a.test:8443\r\n"
    )
    assert request_forwardable(fields) is request_forwardable(fields)


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP - {b"connection", b"transfer-encoding"}))
def test_hop_by_hop_headers_stop_here(name: bytes) -> None:
    lines = request_forwardable(interpret_request([HOST, (name.title(), b"LIE")]))
    assert b"LIE" not in lines
    lines = response_forwardable(interpret_response([(name.title(), b"LIE")]))
    assert lines == b""


@pytest.mark.parametrize("name", _FORWARDED)
def test_the_forwarded_family_is_never_the_clients(name: bytes) -> None:
    lines = request_forwardable(interpret_request([HOST, (name, b"LIE")]))
    assert b"LIE" not in lines
    assert names(lines) == [b"host", b"x-forwarded-host"]


@pytest.mark.parametrize("name", [*_FORWARDED, b"Host", b"Content-Length", b"Expect"])
def test_what_we_say_cannot_be_nominated_away(name: bytes) -> None:
    fields = interpret_request([HOST, (b"Connection", b"close, " + name), (b"X", b"y")])
    ours = connection_fields(client="::1", scheme="https", port=1)
    head = request_forwardable(fields) + field_lines(ours)
    assert names(head) == [
        *(b"host", b"x", b"x-forwarded-host"),
        *(b"x-forwarded-for", b"x-real-ip", b"x-forwarded-proto", b"x-forwarded-port"),
    ]


def test_what_connection_nominates_stops_here() -> None:
    raw = [HOST, (b"Connection", b"X-A, x-b"), (b"x-a", b"1"), (b"X-B", b"2"), (b"X-C", b"3")]
    assert names(request_forwardable(interpret_request(raw))) == [
        *(b"host", b"x-c", b"x-forwarded-host"),
    ]
    response = interpret_response(raw[1:])
    assert response_forwardable(response) == b"X-C: 3\r\n"
    assert response_fields(response) == [(b"x-c", b"3")]


def test_headers_may_be_dropped_by_rule() -> None:
    fields = interpret_request([HOST, (b"X-A", b"1"), (b"X-B", b"2")])
    assert b"X-A" not in request_lines(fields, frozenset({b"x-a"}))
    assert b"X-A" in request_forwardable(fields)


_values = st.sampled_from([b"1", b"a, b", b"\xff", b"close"])
_raw = st.lists(
    st.tuples(
        st.sampled_from([*_FORWARDED, b"X-A", b"Cookie", b"Via", b"TE", b"Keep-Alive", b"Upgrade"]),
        _values,
    ),
    max_size=8,
)


@given(_raw, st.lists(st.sampled_from([b"X-A", b"cookie", b"X-Real-IP", b"close"]), max_size=3))
def test_whatever_the_client_sends_our_headers_stand_once(
    raw: list[tuple[bytes, bytes]], nominated: list[bytes]
) -> None:
    fields = interpret_request([HOST, *raw, (b"Connection", b",".join(nominated))])
    sent = names(
        request_forwardable(fields)
        + field_lines(connection_fields(client="1.2.3.4", scheme="https", port=443))
        + request_framing(b"POST", 5)
    )
    for name in (b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"content-length"):
        assert sent.count(name) == 1
    assert b"forwarded" not in sent
    assert not set(sent) & HOP_BY_HOP
    kept = [name.lower() for name, _ in raw if name in (b"X-A", b"Cookie")]
    assert [name for name in sent if name in (b"x-a", b"cookie")] == [
        name for name in kept if name not in {option.lower() for option in nominated}
    ]


def test_what_a_connection_adds() -> None:
    assert field_lines(connection_fields(client="1.2.3.4", scheme="https", port=443)) == (
        b"X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"
    )


def test_an_http_2_backend_gets_the_same_headers_with_a_length_and_te_of_http_2_clients() -> None:
    raw = [HOST, (b"te", b"trailers"), (b"Content-Length", b"5"), (b"x-a", b"1"), (b"X-B", b"2")]
    fields = interpret_request([*raw, (b"X-Forwarded-For", b"LIE")])
    head = RequestHead(b"POST", b"/", HTTP_2, fields)
    kept = [(b"x-a", b"1"), (b"X-Forwarded-Host", HOST[1])]
    assert http2_request_fields(head, frozenset({b"x-b"}), [(b"X-C", b"3")]) == [
        *(*kept, (b"Via", b"2 vestibule"), (b"X-C", b"3")),
        *((b"te", b"trailers"), (b"content-length", b"5")),
    ]
    fields = interpret_request([raw[0], raw[1], (b"transfer-encoding", b"chunked"), raw[3]])
    head = RequestHead(b"POST", b"/", HTTP_1_1, fields)
    assert http2_request_fields(head, frozenset(), [(b"X-C", b"3")]) == [
        *(*kept, (b"Via", b"1.1 vestibule"), (b"X-C", b"3")),
    ]


@pytest.mark.parametrize(
    ("length", "line"),
    [
        (None, b""),
        (0, b"Content-Length: 0\r\n"),
        (7, b"Content-Length: 7\r\n"),
        (CHUNKED, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_framing(length: int | None, line: bytes) -> None:
    assert framing_field(length) == line


@pytest.mark.parametrize(
    ("method", "length", "line"),
    [
        (b"GET", 0, b""),
        (b"DELETE", 0, b""),
        (b"POST", 0, b"Content-Length: 0\r\n"),
        (b"PATCH", 0, b"Content-Length: 0\r\n"),
        (b"GET", 5, b"Content-Length: 5\r\n"),
        (b"GET", CHUNKED, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_framing_of_requests(method: bytes, length: int, line: bytes) -> None:
    assert request_framing(method, length) == line


@pytest.mark.parametrize(
    ("method", "status", "none"),
    [
        (b"HEAD", 200, True),
        (b"GET", 200, False),
        (b"GET", 204, True),
        (b"GET", 304, True),
        (b"GET", 103, True),
        (b"POST", 404, False),
    ],
)
def test_responses_without_a_body(method: bytes, status: int, none: bool) -> None:
    assert response_has_no_body(method, status) is none


def test_the_wire_form_of_a_response_is_remembered() -> None:
    fields = interpret_response([(b"Content-Length", b"007"), (b"X", b"y"), (b"Date", b"now")])
    head = ResponseHead(200, b"Fine", 10, fields)
    wire = response_wire(head, 7)
    assert wire == b"HTTP/1.1 200 Fine\r\nX: y\r\nDate: now\r\nContent-Length: 7\r\n\r\n"
    assert response_wire(head, 7) is wire
    assert status_line(head) == b"HTTP/1.1 200 Fine\r\n"
