"""The request line: method, target, version, and the bytes between and before them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.model import Closed, Forwarded, RequestCase, Seen, refused, request, show

_METHODS = (
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"PROPFIND",
    b"REPORT",
    b"QUERY",
    b"PURGE",
    b"M-SEARCH",
    b"get",
    b"Get",
    b"X",
    b"!#$%&'*+-.^_`|~09Az",
)

_BAD_METHODS = (
    b"",
    b"G(T",
    b"G)T",
    b"G,T",
    b"G/T",
    b"G:T",
    b"G;T",
    b"G<T",
    b"G=T",
    b"G>T",
    b"G?T",
    b"G@T",
    b"G[T",
    b"G\\T",
    b"G{T",
    b"G}T",
    b'"GET"',
    b"G\x00T",
    b"\x00GET",
    b"G\x7fT",
    b"G\xc3\x89T",
    b"\xefGET",
    b"\xef\xbb\xbfGET",
    b"\x16\x03\x01GET",
)

# The target's bytes go to the backend unchanged: normalising is how front and back disagree.
_TARGETS = (
    b"/",
    b"//",
    b"///",
    b"//evil.test/x",
    b"/a//b",
    b"/./a",
    b"/../a",
    b"/a/../../etc/passwd",
    b"/a/..;/b",
    b"/%2e%2e/%2e%2e/",
    b"/%2F%2f",
    b"/%5c",
    b"/a%20b",
    b"/a+b",
    b"/%0d%0aX:%20y",
    b"/%2500",
    b"/%",
    b"/%zz",
    b"/%c0%af",
    b"/%E2%82%AC",
    b"/?",
    b"/?a=b&c=d",
    b"/?a?b/c",
    b"/?//evil.test",
    b"/a;b=c",
    b"/a:b@c",
    b"/:80",
    b"/a,b'c!d$e(f)*",
    b"/*",
    b"/~user",
    b"/{a}|b^c`d",
    b'/"<a>"',
    b"/[::1]",
    b"/http://evil.test/",
    b"/?url=http://evil.test/",
)

_BAD_TARGETS = (
    b"#",
    b"/#",
    b"/a#b",
    b"/?a#b",
    b"\\",
    b"/\\",
    b"/a\\b",
    b"/\\evil.test",
    b"\\\\evil.test",
    b"/%00",
    b"/a%00b",
    b"/?a=%00",
    b"a",
    b"index.html",
    b"?a",
    b"?",
    b"../a",
    b".",
    b"@evil.test",
    b"@evil.test/",
    b":80",
    b":@front.test/",
    b"*",
    b"*/",
    b"**",
    b"*?a",
    b"/\x00",
    b"/\x01",
    b"/\x08",
    b"/\x0b",
    b"/\x0c",
    b"/\x1b[2J",
    b"/\x1f",
    b"/\x7f",
    b"/\x80",
    b"/\x85",
    b"/\xa0",
    b"/\xff",
    b"/\xc3\xa9",
    b"/\xe2\x80\xa8",
    b"/a\tb",
    b"/a\rb",
    b"/a\nb",
    b"/a b",
    b"front.test",
    b"front.test:443",
    b"front.test/",
)

_ABSOLUTE = (
    (b"http://front.test/", b"/"),
    (b"https://front.test/a?b=c", b"/a?b=c"),
    (b"HTTP://front.test/a", b"/a"),
    (b"http://FRONT.TEST/a", b"/a"),
    (b"http://front.test", b"/"),
    (b"http://front.test?a=b", b"/?a=b"),
    (b"http://front.test//a", b"//a"),
    (b"http://front.test/http://evil.test/", b"/http://evil.test/"),
)

_BAD_ABSOLUTE = (
    b"http://evil.test/",
    b"https://evil.test",
    b"http://front.test.evil.test/",
    b"http://front.test@evil.test/",
    b"http://user@front.test/",
    b"http://user:password@front.test/",
    b"http://front.test:80/",
    b"https://front.test:443/",
    b"http://front.test:/",
    b"http://front.test./",
    b"http://front.test#a",
    b"http://front.test/a#b",
    b"http://front.test\\@evil.test/",
    b"http://front.test%00/",
    b"http://front.test\x00/",
    b"http://[::1]/",
    b"http://[front.test]/",
    b"http:///",
    b"http://",
    b"http:/front.test/",
    b"http:front.test",
    b"http:",
    b"ftp://front.test/",
    b"ws://front.test/",
    b"file:///etc/passwd",
    b"javascript:alert(1)",
    b"httpx://front.test/",
    b"//@front.test\\a",
)

_BAD_VERSIONS = (
    b"HTTP/1",
    b"HTTP/11",
    b"HTTP/1.",
    b"HTTP/.1",
    b"HTTP/1.10",
    b"HTTP/1.01",
    b"HTTP/01.1",
    b"HTTP/1,1",
    b"HTTP/1.1.1",
    b"HTTP/ 1.1",
    b"HTTP /1.1",
    b"HTTP/+1.1",
    b"HTTP/-1.1",
    b"HTTP/1.1x",
    b"HTTP/1.1,",
    b"HTTP/1.x",
    b"HTTP/x.1",
    b"HTTP/1.\xb2",
    b"HTTP/1.1\x00",
    b"HTTP\x00/1.1",
    b"http/1.1",
    b"Http/1.1",
    b"HTP/1.1",
    b"HTTPS/1.1",
    b"RTSP/1.0",
    b"ICY/1.0",
    b"HTTP\\1.1",
    b"HTTP-1.1",
)

_OTHER_VERSIONS = (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9")

_BAD_LINES = (
    (b"GET /\r\n", "HTTP/0.9"),
    (b"GET\r\n", "no target"),
    (b"GET HTTP/1.1\r\n", "no target"),
    (b"GET  HTTP/1.1\r\n", "an empty target"),
    (b"/ HTTP/1.1\r\n", "no method"),
    (b" GET / HTTP/1.1\r\n", "a space first"),
    (b"\tGET / HTTP/1.1\r\n", "a tab first"),
    (b"GET  / HTTP/1.1\r\n", "two spaces"),
    (b"GET /  HTTP/1.1\r\n", "two spaces"),
    (b"GET / HTTP/1.1 \r\n", "a space last"),
    (b"GET / HTTP/1.1\t\r\n", "a tab last"),
    (b"GET / / HTTP/1.1\r\n", "two targets"),
    (b"GET / HTTP/1.1 HTTP/1.1\r\n", "two versions"),
    (b"GET\t/\tHTTP/1.1\r\n", "tabs for spaces"),
    (b"GET\t/ HTTP/1.1\r\n", "a tab for the first space"),
    (b"GET /\tHTTP/1.1\r\n", "a tab for the second space"),
    (b"GET\x0b/ HTTP/1.1\r\n", "a vertical tab for a space"),
    (b"GET /\x0cHTTP/1.1\r\n", "a form feed for a space"),
    (b"GET\xa0/\xa0HTTP/1.1\r\n", "no-break spaces"),
    (b"GET\r/ HTTP/1.1\r\n", "CR for a space"),
    (b"GET\n/ HTTP/1.1\r\n", "LF for a space"),
    (b"GET / HTTP/1.1\r\r\n", "CR CR LF"),
    (b"GET / HTTP/1.1\n", "bare LF"),
    (b"GET / HTTP/1.1\r", "bare CR"),
    (b"GET / HTTP/1.1\n\r", "LF CR"),
    (b"GET / HTTP/1.1\x00\r\n", "NUL last"),
    (b"\nGET / HTTP/1.1\r\n", "a bare LF first"),
    (b"\rGET / HTTP/1.1\r\n", "a bare CR first"),
    (b"\r\r\nGET / HTTP/1.1\r\n", "CR CR LF first"),
    (b"\r\n\r\nGET / HTTP/1.1\r\n", "two empty lines first"),
    (b"\r\n \r\nGET / HTTP/1.1\r\n", "a line of a space first"),
    (b"\x00GET / HTTP/1.1\r\n", "NUL first"),
    (b"HTTP/1.1 200 OK\r\n", "a status line"),
    (b"HELO front.test\r\n", "SMTP"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    (b"*1\r\n$4\r\nPING\r\n", "Redis"),
    (b"\x00\x00\x00\x01\x00\r\n", "binary"),
)


def cases() -> Iterator[RequestCase]:
    """All cases of this family."""
    yield from _methods()
    yield from _targets()
    yield from _versions()
    yield from _lines()


def _methods() -> Iterator[RequestCase]:
    for method in _METHODS:
        raw = request(line=method + b" / HTTP/1.1")
        seen = Forwarded((Seen(method=method),))
        yield RequestCase(f"method {show(method)}", raw, seen, "any token; case-sensitive")
    for method in _BAD_METHODS:
        raw = request(line=method + b" / HTTP/1.1")
        yield RequestCase(f"method {show(method)}", raw, refused(), "no token (RFC 9110 §9.1)")
    for length in (300, 3000):
        raw = request(line=b"M" * length + b" / HTTP/1.1")
        verdict = refused(400, 414, 431, 501)
        yield RequestCase(f"method-of-{length}", raw, verdict, "no method is so long")
    for line, lines in (
        (b"CONNECT front.test:443 HTTP/1.1", ()),
        (b"CONNECT evil.test:25 HTTP/1.1", ()),
        (b"CONNECT / HTTP/1.1", ()),
        (b"CONNECT http://front.test/ HTTP/1.1", ()),
        (b"TRACE / HTTP/1.1", ()),
        (b"TRACE / HTTP/1.1", (b"Max-Forwards: 0", b"Cookie: a=b")),
        (b"TRACE http://front.test/ HTTP/1.1", ()),
    ):
        raw = request(*lines, line=line)
        name = f"not-allowed {show(line)}{' with fields' if lines else ''}"
        yield RequestCase(name, raw, refused(405), "CONNECT and TRACE", "exchange")


def _targets() -> Iterator[RequestCase]:
    for target in _TARGETS:
        raw = request(line=b"GET " + target + b" HTTP/1.1")
        seen = Forwarded((Seen(target=target),))
        yield RequestCase(f"target {show(target)}", raw, seen, "bytes unchanged")
    for target in _BAD_TARGETS:
        raw = request(line=b"GET " + target + b" HTTP/1.1")
        yield RequestCase(f"target {show(target)}", raw, refused(), "RFC 9112 §3.2")
    for target, origin in _ABSOLUTE:
        raw = request(line=b"GET " + target + b" HTTP/1.1")
        seen = Forwarded((Seen(target=origin, present=((b"host", b"front.test"),)),))
        yield RequestCase(f"absolute {show(target)}", raw, seen, "sent on in origin-form")
    for target in _BAD_ABSOLUTE:
        raw = request(line=b"GET " + target + b" HTTP/1.1")
        yield RequestCase(f"absolute {show(target)}", raw, refused(), "not what Host says")
    raw = request(line=b"OPTIONS * HTTP/1.1")
    seen = Forwarded((Seen(method=b"OPTIONS", target=b"*"),))
    yield RequestCase("options-asterisk", raw, seen, "RFC 9112 §3.2.4")
    for method in (b"POST", b"HEAD", b"options"):
        raw = request(line=method + b" * HTTP/1.1")
        yield RequestCase(f"asterisk {show(method)}", raw, refused(), "OPTIONS only")
    for length in (1000, 8000):
        target = b"/" + b"a" * length
        raw = request(line=b"GET " + target + b" HTTP/1.1")
        yield RequestCase(f"target-of-{length}", raw, Forwarded((Seen(target=target),)))
    for length in (9_000, 30_000, 100_000):
        raw = request(line=b"GET /" + b"a" * length + b" HTTP/1.1")
        # Past the limit of the whole head it may be judged before its line has come to an end.
        verdict = refused(414) if length < 10_000 else refused(414, 431)
        yield RequestCase(f"target-of-{length}", raw, verdict, "RFC 9110 §15.5.15")


def _versions() -> Iterator[RequestCase]:
    raw = request(line=b"GET / HTTP/1.0")
    yield RequestCase("version HTTP/1.0", raw, Forwarded((Seen(),)), "Host is there")
    for version in _BAD_VERSIONS:
        raw = request(line=b"GET / " + version)
        verdict = refused(400, 505)
        yield RequestCase(f"version {show(version)}", raw, verdict, "RFC 9112 §2.3")
    for version in _OTHER_VERSIONS:
        raw = request(line=b"GET / " + version)
        verdict = refused(400, 505)
        yield RequestCase(f"version {show(version)}", raw, verdict, "RFC 9110 §15.6.6")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    verdict = refused(400, 505)
    yield RequestCase("http2-preface", preface, verdict, "HTTP/2 without ALPN h2")


def _lines() -> Iterator[RequestCase]:
    for line, note in _BAD_LINES:
        raw = line + b"Host: front.test\r\n\r\n"
        yield RequestCase(f"line {show(line)}", raw, refused(400, 405, 505), note)
    raw = b"\r\n" + request()
    yield RequestCase("one-empty-line-first", raw, Forwarded((Seen(),)), "RFC 9112 §2.2")
    raw = request().replace(b"\r\n", b"\n")
    yield RequestCase("all-bare-lf", raw, Closed(), "a head without any CRLF never ends")
    raw = request().replace(b"\r\n", b"\r")
    yield RequestCase("all-bare-cr", raw + b"\r\n\r\n", refused(), "bare CR is no line end")
