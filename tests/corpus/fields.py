"""Header fields: their syntax, the names that matter to a proxy, their number and size."""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.model import LIE, SMUGGLED, Forwarded, RequestCase, Seen, refused, request, show

_CONTROLS = bytes((*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F))

_BAD_LINES = (
    (b"X : y", "space before the colon (RFC 9112 §5.1)"),
    (b"X\t: y", "tab before the colon"),
    (b"X  : y", "spaces before the colon"),
    (b"X: y\r\n z", "obs-fold (RFC 9112 §5.2)"),
    (b"X: y\r\n\tz", "obs-fold with a tab"),
    (b"X: y\r\n \r\n z", "obs-fold twice"),
    (b"X:\r\n y", "obs-fold in an empty value"),
    (b" X: y", "a fold of Host"),
    (b"X", "no colon"),
    (b"X y", "no colon"),
    (b":", "neither name nor value"),
    (b": y", "an empty name"),
    (b" : y", "a space for a name"),
    (b" ", "a line of a space"),
    (b"\t", "a line of a tab"),
    (b"X Y: z", "a space in the name"),
    (b"X: y\nZ: z", "bare LF in the value"),
    (b"X: y\rZ: z", "bare CR in the value"),
    (b"X: y\r\rZ: z", "CR CR in the value"),
    (b"X: y\n", "LF CR LF at the end of a line"),
    (b"X: y\r", "CR CR LF at the end of a line"),
    (b"\nX: y", "a bare LF before the name"),
    (b"\rX: y", "a bare CR before the name"),
    (b"X: y\n\n" + SMUGGLED, "two bare LFs end the head for some"),
    (b"X: y\n\r\n" + SMUGGLED, "LF CRLF ends the head for some"),
    (b"\xef\xbb\xbfX: y", "a byte order mark"),
    (b"X\xff: y", "obs-text in the name"),
    (b"X\xc3\xa9: y", "UTF-8 in the name"),
)

_GOOD_LINES = (
    (b"X-Empty:", b"x-empty", b""),
    (b"X-Empty: ", b"x-empty", b""),
    (b"X-Empty:\t \t", b"x-empty", b""),
    (b"X-Tight:y", b"x-tight", b"y"),
    (b"X-Wide: \t y \t ", b"x-wide", b"y"),
    (b"X-Tab: a\tb", b"x-tab", b"a\tb"),
    (b"X-Spaces: a   b", b"x-spaces", b"a   b"),
    (b"X-Colon: a:b: c", b"x-colon", b"a:b: c"),
    (b"X-Colons::::", b"x-colons", b":::"),
    (b'X-Quotes: "a, b" \'c', b"x-quotes", b'"a, b" \'c'),
    (b"X-Latin: \xe4\xf6\xfc", b"x-latin", b"\xe4\xf6\xfc"),
    (b"X-Utf-8: \xe2\x82\xac", b"x-utf-8", b"\xe2\x82\xac"),
    (b"X-Obs: \x80\xff", b"x-obs", b"\x80\xff"),
    (b"X-Visible: !#$%&'()*+,-./;<=>?@[\\]^_`{|}~", b"x-visible", None),
    (b"X-Request: GET /smuggled HTTP/1.1", b"x-request", b"GET /smuggled HTTP/1.1"),
    (b"x-lower: y", b"x-lower", b"y"),
    (b"X-UPPER: y", b"x-upper", b"y"),
    (b"0: y", b"0", b"y"),
    (b"X_Custom: y", b"x_custom", b"y"),
    (b"X.Custom: y", b"x.custom", b"y"),
    (b"!#$%&'*+^`|~: y", b"!#$%&'*+^`|~", b"y"),
    (b"X-Long: " + b"a" * 7900, b"x-long", b"a" * 7900),
    (b'Cookie: a=b; c="d"; e=%00', b"cookie", b'a=b; c="d"; e=%00'),
    (b"Authorization: Bearer abc", b"authorization", b"Bearer abc"),
    (b"Range: bytes=0-1,2-3", b"range", b"bytes=0-1,2-3"),
)

