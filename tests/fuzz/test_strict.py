"""The judge of what the proxy sends: it sees what is wrong."""

from __future__ import annotations

import pytest

from tests.fuzz.strict import NotStrict, h11_request, read_request

OURS = (
    b"Host: h\r\nVia: 1.1 vestibule\r\nX-Forwarded-Host: h\r\nX-Forwarded-For: 1.2.3.4\r\n"
    b"X-Real-IP: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"
)


def message(*lines: bytes, line: bytes = b"POST /a?b HTTP/1.1", body: bytes = b"") -> bytes:
    return line + b"\r\n" + OURS + b"".join(entry + b"\r\n" for entry in lines) + b"\r\n" + body


CHUNKED = message(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
COUNTED = message(b"Content-Length: 5", body=b"hello")


@pytest.mark.parametrize("raw", [CHUNKED, COUNTED])
def test_a_request_is_read_once_it_is_complete(raw: bytes) -> None:
    for end in range(len(raw)):
        assert read_request(raw[:end]) == (None, raw[:end])
    request, rest = read_request(raw + b"next")
    assert request is not None
    assert (request.method, request.target, request.body) == (b"POST", b"/a?b", b"hello")
    assert rest == b"next"


@pytest.mark.parametrize(
    "raw",
    [
        message(line=b"GET / HTTP/1.0"),
        message(line=b"GET  / HTTP/1.1"),
        message(line=b"GET http://h/ HTTP/1.1"),
        message(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        message(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        message(b"Content-Length: +5", body=b"hello"),
        message(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        message(b"Transfer-Encoding: chunked", body=b"5 \r\nhello\r\n0\r\n\r\n"),
        message(b"Transfer-Encoding: chunked", body=b"5\nhello\r\n0\r\n\r\n"),
        message(b"Transfer-Encoding: chunked", body=b"4\r\nhello\r\n0\r\n\r\n"),
        message(b"X : y"),
        message(b"X: a\nY: b"),
        message(b"X: a\0b"),
        message(b" folded"),
        message(b"Host: twice"),
        message(b"X_Forwarded_For: 6.6.6.6"),
        message(b"Expect: 100-continue"),
        message(b"Connection: close"),
        message(b"Connection: Upgrade", b"Upgrade: h2c"),
        message().replace(b"X-Real-IP: 1.2.3.4\r\n", b""),
    ],
)
def test_what_could_be_misread_is_seen(raw: bytes) -> None:
    with pytest.raises(NotStrict):
        read_request(raw)


def test_h11_reads_what_a_client_says() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HT"
    request, rest = h11_request(raw)
    assert request is not None
    assert request.target == b"/"
    assert h11_request(rest) == (None, b"GET /2 HT")
    assert h11_request(b"\x16\x03\x01\r\n\r\n")[0] is None
