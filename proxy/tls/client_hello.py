"""The ClientHello, read from the first bytes of a connection before any TLS object exists.

The certificate, the client-certificate rule and the answer to a challenge all hang on the server
name and the ALPN list. OpenSSL could tell the name in a callback, but a context swapped in there
applies neither ``verify_mode`` nor ALPN, and lets sessions of one site resume at another. So the
hello is read here, the context is chosen, and the same bytes then go to OpenSSL from the start.

What arrives is a stream: the hello may be cut at any byte (TCP), spread over several records, and
over several fragments within them (RFC 8446 §5.1). :class:`ClientHelloReader` puts it together::

    receive(data) -> None            more is needed
                  -> ClientHello     choose a context, replay ``received`` into its session
                  -> PLAIN_HTTP      someone speaks HTTP to the HTTPS port
                  raises ClientHelloError, with the alert to send

Each check looks only at bytes that precede what the next one looks at, and is made in that order,
so any way of cutting the stream ends in the same result. Each received byte is copied once into
one buffer; the message is parsed once, when it is complete.

Only what the choice needs is read and checked strictly; the rest is OpenSSL's to judge, which sees
every byte. Unknown extensions, versions and protocols are passed over, among them the GREASE
values (RFC 8701) that clients send to see that we do.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.errors import ClientHelloError
from proxy.limits import CLIENT_HELLO_BYTES, TLS_RECORD_BYTES
from proxy.tls.alerts import Alert
from proxy.tls.key_exchange import refuse_finite_fields
from proxy.tls.names import is_host_name

TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4

_SERVER_NAME: Final = 0
_SUPPORTED_GROUPS: Final = 10
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SUPPORTED_VERSIONS: Final = 43
_KEY_SHARE: Final = 51

_HOST_NAME: Final = 0  # the only NameType there is (RFC 6066 §3)

_record = struct.Struct("!BHH").unpack_from
_extension = struct.Struct("!HH").unpack_from


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client offers, as far as the choice of a context needs it."""

    server_name: str | None
    """In normal form; None when the client names no server."""
    alpn: tuple[bytes, ...]
    """In the client's order; empty when it does not negotiate a protocol."""
    versions: tuple[int, ...]
    """As offered, GREASE values included; at least one of them is TLS 1.2 or 1.3."""
    signature_algorithms: tuple[int, ...]
    session_id: bytes


@dataclass(frozen=True, slots=True)
class PlainHttp:
    """The client speaks HTTP without TLS."""


PLAIN_HTTP: Final = PlainHttp()


class ClientHelloReader:
    """Reads one connection up to the end of its ClientHello."""

    __slots__ = ("received", "_next_record", "_message")

    def __init__(self) -> None:
        self.received = bytearray()
        """Everything so far, to be replayed into the TLS session."""
        self._next_record = 0
        self._message = bytearray()  # the handshake fragments of all complete records

    def __repr__(self) -> str:
        return f"<ClientHelloReader {len(self.received)} bytes>"

    def receive(self, data: bytes | bytearray | memoryview) -> ClientHello | PlainHttp | None:
        """Take the next bytes of the connection; the result, or None while more is needed."""
        received = self.received
        received += data
        while True:
            start = self._next_record
            if not start and received and received[0] != _HANDSHAKE:
                return _no_handshake(received)
            if len(received) < start + _RECORD_HEADER:
                return None
            kind, version, length = _record(received, start)
            end = start + _RECORD_HEADER + length
            _check_record(kind, version, length, end)
            if len(received) < end:
                return None
            self._next_record = end
            self._message += received[start + _RECORD_HEADER : end]
            hello = _read_message(self._message)
            if hello is not None:
                return hello


def select_alpn(hello: ClientHello, supported: Sequence[str]) -> str | None:
    """The protocol to be spoken, the first of ``supported`` that the client offers too.

    None when the client does not negotiate. To be called before a session is made: OpenSSL as
    Python sets it up would go on without a protocol where there is none in common, and a
    cross-protocol attack (ALPACA) lives on that.
    """
    if not hello.alpn:
        return None
    for name in supported:
        if name.encode("ascii") in hello.alpn:
            return name
    # RFC 7301 §3.2
    raise ClientHelloError(
        f"the client offers only {_protocols(hello.alpn)}; spoken here: {', '.join(supported)}",
        Alert.NO_APPLICATION_PROTOCOL,
    )


