"""The PROXY protocol, versions 1 and 2: who the client is, said before the first byte of TLS.

Text: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt (sections are cited as PP §n).

:func:`parse` is given all bytes received so far and answers with the header, or None while more
is needed, or raises :class:`ProtocolError`, as early as the bytes can no longer become a header.
It keeps nothing between calls, so any split of the bytes gives the same. A header is small (107
bytes in version 1, capped at 4 KiB in version 2), so reading it again with each piece is cheap.

A header may be without addresses: ``UNKNOWN`` in version 1, ``LOCAL`` in version 2 (a health
check of the balancer), or a family that says nothing about a TCP client (PP §2.2: fall back on
the addresses of the connection itself).

Fields after the addresses (TLVs) must be well-formed and are skipped, but for CRC32c, which is
checked where it is present.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from proxy.errors import ProtocolError

SIGNATURE_1: Final = b"PROXY "
SIGNATURE_2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_BYTES_1: Final = 107
"""PP §2.1: the longest line, its CRLF included."""
MAX_BYTES_2: Final = 4096
"""All of a version 2 header; real ones with TLS fields stay under 1 KiB."""

_HEADER_2: Final = 16  # signature, version and command, family, length
_LOCAL: Final = 0x0
_PROXY: Final = 0x1
_TCP4: Final = 0x11
_TCP6: Final = 0x21
# PP §2.2: family and transport -> bytes of addresses. 0x00 is "unspecified".
_ADDRESS_BYTES: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
_TLV_CRC32C: Final = 0x03


class Endpoint(NamedTuple):
    """One end of a TCP connection; ``host`` is an IP address in canonical text."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says. Both ends are None when it names no TCP client."""

    source: Endpoint | None
    destination: Endpoint | None
    length: int
    """Bytes of the header; what follows them is the connection's own data."""


def parse(data: bytes | bytearray | memoryview) -> ProxyHeader | None:
    """Read the header at the start of ``data``; None when it is not complete yet."""
    start = bytes(data[:MAX_BYTES_2])
    if start[:1] == SIGNATURE_2[:1]:
        return _parse_2(start)
    return _parse_1(start)


def build_1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """A version 1 header; ``UNKNOWN`` without both ends."""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    ends = _same_family(source, destination)
    family = "TCP4" if isinstance(ends[0], IPv4Address) else "TCP6"
    line = f"PROXY {family} {ends[0]} {ends[1]} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def build_2(
    source: Endpoint | None, destination: Endpoint | None, *, checksum: bool = False
) -> bytes:
    """A version 2 header; ``LOCAL`` without both ends; with a CRC32c field if asked for."""
    if source is None or destination is None:
        command, family, addresses = _LOCAL, 0x00, b""
    else:
        command = _PROXY
        ends = _same_family(source, destination)
        family = _TCP4 if isinstance(ends[0], IPv4Address) else _TCP6
        ports = source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")
        addresses = ends[0].packed + ends[1].packed + ports
    # PP §2.2.3: the sum is over the whole header with the field's own value as zeros.
    field = bytes([_TLV_CRC32C, 0, 4, 0, 0, 0, 0]) if checksum else b""
    length = len(addresses) + len(field)
    header = SIGNATURE_2 + bytes([0x20 | command, family]) + length.to_bytes(2, "big")
    whole = header + addresses + field
    return whole[:-4] + crc32c(whole).to_bytes(4, "big") if checksum else whole


def _parse_1(data: bytes) -> ProxyHeader | None:
    if not (data.startswith(SIGNATURE_1) or SIGNATURE_1.startswith(data)):
        raise ProtocolError("PROXY protocol: the connection does not begin with a PROXY header")
    line, newline, _ = data[:MAX_BYTES_1].partition(b"\n")
    if not newline:
        if len(data) >= MAX_BYTES_1:
            raise ProtocolError(f"PROXY protocol: the line is longer than {MAX_BYTES_1} bytes")
        # A CR that is not the end of the line can never become right.
        if b"\r" in line[:-1]:
            raise ProtocolError("PROXY protocol: CR within the line")
        return None
    if not line.endswith(b"\r") or b"\r" in line[:-1]:
        raise ProtocolError("PROXY protocol: the line does not end with CRLF")
    length = len(line) + 1
    line = line[:-1]
    # PP §2.1: after UNKNOWN everything up to CRLF is ignored.
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(None, None, length)
    # Exactly one space between fields; an empty field fails below.
    fields = line.decode("latin-1").split(" ")
    if len(fields) != 6:
        raise ProtocolError(f"PROXY protocol: {len(fields)} fields in the line; there must be 6")
    _, family, source, destination, source_port, destination_port = fields
    if family not in ("TCP4", "TCP6"):
        raise ProtocolError(
            f"PROXY protocol: protocol {family!r}; allowed: 'TCP4', 'TCP6', 'UNKNOWN'"
        )
    return ProxyHeader(
        Endpoint(_text_address(family, source), _text_port(source_port)),
        Endpoint(_text_address(family, destination), _text_port(destination_port)),
        length,
    )


