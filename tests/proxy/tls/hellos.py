"""ClientHellos for tests: real ones from OpenSSL, and built ones that can be wrong in one place."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Sequence
from itertools import pairwise

from proxy.errors import ClientHelloError
from proxy.tls.client_hello import ClientHello, ClientHelloReader, PlainHttp

SERVER_NAME = 0
ALPN = 16
SIGNATURE_ALGORITHMS = 13
SUPPORTED_VERSIONS = 43

Result = ClientHello | PlainHttp | tuple[str, int] | None
"""An error is compared by its message and alert."""


def real_hello(
    server_name: str | None = "api.example.com",
    alpn: Sequence[str] = (),
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """The first flight of OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = maximum
    if alpn:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a client cannot be done before the server has spoken")


def vector(content: bytes, size: int = 2) -> bytes:
    """A vector with its length in front (RFC 8446 §3.4)."""
    return len(content).to_bytes(size, "big") + content


def host_name(name: bytes) -> bytes:
    return b"\0" + vector(name)


def server_name(*entries: bytes) -> tuple[int, bytes]:
    return SERVER_NAME, vector(b"".join(entries))


def alpn(*names: bytes) -> tuple[int, bytes]:
    return ALPN, vector(b"".join(vector(name, 1) for name in names))


def versions(*numbers: int) -> tuple[int, bytes]:
    return SUPPORTED_VERSIONS, vector(struct.pack(f"!{len(numbers)}H", *numbers), 1)


def signature_algorithms(*numbers: int) -> tuple[int, bytes]:
    return SIGNATURE_ALGORITHMS, vector(struct.pack(f"!{len(numbers)}H", *numbers))


def body(
    *extensions: tuple[int, bytes],
    legacy_version: int = 0x0303,
    session_id: bytes = bytes(32),
    cipher_suites: bytes = b"\x13\x01\x13\x02",
    compression: bytes = b"\0",
    end: bytes = b"",
) -> bytes:
    """A ClientHello without its message header."""
    block = b"".join(struct.pack("!H", kind) + vector(data) for kind, data in extensions)
    return (
        legacy_version.to_bytes(2, "big")
        + bytes(range(32))
        + vector(session_id, 1)
        + vector(cipher_suites)
        + vector(compression, 1)
        + (vector(block) if extensions else b"")
        + end
    )


def message(content: bytes, kind: int = 1) -> bytes:
    return bytes((kind,)) + vector(content, 3)


def record(fragment: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes((kind,)) + version.to_bytes(2, "big") + vector(fragment)


def records(content: bytes, *cuts: int) -> bytes:
    """``content`` in several records, cut at these places."""
    edges = [0, *sorted(cuts), len(content)]
    return b"".join(record(content[start:end]) for start, end in pairwise(edges))


def hello(*extensions: tuple[int, bytes], legacy_version: int = 0x0303) -> bytes:
    """A whole first flight of one record."""
    return record(message(body(*extensions, legacy_version=legacy_version)))


def read(*pieces: bytes) -> Result:
    """What a reader makes of these pieces."""
    reader = ClientHelloReader()
    for piece in pieces:
        try:
            result = reader.receive(piece)
        except ClientHelloError as error:
            return str(error), error.alert
        if result is not None:
            return result
    return None


def read_bytewise(data: bytes) -> Result:
    return read(*(data[i : i + 1] for i in range(len(data))))