_FORGED = (
    b"X-Forwarded-For: 6.6.6.6",
    b"X-Forwarded-For: 6.6.6.6, 127.0.0.1",
    b"x-forwarded-for: 6.6.6.6",
    b"X-Forwarded-For:6.6.6.6\r\nX-Forwarded-For: 6.6.6.6",
    b"X-Forwarded-Host: 6.6.6.6",
    b"X-Forwarded-Proto: 6.6.6.6",
    b"X-Forwarded-Port: 6.6.6.6",
    b"X-Forwarded-Prefix: /6.6.6.6",
    b"X-Forwarded-Server: 6.6.6.6",
    b"X-Real-IP: 6.6.6.6",
    b"Forwarded: for=6.6.6.6;proto=http;host=6.6.6.6",
)

_ALIASED = (
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"X-Real-IP",
    b"Content-Length",
    b"Transfer-Encoding",
)

_SET_BY_US = (b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip", b"host")

_BAD_HOSTS = (
    b"",
    b" ",
    b"front.test, evil.test",
    b"front.test,evil.test",
    b"front.test evil.test",
    b"front.test\tevil.test",
    b"user@front.test",
    b"user:password@front.test",
    b"front.test@evil.test",
    b"http://front.test",
    b"front.test/",
    b"front.test/path",
    b"front.test?a",
    b"front.test#a",
    b"front.test\\evil.test",
    b"front.test:x",
    b"front.test:-1",
    b"front.test:+443",
    b"front.test:99999",
    b"front.test:65536",
    b"front.test:443:443",
    b"front.test:443x",
    b"front.test: 443",
    b":443",
    b".",
    b"[::1",
    b"::1",
    b"[::1]x",
    b"[]",
    b"[front.test]",
    b"front.test%00",
    b"front%2etest",
    b"front.test\x00",
    b"front.test\x0b",
    b"front.test\x7f",
    b"front\xff.test",
    b"fr\xc3\xb6nt.test",
    b"front.test;evil",
    b"front.test'",
    b'"front.test"',
    b"<front.test>",
    b"*.test",
    b"front.test\r\n .evil.test",
    b"a" * 300,
)

_GOOD_HOSTS = (b"front.test", b"FRONT.TEST", b"Front.Test:443", b"front.test:8443", b"front.test:")


def cases() -> Iterator[RequestCase]:
    """All cases of this family."""
    yield from _syntax()
    yield from _forwarded()
    yield from _hop_by_hop()
    yield from _host()
    yield from _expect()
    yield from _upgrade()
    yield from _sizes()


def _syntax() -> Iterator[RequestCase]:
    for line, note in _BAD_LINES:
        yield RequestCase(f"field {show(line)}", request(line), refused(), note)
    for control in _CONTROLS:
        byte = bytes([control])
        raw = request(b"X: a" + byte + b"b")
        yield RequestCase(f"value-with {show(byte)}", raw, refused(), "RFC 9110 §5.5")
        raw = request(b"X" + byte + b"Y: z")
        yield RequestCase(f"name-with {show(byte)}", raw, refused(), "RFC 9110 §5.1")
    for byte in (b"(", b")", b",", b"/", b";", b"<", b"=", b">", b"?", b"@", b"[", b"\\", b"]"):
        raw = request(b"X" + byte + b"Y: z")
        yield RequestCase(f"name-with {show(byte)}", raw, refused(), "RFC 9110 §5.1")
    for byte in (b"{", b"}", b'"', b"\x80", b"\xff"):
        raw = request(b"X" + byte + b"Y: z")
        yield RequestCase(f"name-with {show(byte)}", raw, refused(), "RFC 9110 §5.1")
    for line, name, value in _GOOD_LINES:
        expected = line.partition(b":")[2].strip(b" \t") if value is None else value
        seen = Seen(present=((name, expected),))
        yield RequestCase(f"field {show(line)}", request(line), Forwarded((seen,)), "unchanged")
    raw = request(b"X-Twice: a", b"X-Other: b", b"X-Twice: c")
    seen = Seen(present=((b"x-twice", b"a"), (b"x-twice", b"c"), (b"x-other", b"b")))
    yield RequestCase("field-twice", raw, Forwarded((seen,)), "both, in their order")


def _forwarded() -> Iterator[RequestCase]:
    for line in _FORGED:
        seen = Seen(named=_SET_BY_US, absent=(b"forwarded",), never=(LIE,))
        yield RequestCase(
            f"forged {show(line)}", request(line), Forwarded((seen,)), "the peer is not trusted"
        )
    for name in _ALIASED:
        for alias in (
            name.replace(b"-", b"_"),
            name.replace(b"-", b"."),
            name.replace(b"-", b"_", 1),
            name.lower().replace(b"-", b"_"),
        ):
            if alias != name.replace(b"-", b"_", 1) or name.count(b"-") > 1:
                yield _alias(alias)
        if name.count(b"-") == 1:
            yield _alias(name.replace(b"-", b"_"))


def _alias(alias: bytes) -> RequestCase:
    raw = request(alias + b": " + LIE)
    return RequestCase(f"alias {show(alias)}", raw, refused(), "CGI and WSGI fold these into ours")


def _hop_by_hop() -> Iterator[RequestCase]:
    for name in (
        *(b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port"),
        *(b"X-Real-IP", b"Host", b"x-forwarded-for", b"Via"),
    ):
        raw = request(b"Connection: keep-alive, " + name, name + b": " + LIE)
        if name == b"Host":
            raw = request(b"Connection: keep-alive, Host")
        seen = Seen(named=_SET_BY_US, never=(LIE,))
        yield RequestCase(
            f"connection-names {show(name)}", raw, Forwarded((seen,)), "ours are set after"
        )
    raw = request(
        b"Connection: Content-Length", b"Content-Length: 5", line=b"POST / HTTP/1.1", body=b"hello"
    )
    seen = Seen(method=b"POST", body=b"hello")
    yield RequestCase("connection-names-framing", raw, Forwarded((seen,)), "framing is ours")
    raw = request(
        b"Connection: Transfer-Encoding",
        b"Transfer-Encoding: chunked",
        line=b"POST / HTTP/1.1",
        body=b"5\r\nhello\r\n0\r\n\r\n",
    )
    yield RequestCase("connection-names-coding", raw, Forwarded((seen,)), "framing is ours")
    raw = request(b"Connection: X-Secret, x-other", b"X-Secret: a", b"X-Other: b", b"X-Third: c")
    seen = Seen(absent=(b"x-secret", b"x-other"), present=((b"x-third", b"c"),))
    yield RequestCase("connection-nominates", raw, Forwarded((seen,)), "RFC 9110 §7.6.1")
    for name in (
        *(b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization", b"Proxy-Authenticate"),
        *(b"TE", b"Trailer", b"HTTP2-Settings"),
    ):
        seen = Seen(absent=(name.lower(),))
        raw = request(name + b": trailers")
        yield RequestCase(f"hop-by-hop {show(name)}", raw, Forwarded((seen,)), "RFC 9110 §7.6.1")
    for value in (b"keep-alive", b"Keep-Alive", b"", b",", b" , ,keep-alive"):
        raw = request(b"Connection: " + value)
        yield RequestCase(f"connection {show(value)}", raw, Forwarded((Seen(),)), "any list")


def _host() -> Iterator[RequestCase]:
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        raw = b"GET / " + version + b"\r\nX: y\r\n\r\n"
        yield RequestCase(f"host-missing {show(version)}", raw, refused(), "RFC 9112 §3.2")
        raw = b"GET / " + version + b"\r\n\r\n"
        yield RequestCase(f"no-fields {show(version)}", raw, refused(), "RFC 9112 §3.2")
    for second in (b"Host: front.test", b"host: front.test", b"HOST: evil.test", b"Host:"):
        raw = request(second)
        yield RequestCase(f"host-twice {show(second)}", raw, refused(), "RFC 9112 §3.2")
    for line in (b"Host : front.test", b" Host: front.test", b"Host\x00: front.test", b"Host"):
        raw = b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n"
        yield RequestCase(f"host-line {show(line)}", raw, refused(), "RFC 9112 §5.1")
    for host in _BAD_HOSTS:
        raw = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        yield RequestCase(f"host {show(host)}", raw, refused(), "RFC 9110 §7.2")
    for host in _GOOD_HOSTS:
        raw = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        seen = Forwarded((Seen(present=((b"host", host),)),))
        yield RequestCase(f"host {show(host)}", raw, seen, "verbatim")
    for host in (b"other.test", b"sub.front.test", b"front.test.other", b"127.0.0.1", b"[::1]"):
        raw = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        yield RequestCase(f"host-of-another {show(host)}", raw, refused(421), "", "exchange")


def _expect() -> Iterator[RequestCase]:
    hello = Forwarded((Seen(method=b"POST", body=b"hello", absent=(b"expect",)),))
    for value in (b"100-continue", b"100-Continue"):
        raw = request(
            b"Expect: " + value, b"Content-Length: 5", line=b"POST / HTTP/1.1", body=b"hello"
        )
        yield RequestCase(f"expect {show(value)}", raw, hello, "RFC 9110 §10.1.1")
    raw = request(b"Expect: 100-continue")
    yield RequestCase("expect without a body", raw, Forwarded((Seen(absent=(b"expect",)),)))
    for value in (b"200-ok", b"100", b"continue", b"100-continue, x", b"100-continuex", b"x=y"):
        raw = request(
            b"Expect: " + value, b"Content-Length: 5", line=b"POST / HTTP/1.1", body=b"hello"
        )
        yield RequestCase(f"expect {show(value)}", raw, refused(417), "RFC 9110 §15.5.18")
    raw = request(b"Expect: \x0b100-continue")
    yield RequestCase("expect with a control", raw, refused(), "RFC 9110 §5.5")


def _upgrade() -> Iterator[RequestCase]:
    key = (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13")
    stripped = (b"upgrade", b"http2-settings")
    for line, lines in (
        (b"GET / HTTP/1.1", (b"Connection: Upgrade", b"Upgrade: h2c")),
        (
            b"GET / HTTP/1.1",
            (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        ),
        (b"GET / HTTP/1.1", (b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")),
        (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade: TLS/1.0")),
        (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade: foo")),
        (b"GET / HTTP/1.1", (b"Connection: upgrade", b"Upgrade:")),
        (b"GET / HTTP/1.1", (b"Connection: upgrade",)),
        (b"GET / HTTP/1.1", (*key, b"Upgrade: websocket")),
        (b"GET / HTTP/1.1", (*key, b"Connection: upgrade", b"Upgrade: websocket, h2c")),
        (b"GET / HTTP/1.0", (*key, b"Connection: upgrade", b"Upgrade: websocket")),
        (b"PUT / HTTP/1.1", (*key, b"Connection: upgrade", b"Upgrade: websocket")),
    ):
        seen = Seen(method=line.partition(b" ")[0], absent=stripped)
        version = line.rpartition(b"/")[2].decode()
        name = f"upgrade {show(lines[-1])} of {len(lines)} {seen.method.decode()} {version}"
        yield RequestCase(name, request(*lines, line=line), Forwarded((seen,)), "stripped")
    raw = request(*key, b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")
    seen = Seen(present=((b"upgrade", b"websocket"),), named=(b"connection",))
    yield RequestCase("websocket", raw, Forwarded((seen,)), "RFC 6455 §4.1", "exchange")
    # The backend answers 200: whatever follows was never meant for a tunnel.
    verdict = Forwarded((seen, Seen(target=b"/smuggled")), least=1)
    yield RequestCase("websocket-then-request", raw + SMUGGLED, verdict, "no tunnel", "exchange")


def _sizes() -> Iterator[RequestCase]:
    yield RequestCase("fields-90", request(*(b"X: y",) * 89), Forwarded((Seen(),)), "up to 100")
    for count in (101, 150, 1000):
        raw = request(*(b"X: y",) * (count - 1))
        yield RequestCase(f"fields-{count}", raw, refused(431), "RFC 6585 §5")
    for size in (9_000, 20_000):
        raw = request(b"X: " + b"a" * size)
        yield RequestCase(f"field-value-of-{size}", raw, refused(431), "RFC 6585 §5")
        raw = request(b"X" * size + b": a")
        yield RequestCase(f"field-name-of-{size}", raw, refused(431), "RFC 6585 §5")
    raw = request(*(b"X: " + b"a" * 7000,) * 4)
    yield RequestCase("head-of-28000", raw, Forwarded((Seen(),)), "up to 32 KiB")
    for count in (5, 20):
        raw = request(*(b"X: " + b"a" * 7000,) * count)
        yield RequestCase(f"head-of-{count}x7000", raw, refused(431), "RFC 6585 §5")