def _text_address(family: str, text: str) -> str:
    try:
        address = IPv4Address(text) if family == "TCP4" else IPv6Address(text)
    except ValueError:
        raise ProtocolError(f"PROXY protocol: {text!r} is no {family} address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ProtocolError(f"PROXY protocol: {text!r} has a zone")
    return _canonical(address)


def _text_port(text: str) -> int:
    # PP §2.1: 0 to 65535 in decimal, without leading zeros.
    plain = 1 <= len(text) <= 5 and text.isascii() and text.isdigit()
    if not plain or (text[0] == "0" and text != "0") or int(text) > 65535:
        raise ProtocolError(f"PROXY protocol: {text!r} is no port; allowed: 0 to 65535")
    return int(text)


def _parse_2(data: bytes) -> ProxyHeader | None:
    if not (data.startswith(SIGNATURE_2) or SIGNATURE_2.startswith(data)):
        raise ProtocolError("PROXY protocol: the connection does not begin with a PROXY header")
    # Each field is judged when it is there, so that rubbish is refused at once.
    if len(data) > 12:
        version, command = data[12] >> 4, data[12] & 0x0F
        if version != 2 or command not in (_LOCAL, _PROXY):
            raise ProtocolError(f"PROXY protocol: version {version}, command {command}")
    if len(data) > 13 and data[13] not in _ADDRESS_BYTES:
        raise ProtocolError(f"PROXY protocol: unassigned family 0x{data[13]:02x}")
    if len(data) < _HEADER_2:
        return None
    family = data[13]
    length = _HEADER_2 + int.from_bytes(data[14:16], "big")
    fields_start = _HEADER_2 + _ADDRESS_BYTES[family]
    if length > MAX_BYTES_2:
        raise ProtocolError(f"PROXY protocol: {length} bytes; allowed: {MAX_BYTES_2}")
    if length < fields_start:
        raise ProtocolError("PROXY protocol: the header is too short for its addresses")
    if len(data) < length:
        return None
    # Without a family nobody can say where addresses end and fields begin (PP §2.2): skip all.
    if family != 0x00:
        _check_fields(data[:length], fields_start)
    if data[12] & 0x0F == _LOCAL or family not in (_TCP4, _TCP6):
        return ProxyHeader(None, None, length)
    return _binary_addresses(data, family, length)


def _binary_addresses(data: bytes, family: int, length: int) -> ProxyHeader:
    size = 4 if family == _TCP4 else 16
    ports = _HEADER_2 + 2 * size
    ends = [
        Endpoint(
            _canonical(ipaddress.ip_address(data[start : start + size])),
            int.from_bytes(data[port : port + 2], "big"),
        )
        for start, port in ((_HEADER_2, ports), (_HEADER_2 + size, ports + 2))
    ]
    return ProxyHeader(ends[0], ends[1], length)


def _check_fields(header: bytes, position: int) -> None:
    """Walk the TLVs (PP §2.2: type, two bytes of length, value)."""
    while position < len(header):
        start = position + 3
        if start > len(header):
            raise ProtocolError("PROXY protocol: a field is cut off")
        kind = header[position]
        position = start + int.from_bytes(header[position + 1 : start], "big")
        if position > len(header):
            raise ProtocolError("PROXY protocol: a field is longer than the header")
        if kind == _TLV_CRC32C:
            if position - start != 4:
                raise ProtocolError("PROXY protocol: CRC32c is not 4 bytes")
            zeroed = header[:start] + bytes(4) + header[position:]
            # PP §2.2.3: a header whose sum is wrong must be refused.
            if crc32c(zeroed) != int.from_bytes(header[start:position], "big"):
                raise ProtocolError("PROXY protocol: CRC32c does not match")


def _canonical(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _same_family(
    source: Endpoint, destination: Endpoint
) -> tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]:
    """Both addresses; as IPv6 when they differ, an IPv4 one in its mapped form."""
    one, other = ipaddress.ip_address(source.host), ipaddress.ip_address(destination.host)
    if isinstance(one, IPv4Address) and isinstance(other, IPv4Address):
        return one, other
    return _as_ipv6(one), _as_ipv6(other)


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    if isinstance(address, IPv4Address):
        return IPv6Address(b"\x00" * 10 + b"\xff\xff" + address.packed)
    return IPv6Address(int(address))  # without a zone


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC32C: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC32C[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF
