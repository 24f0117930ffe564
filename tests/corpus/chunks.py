"""Chunked framing: sizes, extensions, line ends, trailers (RFC 9112 §7.1).

CVE-2025-43859 (h11 took any two bytes for the CRLF after the data), CVE-2025-22871 (Go took a
bare LF as the end of a chunk-size line), CVE-2023-44487's cousins of tiny chunks.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.framing import HELLO, POST
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

_END = b"\r\nhello\r\n0\r\n\r\n"

_GOOD_SIZES = (
    b"5",
    b"05",
    b"00000005",
    b"5;a",
    b"5;a=b",
    b"5;a=b;c=d",
    b'5;a="b c"',
    b'5;a=";"',
    b"5;" + b"a" * 200,
)

_BAD_SIZES = (
    b"",
    b" ",
    b"+5",
    b"-5",
    b"0x5",
    b"0X5",
    b"x5",
    b"5h",
    b"5x",
    b"g",
    b"G",
    b" 5",
    b"5 ",
    b"\t5",
    b"5\t",
    b"5 ;a",
    b"5\t;a",
    b"5 5",
    b"5,5",
    b"5.0",
    b"5_0",
    b"5:",
    b"5=a",
    b'"5"',
    b"000000005",
    b"100000005",
    b"fffffffffffffffb",
    b"10000000000000005",
    b"0" * 16 + b"5",
    b"0" * 300 + b"5",
    b"\xb2",
    b"\xef\xbc\x95",
    b"5\x00",
    b"\x005",
    b"5\x0b",
    b"\x0b5",
    b"5\x0c",
    b"5\r",
    b"\r5",
    b"5;\x00",
    b"5;a\x00b",
    b"5;a\rb",
    b"5;a\r",
    b"5;\r",
    b"5;\n",
    b"5;a\n",
    b"5;a\nb",
    b"5;a\x0b",
    b"5;a\x7f",
    b"5;a\x1b",
    b"5\n\n",
    b"5;a=\n",
)

# These announce far more data than comes: well-formed, but never complete.
_ENDLESS_SIZES = (b"fffffffb", b"ffffffff")

_BAD_BODIES = (
    (b"5\nhello\r\n0\r\n\r\n", "bare LF after the size"),
    (b"5\rhello\r\n0\r\n\r\n", "bare CR after the size"),
    (b"5\r\r\nhello\r\n0\r\n\r\n", "CR CR LF after the size"),
    (b"5\n\rhello\r\n0\r\n\r\n", "LF CR after the size"),
    (b"5\r\nhello\n0\r\n\r\n", "bare LF after the data"),
    (b"5\r\nhello\r0\r\n\r\n", "bare CR after the data"),
    (b"5\r\nhello0\r\n\r\n", "no CRLF after the data"),
    (b"5\r\nhelloXX0\r\n\r\n", "two other bytes after the data (CVE-2025-43859)"),
    (b"5\r\nhello\r\r\n0\r\n\r\n", "CR CR LF after the data"),
    (b"5\r\nhello \r\n0\r\n\r\n", "a space after the data"),
    (b"5\r\nhello!\r\n0\r\n\r\n", "data longer than the size"),
    (b"5\r\nhell\r\n0\r\n\r\n", "data shorter than the size"),
    (b"5\r\nhello\r\n\r\n0\r\n\r\n", "an empty line between chunks"),
    (b"5\r\nhello\r\n0\n\r\n", "bare LF after the last size"),
    (b"5\r\nhello\r\n0\r\r\n\r\n", "CR CR LF after the last size"),
    (b"5\r\nhello\r\n0\r\n\n", "bare LF as the last line"),
    (b"5\r\nhello\r\n0\n\n", "bare LF twice at the end"),
    (b"5\r\nhello\r\n0 \r\n\r\n", "a space after the last size"),
    (b"5\r\nhello\r\n-0\r\n\r\n", "a signed last size"),
    (b"5\r\nhello\r\n+0\r\n\r\n", "a signed last size"),
    (b"5\r\nhello\r\n0x0\r\n\r\n", "a prefixed last size"),
    (b"5\r\nhello\r\n000000000\r\n\r\n", "a last size of nine digits"),
    (b"5\r\nhello\r\n0;\x00\r\n\r\n", "NUL in the last extension"),
    (b"5\r\nhello\r\n0;a\nb\r\n\r\n", "bare LF in the last extension"),
    (b"hello\r\n", "no framing at all"),
    (b"\r\n5\r\nhello\r\n0\r\n\r\n", "an empty line before the first chunk"),
    (b"\n5\r\nhello\r\n0\r\n\r\n", "a bare LF before the first chunk"),
)

_BAD_TRAILERS = (
    b"X",
    b"X y",
    b": y",
    b" X: y",
    b"\tX: y",
    b"X : y",
    b"X\t: y",
    b"X: y\r\n z",
    b"X: y\r\n\tz",
    b"X: y\nZ: z",
    b"X: y\rZ: z",
    b"X: y\x00",
    b"X\x00: y",
    b"X: y\x0b",
    b"X: y\x7f",
    b"X(: y",
    b"\xff: y",
    b"\x00",
    b"GET /smuggled HTTP/1.1",
    # RFC 9110 §6.5.1 forbids framing here, and parsers differ in what they make of it.
    b"Content-Length: 500",
    b"content-length: 0",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
)

_GOOD_TRAILERS = (
    b"X-Checksum: abc",
    b"X-Checksum:",
    b"A: b\r\nC: d",
    b"X-Text: \xe4\xf6",
    # Well-formed, and never to be merged into the head (RFC 9110 §6.5.1).
    b"Host: evil.test",
    b"X-Forwarded-For: 6.6.6.6",
    b"Authorization: Basic eDp5",
)


def chunked(body: bytes) -> bytes:
    """A POST with this chunked body, as written."""
    return request(b"Transfer-Encoding: chunked", line=POST, body=body)


def cases() -> Iterator[RequestCase]:
    """All cases of this family."""
    for size in _GOOD_SIZES:
        yield RequestCase(f"chunk-size {show(size)}", chunked(size + _END), HELLO, "RFC 9112 §7.1")
    for last in (b"0", b"00", b"00000000", b"0;a=b"):
        raw = chunked(b"5\r\nhello\r\n" + last + b"\r\n\r\n")
        yield RequestCase(f"last-chunk {show(last)}", raw, HELLO, "last-chunk = 1*(%x30)")
    yield from _hex_digits()
    for size in _BAD_SIZES:
        raw = chunked(size + _END + SMUGGLED)
        yield RequestCase(f"chunk-size {show(size)}", raw, refused(), "RFC 9112 §7.1", "body")
    for size in _ENDLESS_SIZES:
        raw = chunked(size + _END)
        yield RequestCase(f"chunk-size {show(size)}", raw, Closed(), "4 GiB announced", "body")
    for number, (body, note) in enumerate(_BAD_BODIES):
        yield RequestCase(f"chunk-body {number}", chunked(body), refused(), note, "body")
    for trailer in _BAD_TRAILERS:
        raw = chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n")
        yield RequestCase(f"trailer {show(trailer)}", raw, refused(), "RFC 9112 §7.1.2", "body")
    for trailer in _GOOD_TRAILERS:
        raw = chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n")
        seen = Seen(method=b"POST", body=b"hello", never=(trailer,))
        yield RequestCase(
            f"trailer {show(trailer)}", raw, Forwarded((seen,)), "trailers are dropped"
        )
    yield from _ends()
    yield from _floods()


def _hex_digits() -> Iterator[RequestCase]:
    for size in (b"a", b"A", b"1f", b"1F", b"0aB"):
        data = b"x" * int(size, 16)
        raw = chunked(size + b"\r\n" + data + b"\r\n0\r\n\r\n")
        seen = Forwarded((Seen(method=b"POST", body=data),))
        yield RequestCase(f"chunk-hex {show(size)}", raw, seen, "HEXDIG in either case")


def _ends() -> Iterator[RequestCase]:
    yield RequestCase(
        "chunked-empty", chunked(b"0\r\n\r\n"), Forwarded((Seen(method=b"POST"),)), "no data at all"
    )
    yield RequestCase(
        "chunked-holds-a-request",
        chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        Forwarded((Seen(method=b"POST", body=SMUGGLED),)),
        "data is data",
    )
    yield RequestCase(
        "chunked-then-request",
        chunked(b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
        Forwarded((Seen(method=b"POST", body=b"hello"), Seen(target=b"/smuggled"))),
        "an ordinary second request",
        "exchange",
    )
    yield RequestCase(
        "chunked-then-garbage",
        chunked(b"5\r\nhello\r\n0\r\n\r\ngarbage\r\n\r\n"),
        Forwarded((Seen(method=b"POST", body=b"hello"),), then=refused()),
        "bytes after the end are the next request",
        "exchange",
    )
    whole = b"5\r\nhello\r\n0\r\n\r\n"
    for end in (0, 1, 3, 5, 8, 9, 10, 11, 13, 14):
        yield RequestCase(
            f"chunked-cut-at {end}", chunked(whole[:end]), Closed(), "the body never ends", "body"
        )
    two = b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    yield RequestCase("chunked-two", chunked(two), HELLO, "pieces are joined")
    binary = bytes(range(256))
    yield RequestCase(
        "chunked-binary",
        chunked(b"100\r\n" + binary + b"\r\n0\r\n\r\n"),
        Forwarded((Seen(method=b"POST", body=binary),)),
        "data may hold any byte, CR, LF and NUL too",
    )


def _floods() -> Iterator[RequestCase]:
    yield RequestCase(
        "tiny-chunks-few",
        chunked(b"1\r\nx\r\n" * 300 + b"0\r\n\r\n"),
        Forwarded((Seen(method=b"POST", body=b"x" * 300),)),
        "small chunks are legal as long as they are few",
    )
    yield RequestCase(
        "tiny-chunks-flood",
        chunked(b"1\r\nx\r\n" * 9000 + b"0\r\n\r\n"),
        refused(400, 413),
        "framing past 16 KiB + 2 x the data",
        "body",
    )
    for name, body in (
        ("chunk-extension-long", b"5;" + b"a" * 20_000 + _END),
        ("trailer-long", b"0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"),
        ("trailers-flood", b"0\r\n" + b"X: a\r\n" * 8000 + b"\r\n"),
    ):
        yield RequestCase(name, chunked(body), refused(400, 413, 431), "bounded lines", "body")
    yield RequestCase(
        "chunk-extensions-flood",
        chunked((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 40 + b"0\r\n\r\n"),
        refused(400, 413),
        "framing past 16 KiB + 2 x the data",
        "body",
    )
