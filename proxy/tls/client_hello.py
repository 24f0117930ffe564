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
so any way of cutting the stream ends in the same result. The message is parsed once, when it is
complete; nearly always that is at once, and then nothing is kept of how it was cut.

Only what the choice needs is read and checked strictly; the rest is OpenSSL's to judge, which sees
every byte. Unknown extensions, versions and protocols are passed over, among them the GREASE
values (RFC 8701) that clients send to see that we do.

This runs once for a connection, in caches that OpenSSL has just filled with its own, so what it
costs is the number of its instructions: numbers are put together from bytes in place, and only the
extensions that are read are cut out. Compiled, a hello takes 8,000 of them; it took 55,000 with
``struct``, a dictionary of extensions and a dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.errors import ClientHelloError
from proxy.limits import CLIENT_HELLO_BYTES, TLS_RECORD_BYTES
from proxy.tls.alerts import Alert
from proxy.tls.key_exchange import refuse_finite_fields
from proxy.tls.names import is_ascii_host_name

TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304

_HANDSHAKE: Final = 22
_MAJOR_VERSION: Final = 3
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

_IN_MASK: Final = 62
"""Types below it, nearly all that are in use, are looked for twice in the bits of one number."""


class ClientHello:
    """What a client offers, as far as the choice of a context needs it.

    Not a dataclass: mypyc leaves the making of one to the interpreter.
    """

    __slots__ = ("alpn", "server_name")

    def __init__(self, server_name: str | None, alpn: tuple[bytes, ...]) -> None:
        self.server_name = server_name
        """In normal form; None when the client names no server."""
        self.alpn = alpn
        """In the client's order; empty when it does not negotiate a protocol."""

    def __repr__(self) -> str:
        return f"<ClientHello {self.server_name} {self.alpn}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClientHello):
            return NotImplemented
        return self.server_name == other.server_name and self.alpn == other.alpn


@dataclass(frozen=True, slots=True)
class PlainHttp:
    """The client speaks HTTP without TLS."""


PLAIN_HTTP: Final = PlainHttp()


class ClientHelloReader:
    """Reads one connection up to the end of its ClientHello."""

    __slots__ = ("received", "_next_record", "_message")

    def __init__(self) -> None:
        self.received = b""
        """Everything so far, to be replayed into the TLS session."""
        self._next_record = 0
        self._message: bytearray | None = None  # the fragments so far, when one was not enough

    def __repr__(self) -> str:
        return f"<ClientHelloReader {len(self.received)} bytes>"

    def receive(self, data: bytes | bytearray | memoryview) -> ClientHello | PlainHttp | None:
        """Take the next bytes of the connection; the result, or None while more is needed."""
        # Some 64 KiB at most, copied once for each of a client's packets.
        received = self.received = self.received + bytes(data)
        size = len(received)
        start = self._next_record
        while True:
            if not start and size and received[0] != _HANDSHAKE:
                return _no_handshake(received)
            if size < start + _RECORD_HEADER:
                return None
            length = received[start + 3] << 8 | received[start + 4]
            fragment = start + _RECORD_HEADER
            end = fragment + length
            if (
                received[start] != _HANDSHAKE
                or received[start + 1] != _MAJOR_VERSION
                or not 0 < length <= TLS_RECORD_BYTES
                or end > CLIENT_HELLO_BYTES
            ):
                raise _wrong_record(received[start : start + _RECORD_HEADER])
            if size < end:
                return None
            start = self._next_record = end
            message = self._whole_message(received[fragment:end])
            if message is not None:
                return parse_client_hello(message[_MESSAGE_HEADER:])

    def _whole_message(self, fragment: bytes) -> bytes | None:
        """The handshake message, once this fragment completes it (RFC 8446 §4)."""
        message = self._message
        if message is None:
            if _is_whole(fragment, len(fragment)):
                return fragment
            self._message = bytearray(fragment)
            return None
        message += fragment
        return bytes(message) if _is_whole(bytes(message[:_MESSAGE_HEADER]), len(message)) else None


ACME_TLS_1: Final = "acme-tls/1"
"""RFC 8737 §6.2: who offers this is a CA's validator, never a browser."""


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


def _no_handshake(received: bytes) -> PlainHttp | None:
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


def _wrong_record(header: bytes) -> ClientHelloError:
    """What is wrong with a record, by its header."""
    kind = header[0]
    if kind != _HANDSHAKE:
        # RFC 8446 §5: nothing may come between the records of a handshake message.
        return ClientHelloError(
            f"a record of type {kind} inside the ClientHello", Alert.UNEXPECTED_MESSAGE
        )
    version = header[1] << 8 | header[2]
    if header[1] != _MAJOR_VERSION:
        # RFC 8446 §5.1 has the version ignored; but 3 is the major number of all SSL and TLS.
        return ClientHelloError(
            f"the record version {version:#06x} is not TLS", Alert.PROTOCOL_VERSION
        )
    length = header[3] << 8 | header[4]
    if not length:
        # RFC 8446 §5.1: no zero-length fragments of handshake types.
        return ClientHelloError("an empty handshake record", Alert.UNEXPECTED_MESSAGE)
    if length > TLS_RECORD_BYTES:
        return ClientHelloError(f"a record of {length} bytes", Alert.RECORD_OVERFLOW)
    return _too_long()


