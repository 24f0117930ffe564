"""Several requests on one connection: what follows a good one, a bad one, a last one."""

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
)

_GET = request(line=b"GET /1 HTTP/1.1")
_POST = request(b"Content-Length: 5", line=b"POST /1 HTTP/1.1", body=b"hello")
_CHUNKED = request(
    b"Transfer-Encoding: chunked", line=b"POST /1 HTTP/1.1", body=b"5\r\nhello\r\n0\r\n\r\n"
)
_BOTH = request(
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    line=b"POST /2 HTTP/1.1",
    body=b"5\r\nhello\r\n0\r\n\r\n",
)

_FIRSTS = (
    ("get", _GET, Seen(target=b"/1")),
    ("head", request(line=b"HEAD /1 HTTP/1.1"), Seen(method=b"HEAD", target=b"/1")),
    ("post", _POST, Seen(method=b"POST", target=b"/1", body=b"hello")),
    ("chunked", _CHUNKED, Seen(method=b"POST", target=b"/1", body=b"hello")),
    (
        "expect",
        request(
            b"Expect: 100-continue",
            b"Content-Length: 5",
            line=b"POST /1 HTTP/1.1",
            body=b"hello",
        ),
        Seen(method=b"POST", target=b"/1", body=b"hello", absent=(b"expect",)),
    ),
)

_BAD_SECONDS = (
    ("garbage", b"garbage\r\n\r\n", (400,)),
    ("cl-te", _BOTH, (400,)),
    ("no host", b"GET /2 HTTP/1.1\r\n\r\n", (400,)),
    ("http-0.9", b"GET /2\r\n\r\n", (400,)),
    ("bare lf", b"GET /2 HTTP/1.1\nHost: front.test\r\n\r\n", (400,)),
    ("two empty lines", b"\r\n\r\nGET /2 HTTP/1.1\r\nHost: front.test\r\n\r\n", (400,)),
    ("too many fields", request(*(b"X: y",) * 120, line=b"GET /2 HTTP/1.1"), (431,)),
    ("another site", b"GET /2 HTTP/1.1\r\nHost: other.test\r\n\r\n", (421,)),
    ("trace", request(line=b"TRACE /2 HTTP/1.1"), (405,)),
)

_BAD_FIRSTS = (
    ("cl-te", _BOTH),
    ("cl-twice", request(b"Content-Length: 0", b"Content-Length: 0", line=b"POST / HTTP/1.1")),
    ("no host", b"GET / HTTP/1.1\r\n\r\n"),
    ("te-xchunked", request(b"Transfer-Encoding: xchunked", line=b"POST / HTTP/1.1")),
    ("bare lf", request(b"X: y\nZ: z")),
    ("http-0.9", b"GET /\r\n\r\n"),
)


def cases() -> Iterator[RequestCase]:
    """All cases of this family."""
    for first_name, first, seen in _FIRSTS:
        for second_name, second, seen_second in _FIRSTS:
            yield RequestCase(
                f"pair {first_name}, {second_name}",
                first + second,
                Forwarded((seen, seen_second)),
                "pipelined (RFC 9112 §9.3.2)",
                "exchange",
            )
        yield RequestCase(
            f"pair {first_name}, empty line, get",
            first + b"\r\n" + _GET,
            Forwarded((seen, Seen(target=b"/1"))),
            "RFC 9112 §2.2: one empty line before a request line is skipped",
            "exchange",
        )
        for bad_name, bad, statuses in _BAD_SECONDS:
            yield RequestCase(
                f"pair {first_name}, {bad_name}",
                first + bad,
                Forwarded((seen,), then=refused(*statuses)),
                "the first is answered before the second is judged",
                "exchange",
            )
        yield RequestCase(
            f"pair {first_name}, cut",
            first + b"GET /2 HT",
            Forwarded((seen,), then=Closed()),
            "the second never ends",
            "exchange",
        )
    for bad_name, bad in _BAD_FIRSTS:
        yield RequestCase(
            f"bad {bad_name}, then a request", bad + SMUGGLED, refused(), "closed after a refusal"
        )
    yield from _lasts()
    yield from _never_complete()


def _lasts() -> Iterator[RequestCase]:
    last = Forwarded((Seen(target=b"/1"),))
    for name, raw in (
        ("close", request(b"Connection: close", line=b"GET /1 HTTP/1.1")),
        ("Close", request(b"Connection: Close", line=b"GET /1 HTTP/1.1")),
        ("close in a list", request(b"Connection: x, close", line=b"GET /1 HTTP/1.1")),
        (
            "close and keep-alive",
            request(b"Connection: keep-alive, close", line=b"GET /1 HTTP/1.1"),
        ),
        ("http-1.0", request(line=b"GET /1 HTTP/1.0")),
        ("http-1.0 close", request(b"Connection: close", line=b"GET /1 HTTP/1.0")),
    ):
        note = "nothing is read after the last request (RFC 9112 §9.6)"
        yield RequestCase(f"last {name}", raw + SMUGGLED, last, note, "exchange")
    many = b"".join(request(line=b"GET /%d HTTP/1.1" % number) for number in range(30))
    seen = tuple(Seen(target=b"/%d" % number) for number in range(30))
    yield RequestCase("pipeline-of-30", many, Forwarded(seen), "in their order", "exchange")


def _never_complete() -> Iterator[RequestCase]:
    head = request(b"X: y")
    for end in (0, 1, 3, 4, 10, 15, 16, 20, len(head) - 4, len(head) - 3, len(head) - 1):
        yield RequestCase(f"cut-at {end}", head[:end], Closed(), "the head never ends")
    yield RequestCase("one-empty-line", b"\r\n", Closed(), "and nothing behind it")
    yield RequestCase("one-cr", b"\r", Closed(), "and nothing behind it")