def _protocols(names: tuple[bytes, ...]) -> str:
    shown = ", ".join(repr(name)[1:] for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _no_handshake(received: bytearray) -> PlainHttp | None:
    """Say what the first bytes are that are no handshake record."""
    first = received[0]
    # Methods are upper-case letters (RFC 9110 §9.1), content types and lengths of SSLv2 are not.
    if 0x41 <= first <= 0x5A:
        return PLAIN_HTTP
    if first & 0x80:
        # An SSLv2 record has its length in the first two bytes, then 1 for CLIENT-HELLO.
        if len(received) < 3:
            return None
        if received[2] == _CLIENT_HELLO:
            # RFC 8446 appendix E.5 and RFC 6176: not even to negotiate something newer.
            raise ClientHelloError("a ClientHello of SSL 2.0", Alert.PROTOCOL_VERSION)
    raise ClientHelloError(
        f"the first byte is {first:#04x}: neither TLS nor HTTP", Alert.UNEXPECTED_MESSAGE
    )


def _check_record(kind: int, version: int, length: int, end: int) -> None:
    if kind != _HANDSHAKE:
        # RFC 8446 §5: nothing may come between the records of a handshake message.
        raise ClientHelloError(
            f"a record of type {kind} inside the ClientHello", Alert.UNEXPECTED_MESSAGE
        )
    if version >> 8 != 3:
        # RFC 8446 §5.1 has the version ignored; but 3 is the major number of all SSL and TLS.
        raise ClientHelloError(
            f"the record version {version:#06x} is not TLS", Alert.PROTOCOL_VERSION
        )
    if not length:
        # RFC 8446 §5.1: no zero-length fragments of handshake types.
        raise ClientHelloError("an empty handshake record", Alert.UNEXPECTED_MESSAGE)
    if length > TLS_RECORD_BYTES:
        raise ClientHelloError(f"a record of {length} bytes", Alert.RECORD_OVERFLOW)
    if end > CLIENT_HELLO_BYTES:
        raise _too_long()


def _too_long() -> ClientHelloError:
    # What OpenSSL sends for a message over its limit.
    return ClientHelloError(
        f"a ClientHello of over {CLIENT_HELLO_BYTES} bytes", Alert.ILLEGAL_PARAMETER
    )


def _read_message(message: bytearray) -> ClientHello | None:
    """The hello, once ``message`` is whole (RFC 8446 §4)."""
    if message[0] != _CLIENT_HELLO:
        raise ClientHelloError(
            f"a handshake message of type {message[0]} before the ClientHello",
            Alert.UNEXPECTED_MESSAGE,
        )
    if len(message) < _MESSAGE_HEADER:
        return None
    end = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
    if end > CLIENT_HELLO_BYTES:
        raise _too_long()
    if len(message) < end:
        return None
    if len(message) > end:
        # RFC 8446 §5.1: a message before a key change ends its record.
        raise ClientHelloError("bytes after the ClientHello", Alert.UNEXPECTED_MESSAGE)
    return parse_client_hello(bytes(message)[_MESSAGE_HEADER:])


def parse_client_hello(body: bytes) -> ClientHello:
    """Parse the body of a ClientHello message (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2)."""
    try:
        session_id, extensions = _split(body)
        hello = ClientHello(
            _server_name(extensions.get(_SERVER_NAME)),
            _alpn(extensions.get(_ALPN)),
            _versions(extensions.get(_SUPPORTED_VERSIONS), body),
            _signature_algorithms(extensions.get(_SIGNATURE_ALGORITHMS)),
            session_id,
        )
        if TLS_1_3 in hello.versions:
            refuse_finite_fields(extensions.get(_SUPPORTED_GROUPS), extensions.get(_KEY_SHARE))
    except (IndexError, struct.error):
        # A length that points past the end.
        raise _undecodable("it ends too early") from None
    if TLS_1_3 not in hello.versions and TLS_1_2 not in hello.versions:
        raise ClientHelloError("the client offers nothing above TLS 1.1", Alert.PROTOCOL_VERSION)
    return hello


def _undecodable(what: str) -> ClientHelloError:
    return ClientHelloError(f"malformed ClientHello: {what}", Alert.DECODE_ERROR)


def _split(body: bytes) -> tuple[bytes, dict[int, bytes]]:
    """The session id, and the extensions by type."""
    size = len(body)
    # legacy_version, random, then legacy_session_id<0..32>
    at = 35 + body[34]
    session_id = body[35:at]
    if len(session_id) > 32:
        raise _undecodable("the session id is longer than 32 bytes")
    # cipher_suites<2..2^16-2>
    length = body[at] << 8 | body[at + 1]
    if not length or length & 1:
        raise _undecodable("the cipher suites are no list")
    at += 2 + length
    # legacy_compression_methods<1..2^8-1>
    length = body[at]
    methods = body[at + 1 : at + 1 + length]
    at += 1 + length
    if not length or at > size:
        raise _undecodable("the compression methods are no list")
    if 0 not in methods:
        # RFC 8446 §4.1.2
        raise ClientHelloError("no null compression offered", Alert.ILLEGAL_PARAMETER)
    extensions: dict[int, bytes] = {}
    if at == size:
        # RFC 5246 §7.4.1.2: a hello of TLS 1.2 may have none.
        return session_id, extensions
    if body[at] << 8 | body[at + 1] != size - at - 2:
        raise _undecodable("the extensions do not end with the message")
    at += 2
    while at < size:
        kind, length = _extension(body, at)
        at += 4
        if kind in extensions:
            # RFC 8446 §4.2
            raise ClientHelloError(f"extension {kind} comes twice", Alert.ILLEGAL_PARAMETER)
        start, at = at, at + length
        if at > size:
            raise _undecodable(f"extension {kind} is cut off")
        extensions[kind] = body[start:at]
    return session_id, extensions


def _server_name(data: bytes | None) -> str | None:
    """The one host name of a ServerNameList (RFC 6066 §3)."""
    if data is None:
        return None
    size = len(data)
    if size < 2 or data[0] << 8 | data[1] != size - 2 or size == 2:
        raise _undecodable("the server name list")
    found: bytes | None = None
    at = 2
    while at < size:
        kind, length = data[at], data[at + 1] << 8 | data[at + 2]
        at += 3
        name = data[at : at + length]
        at += length
        if not length or at > size:
            raise _undecodable("a server name")
        if kind == _HOST_NAME:
            if found is not None:
                # RFC 6066 §3: not more than one name of the same type
                raise ClientHelloError("several server names", Alert.ILLEGAL_PARAMETER)
            found = name
        # RFC 6066 §3 gives every later NameType the same length prefix, so that it can be passed.
    if found is None:
        return None
    # RFC 6066 §3: ASCII, no trailing dot, no IPv4 or IPv6 address; compared without case.
    name_text = found.lower().decode("latin-1")
    if not is_host_name(name_text):
        raise ClientHelloError(
            f"the server name {repr(found)[1:]} is no host name", Alert.ILLEGAL_PARAMETER
        )
    return name_text


def _alpn(data: bytes | None) -> tuple[bytes, ...]:
    """ProtocolNameList (RFC 7301 §3.1)."""
    if data is None:
        return ()
    size = len(data)
    if size < 2 or data[0] << 8 | data[1] != size - 2 or size == 2:
        raise _undecodable("the ALPN list")
    names = []
    at = 2
    while at < size:
        length = data[at]
        end = at + 1 + length
        if not length or end > size:
            raise _undecodable("an ALPN protocol name")
        names.append(data[at + 1 : end])
        at = end
    return tuple(names)


def _versions(data: bytes | None, body: bytes) -> tuple[int, ...]:
    """supported_versions (RFC 8446 §4.2.1); without it the legacy_version is the highest."""
    if data is None:
        legacy = body[0] << 8 | body[1]
        # RFC 5246 appendix E.1: whoever offers more than we know is answered with what we know.
        return (min(legacy, TLS_1_2),)
    count, odd = divmod(len(data) - 1, 2)
    if odd or not count or data[0] != 2 * count:
        raise _undecodable("the supported versions")
    return struct.unpack_from(f"!{count}H", data, 1)


def _signature_algorithms(data: bytes | None) -> tuple[int, ...]:
    """SignatureSchemeList (RFC 8446 §4.2.3)."""
    if data is None:
        return ()
    count, odd = divmod(len(data) - 2, 2)
    if odd or count < 1 or data[0] << 8 | data[1] != 2 * count:
        raise _undecodable("the signature algorithms")
    return struct.unpack_from(f"!{count}H", data, 2)