def _too_long() -> ClientHelloError:
    # What OpenSSL sends for a message over its limit.
    return ClientHelloError(
        f"a ClientHello of over {CLIENT_HELLO_BYTES} bytes", Alert.ILLEGAL_PARAMETER
    )


def _is_whole(message: bytes, size: int) -> bool:
    """Whether the message that begins so and has come to this size is whole."""
    if message[0] != _CLIENT_HELLO:
        raise ClientHelloError(
            f"a handshake message of type {message[0]} before the ClientHello",
            Alert.UNEXPECTED_MESSAGE,
        )
    if size < _MESSAGE_HEADER:
        return False
    end = _MESSAGE_HEADER + (message[1] << 16 | message[2] << 8 | message[3])
    if end > CLIENT_HELLO_BYTES:
        raise _too_long()
    if size > end:
        # RFC 8446 §5.1: a message before a key change ends its record.
        raise ClientHelloError("bytes after the ClientHello", Alert.UNEXPECTED_MESSAGE)
    return size == end


def parse_client_hello(body: bytes) -> ClientHello:
    """Parse the body of a ClientHello message (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2)."""
    try:
        return _parse(body)
    except IndexError:
        # A length that points past the end.
        raise _undecodable("it ends too early") from None


def _parse(body: bytes) -> ClientHello:
    """As :func:`parse_client_hello`; IndexError where a length points past the end."""
    at = _extensions(body)
    size = len(body)
    server_name: bytes | None = None
    alpn: bytes | None = None
    versions: bytes | None = None
    groups: bytes | None = None
    shares: bytes | None = None
    signature_algorithms: bytes | None = None
    seen = 0
    seen_above: set[int] | None = None
    while at < size:
        kind = body[at] << 8 | body[at + 1]
        start = at + 4
        length = body[at + 2] << 8 | body[at + 3]
        if kind < _IN_MASK:
            bit = 1 << kind
            twice = seen & bit != 0
            seen |= bit
        elif seen_above is None:
            twice = False
            seen_above = {kind}
        else:
            twice = kind in seen_above
            seen_above.add(kind)
        if twice:
            # RFC 8446 §4.2
            raise ClientHelloError(f"extension {kind} comes twice", Alert.ILLEGAL_PARAMETER)
        at = start + length
        if at > size:
            raise _undecodable(f"extension {kind} is cut off")
        if kind == _SERVER_NAME:
            server_name = body[start:at]
        elif kind == _SUPPORTED_GROUPS:
            groups = body[start:at]
        elif kind == _SIGNATURE_ALGORITHMS:
            signature_algorithms = body[start:at]
        elif kind == _ALPN:
            alpn = body[start:at]
        elif kind == _SUPPORTED_VERSIONS:
            versions = body[start:at]
        elif kind == _KEY_SHARE:
            shares = body[start:at]
    hello = ClientHello(_server_name(server_name), _alpn(alpn))
    best = _best_version(versions, body)
    _check_signature_algorithms(signature_algorithms)
    if best == TLS_1_3:
        refuse_finite_fields(groups, shares)
    elif best != TLS_1_2:
        raise ClientHelloError("the client offers nothing above TLS 1.1", Alert.PROTOCOL_VERSION)
    return hello


def _undecodable(what: str) -> ClientHelloError:
    return ClientHelloError(f"malformed ClientHello: {what}", Alert.DECODE_ERROR)


def _extensions(body: bytes) -> int:
    """Where the first extension begins; the end when there is none."""
    size = len(body)
    # legacy_version, random, then legacy_session_id<0..32>
    length = body[34]
    at = 35 + length
    if length > 32 and size > 67:
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
    if at == size:
        # RFC 5246 §7.4.1.2: a hello of TLS 1.2 may have none.
        return at
    if body[at] << 8 | body[at + 1] != size - at - 2:
        raise _undecodable("the extensions do not end with the message")
    return at + 2


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
    name = found.lower()
    if not is_ascii_host_name(name):
        raise ClientHelloError(
            f"the server name {repr(found)[1:]} is no host name", Alert.ILLEGAL_PARAMETER
        )
    return name.decode("ascii")


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


def _best_version(data: bytes | None, body: bytes) -> int:
    """TLS 1.3 or 1.2 when it is offered (RFC 8446 §4.2.1), otherwise something lower."""
    if data is None:
        # RFC 5246 appendix E.1: whoever offers more than we know is answered with what we know.
        return min(body[0] << 8 | body[1], TLS_1_2)
    size = len(data)
    if size < 3 or not size & 1 or data[0] != size - 1:
        raise _undecodable("the supported versions")
    best = 0
    for at in range(1, size, 2):
        version = data[at] << 8 | data[at + 1]
        if best < version and TLS_1_2 <= version <= TLS_1_3:
            best = version
    return best


def _check_signature_algorithms(data: bytes | None) -> None:
    """That a SignatureSchemeList is one (RFC 8446 §4.2.3); its values are OpenSSL's to read."""
    if data is None:
        return
    size = len(data)
    if size < 4 or size & 1 or data[0] << 8 | data[1] != size - 2:
        raise _undecodable("the signature algorithms")
