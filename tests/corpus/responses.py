"""What an upstream may say, and what the client gets of it (RFC 9112 §4 to §7, §9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.corpus.model import (
    BadGateway,
    Passed,
    ResponseCase,
    Truncated,
    response,
    show,
)

_CHUNKED_HELLO = b"5\r\nhello\r\n0\r\n\r\n"
_CL = b"Content-Length: 5"
_TE = b"Transfer-Encoding: chunked"
_HELLO = Passed(200, b"hello")
_SPLIT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsmuggled!"

_GOOD_STATUS_LINES = (
    (b"HTTP/1.1 200 OK", 200),
    (b"HTTP/1.1 200 ", 200),
    (b"HTTP/1.1 200", 200),
    (b"HTTP/1.1 200 Quite  All\tRight", 200),
    (b"HTTP/1.1 200 \xe4\xf6", 200),
    (b"HTTP/1.1 299 Odd", 299),
    (b"HTTP/1.1 404 Not Found", 404),
    (b"HTTP/1.1 418 I'm a teapot", 418),
    (b"HTTP/1.1 500 Oops", 500),
    (b"HTTP/1.1 599 Odd", 599),
)

_BAD_STATUS_LINES = (
    b"",
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1.1 OK",
    b"HTTP/1.1 99 Low",
    b"HTTP/1.1 000 Zero",
    b"HTTP/1.1 099 Low",
    b"HTTP/1.1 600 High",
    b"HTTP/1.1 999 High",
    b"HTTP/1.1 1000 Higher",
    b"HTTP/1.1 20 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 abc OK",
    b"HTTP/1.1 2x0 OK",
    b"HTTP/1.1 +200 OK",
    b"HTTP/1.1 -200 OK",
    b"HTTP/1.1 200OK",
    b"HTTP/1.1 200.0 OK",
    b"HTTP/1.1 \xb2\xb2\xb2 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1\t200\tOK",
    b"HTTP/1.1\t200 OK",
    b"HTTP/1.1\x0b200 OK",
    b" HTTP/1.1 200 OK",
    b"http/1.1 200 OK",
    b"Http/1.1 200 OK",
    b"HTTP/0.9 200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/2 200 OK",
    b"HTTP/1 200 OK",
    b"HTTP/11 200 OK",
    b"HTTP/1.10 200 OK",
    b"HTTP/1.1x 200 OK",
    b"HTTPS/1.1 200 OK",
    b"ICY 200 OK",
    b"200 OK",
    b"HTTP/1.1 200 O\x00K",
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 200 O\nX: y",
    b"HTTP/1.1 200 OK\r",
    b"HTTP/1.1 200 O\x0bK",
    b"HTTP/1.1 200 O\x7fK",
    b"\x00HTTP/1.1 200 OK",
    b"\nHTTP/1.1 200 OK",
    b"\r\nHTTP/1.1 200 OK",
    b"GET / HTTP/1.1",
)

_BAD_FIELDS = (
    (b"X: a\x00b", "NUL in a value"),
    (b"X: a\nY: b", "bare LF in a value"),
    (b"X: a\rY: b", "bare CR in a value"),
    (b"X: a\r\r\nY: b", "CR CR LF"),
    (b"X: a\n", "LF CR LF"),
    (b"X: a\n\n" + _SPLIT, "response splitting with bare LF"),
    (b"X: a\x0bb", "a control in a value"),
    (b"X: a\x7fb", "DEL in a value"),
    (b"X: a\r\n b", "obs-fold (RFC 9112 §5.2)"),
    (b"X: a\r\n\tb", "obs-fold with a tab"),
    (b" X: a", "a space before the first name"),
    (b"X : a", "space before the colon"),
    (b"X\t: a", "tab before the colon"),
    (b"X", "no colon"),
    (b": a", "an empty name"),
    (b"X Y: a", "a space in a name"),
    (b"X(: a", "a name that is no token"),
    (b"X\x00: a", "NUL in a name"),
    (b"X\xff: a", "obs-text in a name"),
    (b"Transfer-Encoding : chunked", "space before the colon"),
)

_BAD_FRAMING = (
    (_CL, _TE),
    (_TE, _CL),
    (b"Content-Length: 0", _TE),
    (_CL, _CL),
    (_CL, b"Content-Length: 6"),
    (b"Content-Length: 6", _CL),
    (_CL, b"content-length: 0"),
    (_TE, _TE),
    (_TE, b"Transfer-Encoding: identity"),
    (b"Transfer-Encoding: identity",),
    (b"Transfer-Encoding: gzip",),
    (b"Transfer-Encoding: gzip, chunked",),
    (b"Transfer-Encoding: chunked, gzip",),
    (b"Transfer-Encoding: chunked, chunked",),
    (b"Transfer-Encoding: xchunked",),
    (b'Transfer-Encoding: "chunked"',),
    (b"Transfer-Encoding: chunked;q=1",),
    (b"Transfer-Encoding:",),
    (b"Transfer-Encoding: \x0bchunked",),
    (b"Content-Length: +5",),
    (b"Content-Length: -5",),
    (b"Content-Length: 5, 5",),
    (b"Content-Length: 5,6",),
    (b"Content-Length: 0x5",),
    (b"Content-Length: 5_0",),
    (b"Content-Length: 5.0",),
    (b"Content-Length: 5 5",),
    (b"Content-Length:",),
    (b"Content-Length: five",),
    (b"Content-Length: \xb2",),
    (b"Content-Length: 99999999999999999999",),
    (b"Content-Length : 5",),
)

_BAD_CHUNKS = (
    (b"5\nhello\r\n0\r\n\r\n", "bare LF after the size"),
    (b"5\r\nhello\n0\r\n\r\n", "bare LF after the data"),
    (b"5\r\nhello0\r\n\r\n", "no CRLF after the data"),
    (b"5\r\nhelloXX0\r\n\r\n", "two other bytes after the data"),
    (b"5\r\nhello!\r\n0\r\n\r\n", "data longer than the size"),
    (b"0x5\r\nhello\r\n0\r\n\r\n", "a prefix"),
    (b"+5\r\nhello\r\n0\r\n\r\n", "a sign"),
    (b"5 \r\nhello\r\n0\r\n\r\n", "a space after the size"),
    (b" 5\r\nhello\r\n0\r\n\r\n", "a space before the size"),
    (b"000000005\r\nhello\r\n0\r\n\r\n", "nine digits"),
    (b"\r\nhello\r\n0\r\n\r\n", "an empty size"),
    (b"xyz\r\nhello\r\n0\r\n\r\n", "no size"),
    (b"5;a\x00\r\nhello\r\n0\r\n\r\n", "NUL in an extension"),
    (b"5;a\nb\r\nhello\r\n0\r\n\r\n", "bare LF in an extension"),
    (b"5\r\nhello\r\n0\r\nX\r\n\r\n", "a trailer without a colon"),
    (b"5\r\nhello\r\n0\r\nX: a\x00\r\n\r\n", "NUL in a trailer"),
    (b"5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n", "bare LF in a trailer"),
    (b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n", "an extension of 20,000 bytes"),
    (b"5\r\nhello\r\n0\r\n" + b"X: a\r\n" * 8000 + b"\r\n", "8,000 trailers"),
    (b"1\r\nx\r\n" * 9000 + b"0\r\n\r\n", "far more framing than data"),
)


def _cases() -> Iterator[ResponseCase]:
    yield from _heads()
    yield from _framing()
    yield from _ends()
    yield from _without_body()
    yield from _informational()
    yield from _other_protocols()
    yield from _floods()


def _heads() -> Iterator[ResponseCase]:
    for line, status in _GOOD_STATUS_LINES:
        raw = response(_CL, line=line, body=b"hello")
        yield ResponseCase(f"status {show(line)}", raw, Passed(status, b"hello"))
    for line in _BAD_STATUS_LINES:
        raw = response(_CL, line=line, body=b"hello")
        yield ResponseCase(f"status {show(line)}", raw, BadGateway(), "RFC 9112 §4", closes=True)
    for field, note in _BAD_FIELDS:
        raw = response(field, _CL, body=b"hello")
        yield ResponseCase(f"field {show(field)}", raw, BadGateway(), note)
    raw = response(b"Set-Cookie: a=b", _CL, b"Set-Cookie: c=d", body=b"hello")
    cookies = ((b"set-cookie", b"a=b"), (b"set-cookie", b"c=d"))
    yield ResponseCase("two-cookies", raw, Passed(200, b"hello", present=cookies))
    raw = response(b"X-Latin: \xe4", b"X-Empty:", b"X_Y: z", _CL, body=b"hello")
    odd = ((b"x-latin", b"\xe4"), (b"x-empty", b""), (b"x_y", b"z"))
    yield ResponseCase("odd-fields", raw, Passed(200, b"hello", present=odd), "unchanged")
    raw = response(
        *(b"Connection: X-Secret", b"X-Secret: a", b"Keep-Alive: timeout=5"),
        *(b"Proxy-Authenticate: Basic", b"Proxy-Connection: close", b"Upgrade: h2c", _CL),
        body=b"hello",
    )
    gone = (b"x-secret", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"upgrade")
    yield ResponseCase("hop-by-hop", raw, Passed(200, b"hello", absent=gone), "RFC 9110 §7.6.1")
    raw = response(_CL, body=b"hello").replace(b"\r\n", b"\n")
    yield ResponseCase("all-bare-lf", raw, BadGateway(), "bare LF is no line end", closes=True)


def _framing() -> Iterator[ResponseCase]:
    for fields in _BAD_FRAMING:
        raw = response(*fields, body=_CHUNKED_HELLO)
        name = f"framing {show(b' + '.join(fields))}"
        yield ResponseCase(name, raw, BadGateway(), "RFC 9112 §6.3")
    raw = response(_TE, line=b"HTTP/1.0 200 OK", body=_CHUNKED_HELLO)
    yield ResponseCase("framing chunked on 1.0", raw, BadGateway(), "RFC 9112 §6.1")
    for body, note in _BAD_CHUNKS:
        raw = response(_TE, body=body)
        yield ResponseCase(f"chunks {note}", raw, Truncated(), note)
    for body in (
        _CHUNKED_HELLO,
        b"5;a=b\r\nhello\r\n0\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n000\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-Checksum: a\r\n\r\n",
    ):
        raw = response(_TE, body=body)
        passed = Passed(200, b"hello", absent=(b"x-checksum",))
        yield ResponseCase(f"chunks {show(body)}", raw, passed)
    raw = response(b"transfer-encoding: Chunked", body=_CHUNKED_HELLO)
    yield ResponseCase("chunked in mixed case", raw, _HELLO, "codings are case-insensitive")


def _ends() -> Iterator[ResponseCase]:
    for count in (0, 1, 4):
        raw = response(_CL, body=b"hello"[:count])
        yield ResponseCase(f"short-by {5 - count}", raw, Truncated(), closes=True)
    for end in (0, 1, 2, 4, 8, 9, 10, 12, 14):
        raw = response(_TE, body=_CHUNKED_HELLO[:end])
        yield ResponseCase(f"chunked-cut-at {end}", raw, Truncated(), closes=True)
    whole = response(_CL, body=b"hello")
    for end in (0, 1, 8, 12, 17, len(whole) - 6, len(whole) - 7):
        yield ResponseCase(f"head-cut-at {end}", whole[:end], BadGateway(), closes=True)
    for extra in (b"!", b"\r\n", _SPLIT, b"\x00" * 100):
        raw = response(_CL, body=b"hello" + extra)
        passed = Passed(200, b"hello", reusable=False)
        yield ResponseCase(f"extra {show(extra)}", raw, passed, "bytes after the end")
        raw = response(_TE, body=_CHUNKED_HELLO + extra)
        yield ResponseCase(f"extra after chunks {show(extra)}", raw, passed, "bytes after the end")
    until_close = Passed(200, b"hello", reusable=False)
    raw = response(b"X: y", body=b"hello")
    yield ResponseCase("until-close", raw, until_close, "RFC 9112 §6.3 rule 8", closes=True)
    raw = response(b"X: y", line=b"HTTP/1.0 200 OK", body=b"hello")
    yield ResponseCase("until-close on 1.0", raw, until_close, closes=True)
    raw = response(b"X: y", body=b"")
    yield ResponseCase("until-close, empty", raw, Passed(200, reusable=False), closes=True)
    raw = response(b"X: y", body=b"hello\r\n\r\n" + _SPLIT)
    passed = Passed(200, b"hello\r\n\r\n" + _SPLIT, reusable=False)
    yield ResponseCase("until-close holds a response", raw, passed, "all body", closes=True)
    raw = response(b"Connection: close", _CL, body=b"hello")
    yield ResponseCase("connection-close", raw, until_close)
    raw = response(_CL, line=b"HTTP/1.0 200 OK", body=b"hello")
    yield ResponseCase("length on 1.0", raw, until_close, "no keep-alive unless it is said")
    yield ResponseCase("length, then close", whole, until_close, closes=True)


def _without_body() -> Iterator[ResponseCase]:
    for status, lines, body in (
        (204, (), b""),
        (304, (), b""),
        (304, (_CL,), b""),
        (304, (_TE,), b""),
    ):
        raw = response(*lines, line=b"HTTP/1.1 %d X" % status, body=body)
        name = f"bodiless {status} {show(b''.join(lines))}"
        yield ResponseCase(name, raw, Passed(status), "RFC 9112 §6.3 rule 1")
    for status, lines, body in (
        (204, (_CL,), b"hello"),
        (204, (_TE,), _CHUNKED_HELLO),
        (204, (), b"hello"),
        (304, (_CL,), b"hello"),
        (304, (_TE,), _CHUNKED_HELLO),
        (304, (), _SPLIT),
    ):
        raw = response(*lines, line=b"HTTP/1.1 %d X" % status, body=body)
        name = f"with-body {status} {show(b''.join(lines) + body)}"
        yield ResponseCase(name, raw, Passed(status, reusable=False), "the body is extra bytes")
    for lines in ((_CL,), (_TE,), ()):
        raw = response(*lines)
        yield ResponseCase(f"head {show(b''.join(lines))}", raw, Passed(200), method=b"HEAD")
    for lines, body in (((_CL,), b"hello"), ((_TE,), _CHUNKED_HELLO), ((), _SPLIT)):
        raw = response(*lines, body=body)
        name = f"head with a body {show(b''.join(lines))}"
        passed = Passed(200, reusable=False)
        yield ResponseCase(name, raw, passed, "the body is extra bytes", method=b"HEAD")
    for status in (200, 206, 301, 404, 500):
        raw = response(b"Content-Length: 0", line=b"HTTP/1.1 %d X" % status)
        yield ResponseCase(f"empty {status}", raw, Passed(status))


def _informational() -> Iterator[ResponseCase]:
    final = response(_CL, body=b"hello")
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    for name, first in (
        ("100", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("102", b"HTTP/1.1 102 Processing\r\n\r\n"),
        ("103", hints),
        ("199", b"HTTP/1.1 199 Odd\r\n\r\n"),
        ("100 with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"),
        ("103 ten times", hints * 10),
    ):
        yield ResponseCase(f"informational {name}", first + final, _HELLO, "RFC 9110 §15.2")
    yield ResponseCase("informational 103 twelve times", hints * 12 + final, BadGateway())
    yield ResponseCase("informational without end", hints * 2000, BadGateway())
    yield ResponseCase("informational, then close", hints, BadGateway(), closes=True)
    yield ResponseCase("informational, then garbage", hints + b"garbage\r\n\r\n", BadGateway())
    switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    for protocol in (b"websocket", b"h2c", b"foo"):
        raw = switching % protocol + _SPLIT
        yield ResponseCase(f"101 unasked {show(protocol)}", raw, BadGateway(), "RFC 9110 §15.2.2")
    raw = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + final
    yield ResponseCase("101 bare", raw, BadGateway(), "RFC 9110 §15.2.2")


def _other_protocols() -> Iterator[ResponseCase]:
    for name, raw in (
        ("http-0.9", b"<html>hello</html>"),
        ("http-0.9 with lines", b"hello\r\n\r\nhello"),
        ("http-2 settings", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
        ("tls alert", b"\x15\x03\x03\x00\x02\x02\x46"),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("smtp", b"220 mail.test ESMTP\r\n"),
        ("redis", b"-ERR unknown command 'GET'\r\n"),
        ("nothing", b""),
        ("an empty line", b"\r\n"),
        ("nuls", b"\x00" * 1000),
    ):
        yield ResponseCase(f"not-http {name}", raw, BadGateway(), closes=True)


def _floods() -> Iterator[ResponseCase]:
    for count in (200, 5000):
        raw = response(*(b"X: y",) * count, _CL, body=b"hello")
        yield ResponseCase(f"fields-{count}", raw, BadGateway(), "more than 100")
    for size in (10_000, 100_000):
        raw = response(b"X: " + b"a" * size, _CL, body=b"hello")
        yield ResponseCase(f"field-of-{size}", raw, BadGateway(), "more than 8 KiB")
    raw = response(*(b"X: " + b"a" * 7000,) * 10, _CL, body=b"hello")
    yield ResponseCase("head-of-70000", raw, BadGateway(), "more than 32 KiB")
    raw = response(_CL, line=b"HTTP/1.1 200 " + b"a" * 100_000, body=b"hello")
    yield ResponseCase("reason-of-100000", raw, BadGateway(), "more than 32 KiB")
    raw = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000
    yield ResponseCase("head-without-end", raw, BadGateway(), "more than 32 KiB")
    raw = response(*(b"X%d: y" % number for number in range(80)), _CL, body=b"hello")
    yield ResponseCase("fields-81", raw, _HELLO, "up to 100")


RESPONSES: Final[tuple[ResponseCase, ...]] = tuple(_cases())
