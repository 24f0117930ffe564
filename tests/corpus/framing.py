"""Where the body ends: Content-Length, Transfer-Encoding, and every way to say both.

RFC 9112 §6.3 lets a proxy repair some of these; the proxy repairs none (CL.TE, TE.CL, TE.TE,
CL.0, 0.CL, TE.0: Kettle, "HTTP Desync Attacks", 2019 to 2025).
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.model import (
    SMUGGLED,
    Closed,
    Forwarded,
    RequestCase,
    Seen,
    refused,
    request,
    show,
)

POST = b"POST / HTTP/1.1"
CHUNKED_HELLO = b"5\r\nhello\r\n0\r\n\r\n"
HELLO = Forwarded((Seen(method=b"POST", body=b"hello"),))

# The coding is case-insensitive (RFC 9112 §7), and whitespace around a value is not part of it.
_LEGAL_TE = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: CHUNKED",
    b"transfer-encoding: chunked",
    b"TRANSFER-ENCODING: chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding: \t chunked",
    b"Transfer-Encoding: chunked \t ",
)

_BAD_TE_VALUES = (
    b"",
    b"identity",
    b"gzip",
    b"deflate",
    b"compress",
    b"gzip, chunked",
    b"chunked, gzip",
    b"chunked, identity",
    b"identity, chunked",
    b"chunked, chunked",
    b"chunked,",
    b",chunked",
    b", chunked",
    b"chunked ,",
    b"xchunked",
    b"x-chunked",
    b"chunkedx",
    b"chunked-x",
    b"chunke",
    b"chunk",
    b"cow",
    b"chunked;q=1",
    b"chunked; foo=bar",
    b'"chunked"',
    b"'chunked'",
    b"chunked identity",
    b"chunked chunked",
    b"chun ked",
    b"chunked.",
    b"[chunked]",
    b"chunked\x00",
    b"\x00chunked",
    b"\x01chunked",
    b"\x0bchunked",
    b"chunked\x0b",
    b"\x0cchunked",
    b"chunked\x0c",
    b"chunked\x1f",
    b"chunked\x7f",
    b"\xa0chunked",
    b"chunked\xa0",
    b"\x85chunked",
    b"\xef\xbb\xbfchunked",
    b"chun\xc4\xb1ked",
    b"chun\xe2\x84\xaaed",  # KELVIN SIGN, which lower-cases to k
    b"\nchunked",
    b"\rchunked",
    b"chunked\r",
    b"chunked\n",
    b"\r\n chunked",
    b"\r\n\tchunked",
    b"chunked\r\n ",
    b"chunked\r\n , identity",
)

_BAD_TE_LINES = (
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"\x00Transfer-Encoding: chunked",
    b"Transfer-Encoding\x0b: chunked",
    b"\x0bTransfer-Encoding: chunked",
    b"\xa0Transfer-Encoding: chunked",
    b"Transfer-Encoding\r: chunked",
    b"Transfer-Encoding\xa0: chunked",
    b"Transfer_Encoding: chunked",
    b"Transfer.Encoding: chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding chunked",
    b"Transfer-Encoding\n: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\r\rTransfer-Encoding: chunked",
    b"X: y\n\rTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
)

_BAD_LENGTHS = (
    b"",
    b"+5",
    b"-5",
    b"-0",
    b"5, 5",
    b"5,5",
    b"5, 6",
    b"5,",
    b",5",
    b"5 5",
    b"5;",
    b"5;a=b",
    b"0x5",
    b"0X5",
    b"0o5",
    b"0b1",
    b"5_0",
    b"5.0",
    b"5.",
    b"5e0",
    b"5L",
    b"5a",
    b"a",
    b"NaN",
    b"Infinity",
    b"chunked",
    b'"5"',
    b"'5'",
    b"(5)",
    b"5\x00",
    b"\x005",
    b"\x0b5",
    b"5\x0b",
    b"5\x0c",
    b"5\xa0",
    b"\xb2",  # superscript two: a digit to str.isdigit
    b"\xd9\xa5",  # arabic-indic five
    b"\xef\xbc\x95",  # fullwidth five
    b"5\r",
    b"\r\n 5",
    b"5\r\n ",
    b"1\r\n 5",
    b"18446744073709551621",  # 2**64 + 5
    b"99999999999999999999999999999999",
    b"0" * 40 + b"5",
    b"5" * 5000,
)

_BAD_LENGTH_LINES = (
    b"Content-Length : 5",
    b"Content-Length\t: 5",
    b" Content-Length: 5",
    b"Content-Length\x00: 5",
    b"Content-Length\x0b: 5",
    b"Content_Length: 5",
    b"Content.Length: 5",
    b"Content Length: 5",
    b"X: y\nContent-Length: 5",
    b"X: y\rContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 6\r\nContent-Length: 5",
    b"Content-Length: 0\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 0",
    b"Content-Length: 5\r\ncontent-length: 5",
    b"Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 5",
    b"Content-Length: 5\r\nContent-Length:",
    b"Content-Length:\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: -5",
)


def cases() -> Iterator[RequestCase]:
    """All cases of this family."""
    yield from _transfer_encoding()
    yield from _content_length()
    yield from _both()
    yield from _ends()


def _transfer_encoding() -> Iterator[RequestCase]:
    for line in _LEGAL_TE:
        raw = request(line, line=POST, body=CHUNKED_HELLO)
        yield RequestCase(f"te-legal {show(line)}", raw, HELLO, "RFC 9112 §7.1")
    for value in _BAD_TE_VALUES:
        line = b"Transfer-Encoding: " + value
        raw = request(line, line=POST, body=CHUNKED_HELLO + SMUGGLED)
        yield RequestCase(f"te-value {show(value)}", raw, refused(), "TE.TE; RFC 9112 §6.1")
    for line in _BAD_TE_LINES:
        raw = request(line, line=POST, body=CHUNKED_HELLO + SMUGGLED)
        yield RequestCase(f"te-line {show(line)}", raw, refused(), "TE.TE, TE.0")
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
        raw = request(b"Transfer-Encoding: identity", line=method + b" / HTTP/1.1", body=SMUGGLED)
        yield RequestCase(f"te-identity {show(method)}", raw, refused(), "TE.0")
    for connection in ("close", "keep-alive"):
        raw = request(
            b"Connection: " + connection.encode(),
            b"Transfer-Encoding: chunked",
            line=b"POST / HTTP/1.0",
            body=CHUNKED_HELLO,
        )
        yield RequestCase(f"te-on-1.0 {connection}", raw, refused(), "RFC 9112 §6.1")


def _content_length() -> Iterator[RequestCase]:
    for value in (b"5", b"05", b"0000000005", b" \t5", b"5\t "):
        raw = request(b"Content-Length:" + value, line=POST, body=b"hello")
        yield RequestCase(f"cl-legal {show(value)}", raw, HELLO, "RFC 9110 §8.6: 1*DIGIT")
    for name in (b"content-length", b"CONTENT-LENGTH", b"cOnTeNt-LeNgTh"):
        raw = request(name + b": 5", line=POST, body=b"hello")
        yield RequestCase(f"cl-name {show(name)}", raw, HELLO, "names are case-insensitive")
    for value in (b"0", b"00"):
        raw = request(b"Content-Length: " + value, line=POST)
        yield RequestCase(f"cl-zero {show(value)}", raw, Forwarded((Seen(method=b"POST"),)))
    for value in _BAD_LENGTHS:
        raw = request(b"Content-Length: " + value, line=POST, body=b"hello" + SMUGGLED)
        yield RequestCase(f"cl-value {show(value)}", raw, refused(), "RFC 9112 §6.3 rule 5")
    for line in _BAD_LENGTH_LINES:
        raw = request(line, line=POST, body=b"hello" + SMUGGLED)
        yield RequestCase(f"cl-line {show(line)}", raw, refused(), "0.CL, CL.CL")
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PROPFIND"):
        raw = request(
            b"Content-Length: %d" % len(SMUGGLED), line=method + b" / HTTP/1.1", body=SMUGGLED
        )
        yield RequestCase(
            f"cl-body {show(method)}",
            raw,
            Forwarded((Seen(method=method, body=SMUGGLED),)),
            "CL.0: a body is a body, whatever the method",
        )


def _both() -> Iterator[RequestCase]:
    length = b"Content-Length: 5"
    for line in (*_LEGAL_TE, *(b"Transfer-Encoding: " + value for value in _BAD_TE_VALUES[:16])):
        for order, lines in (("cl-te", (length, line)), ("te-cl", (line, length))):
            raw = request(*lines, line=POST, body=CHUNKED_HELLO + SMUGGLED)
            yield RequestCase(f"{order} {show(line)}", raw, refused(), "RFC 9112 §6.3 rule 3")
    for value in (b"0", b"4", b"%d" % len(CHUNKED_HELLO + SMUGGLED), b""):
        raw = request(
            b"Content-Length: " + value,
            b"Transfer-Encoding: chunked",
            line=POST,
            body=CHUNKED_HELLO + SMUGGLED,
        )
        yield RequestCase(f"cl-te length {show(value)}", raw, refused(), "RFC 9112 §6.3 rule 3")


def _ends() -> Iterator[RequestCase]:
    for value in (b"6", b"500", b"4294967301", b"999999999999999999"):
        raw = request(b"Content-Length: " + value, line=POST, body=b"hello")
        yield RequestCase(
            f"cl-short {show(value)}", raw, Closed(), "the body is shorter than declared", "body"
        )
    raw = request(b"Content-Length: 5", line=POST, body=b"hello" + SMUGGLED)
    yield RequestCase(
        "cl-then-request",
        raw,
        Forwarded((Seen(method=b"POST", body=b"hello"), Seen(target=b"/smuggled"))),
        "after the body's end it is an ordinary second request",
        "exchange",
    )
    raw = request(b"Content-Length: 5", line=POST, body=b"hello garbage\r\n\r\n")
    yield RequestCase(
        "cl-then-garbage",
        raw,
        Forwarded((Seen(method=b"POST", body=b"hello"),), then=refused()),
        "bytes after the body's end are the next request",
        "exchange",
    )
    raw = request(line=POST, body=b"hello\r\n\r\n")
    yield RequestCase(
        "no-framing-then-garbage",
        raw,
        Forwarded((Seen(method=b"POST"),), then=refused()),
        "RFC 9112 §6.3 rule 7: without framing a request has no body",
        "exchange",
    )
