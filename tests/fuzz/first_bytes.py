"""Targets: what is read before and beside HTTP, in any pieces, against a second opinion."""

from __future__ import annotations

import ssl
import struct
from functools import cache
from typing import Final

import trustme

from proxy.errors import ProtocolError
from proxy.http.websocket import FrameTracker
from proxy.proxy_protocol import (
    MAX_BYTES_2,
    SIGNATURE_2,
    Endpoint,
    ProxyHeader,
    build_1,
    build_2,
    parse,
)
from proxy.tls.client_hello import ClientHello, PlainHttp
from tests.fuzz.target import Target, cuts, same
from tests.proxy.tls import hellos

# -- ClientHello ---------------------------------------------------------------------------------


def check_client_hello(data: bytes) -> None:
    """The same result in any pieces; what is accepted has the server name that OpenSSL sees."""
    results = [hellos.read(*pieces) for pieces in cuts(data)]
    same(results, "a ClientHello is read in two ways")
    result = results[0]
    if isinstance(result, ClientHello):
        _agrees_with_openssl(result, data)
    else:
        assert result is None or isinstance(result, tuple | PlainHttp)


def _agrees_with_openssl(hello: ClientHello, data: bytes) -> None:
    """OpenSSL, given the same bytes, names no other server: the context was rightly chosen."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = _server_context().wrap_bio(incoming, outgoing, server_side=True)
    _named.clear()
    incoming.write(data)
    try:
        session.do_handshake()
    except ssl.SSLError:
        pass  # it may refuse for reasons of its own, or want more
    for name in _named:
        assert (name or "").lower().rstrip(".") == (hello.server_name or "").rstrip("."), (
            f"OpenSSL sees the name {name!r}, we {hello.server_name!r}"
        )


_named: list[str | None] = []


def _note_name(session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
    _named.append(name)


@cache
def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("front.test").configure_cert(context)
    context.sni_callback = _note_name
    return context


def _hellos() -> list[bytes]:
    many = hellos.body(
        hellos.server_name(hellos.host_name(b"front.test")),
        hellos.alpn(b"h2", b"http/1.1"),
        hellos.versions(0x0A0A, 0x0304, 0x0303),
        hellos.signature_algorithms(0x0403, 0x0804),
    )
    whole = hellos.message(many)
    return [
        hellos.real_hello(),
        hellos.real_hello(None),
        hellos.real_hello("front.test", ("h2", "http/1.1")),
        hellos.real_hello("front.test", ("acme-tls/1",), ssl.TLSVersion.TLSv1_2),
        hellos.records(whole),
        hellos.records(whole, 1, 4, 5, 40),
        hellos.hello(hellos.server_name(hellos.host_name(b"xn--bcher-kva.example"))),
        hellos.hello(hellos.server_name(hellos.host_name(b"a"), hellos.host_name(b"b"))),
        hellos.hello(legacy_version=0x0302),
        b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]


_HELLO_SCRAPS: Final = (
    *(b"\x16\x03\x01", b"\x16\x03\x03\x00\x01\x01", b"\x15\x03\x01\x00\x02\x02\x28", b"\x01\x00"),
    *(b"\x00\x00", b"\xff\xff", b"\x00\x10\x00\x0b", b"\x00\x2b\x00\x03\x02\x03\x04", b"\0", b"."),
    *(b"front.test", b"\x00\x0e\x00\x0c\x00\x00\x09", b"\x02h2", b"\x08http/1.1", b"\x0a\x0a"),
)

# -- PROXY protocol ------------------------------------------------------------------------------


def _parsed(data: bytes) -> ProxyHeader | str | None:
    try:
        return parse(data)
    except ProtocolError as error:
        return str(error) or "refused"


def check_proxy_header(data: bytes) -> None:
    """The first prefix that is judged has the verdict of all that begins with it."""
    data = data[: MAX_BYTES_2 + 64]
    verdict = _parsed(data)
    position = 0
    for piece in list(cuts(data))[-1]:
        position += len(piece)
        early = _parsed(data[:position])
        if early is not None:
            assert isinstance(early, str) == isinstance(verdict, str), f"{early!r}, {verdict!r}"
            if isinstance(early, ProxyHeader):
                assert early == verdict
                assert early.length <= position
            break
    if isinstance(verdict, ProxyHeader):
        assert parse(data[: verdict.length]) == verdict
        for build in (build_1, build_2):
            made = build(verdict.source, verdict.destination)
            again = parse(made)
            assert again is not None
            assert (again.source, again.destination) == (verdict.source, verdict.destination)
            assert again.length == len(made)


def _proxy_headers() -> list[bytes]:
    four = Endpoint("192.0.2.1", 5678), Endpoint("198.51.100.2", 443)
    six = Endpoint("2001:db8::1", 5678), Endpoint("2001:db8::2", 443)
    made = [build(*ends) for build in (build_1, build_2) for ends in (four, six)]
    made += [build_1(None, None), build_2(None, None), build_2(*four, checksum=True)]
    made += [build_2(*six, checksum=True), b"PROXY UNKNOWN ff 1 2\r\n"]
    unix = SIGNATURE_2 + b"\x21\x31" + struct.pack("!H", 216) + b"/run/a".ljust(108, b"\0") * 2
    return [*made, unix, made[0] + b"\x16\x03\x01", made[2] + b"\x16\x03\x01"]


_PROXY_SCRAPS: Final = (
    *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b"\n", b" ", b"0", b"65535", b"65536"),
    *(b"::ffff:1.2.3.4", b"::1", b"%eth0", b"1.2.3.4", b"01.2.3.4", b"+1", b"\0", SIGNATURE_2),
    *(b"\x20\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x03\x00\x04", b"\x04\x00\x00", b"\xff\xff"),
)

# -- WebSocket frames ----------------------------------------------------------------------------


def check_frames(data: bytes) -> None:
    """The tracker is between two frames where a reader of whole frames is, after every piece."""
    edges = _edges(data)
    for pieces in cuts(data):
        tracker = FrameTracker()
        position = 0
        for piece in pieces:
            tracker.follow(piece)
            position += len(piece)
            assert tracker.between_frames == (position in edges), f"at {position} of {data!r}"


def _edges(data: bytes) -> set[int]:
    """Where frames begin, by RFC 6455 §5.2 read frame by frame."""
    edges = {0}
    position = 0
    while position + 2 <= len(data):
        second = data[position + 1]
        header = 2 + (4 if second > 127 else 0)
        length = second & 127
        wide = {126: 2, 127: 8}.get(length, 0)
        if wide:
            if position + 2 + wide > len(data):
                break
            length = int.from_bytes(data[position + 2 : position + 2 + wide], "big")
        position += header + wide + length
        edges.add(position)
    return edges


def _frames() -> list[bytes]:
    text, masked = b"\x81\x05hello", b"\x81\x85abcd" + bytes(5)
    return [
        text,
        masked,
        text + b"\x89\x00" + text + b"\x88\x02\x03\xe9",
        b"\x82\x7e\x00\x80" + bytes(128) + text,
        b"\x82\x7f" + struct.pack("!Q", 300) + bytes(300) + text,
        b"\x82\xfe\x01\x00abcd" + bytes(256) + masked,
        b"\x01\x00\x00\x03abc\x80\x00",
    ]


_FRAME_SCRAPS: Final = (
    *(b"\x81\x05hello", b"\x88\x02\x03\xe9", b"\x89\x00", b"\x7e\x00\x7e", b"\x7e\xff\xff", b"\0"),
    *(b"\x7f\0\0\0\0\0\0\0\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x82\x7e", b"\x80"),
)

TARGETS: Final = (
    Target("client-hello", check_client_hello, _hellos, _HELLO_SCRAPS),
    Target("proxy-protocol", check_proxy_header, _proxy_headers, _PROXY_SCRAPS),
    Target("websocket-frames", check_frames, _frames, _FRAME_SCRAPS),
)
