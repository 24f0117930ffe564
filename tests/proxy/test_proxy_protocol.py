"""PROXY protocol headers: read strictly, at any split, and written so that they read back."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.proxy_protocol import (
    MAX_BYTES_1,
    MAX_BYTES_2,
    SIGNATURE_2,
    Endpoint,
    ProxyHeader,
    build_1,
    build_2,
    crc32c,
    parse,
)

CLIENT = Endpoint("192.0.2.1", 50123)
SERVER = Endpoint("198.51.100.2", 443)
CLIENT_6 = Endpoint("2001:db8::1", 50123)
SERVER_6 = Endpoint("2001:db8::2", 443)

ports = st.integers(0, 65535)
endpoints_4 = st.builds(Endpoint, st.ip_addresses(v=4).map(str), ports)
endpoints_6 = st.builds(
    Endpoint,
    st.binary(min_size=16, max_size=16)
    .map(ipaddress.IPv6Address)
    .filter(lambda address: address.ipv4_mapped is None)
    .map(str),
    ports,
)
endpoints = endpoints_4 | endpoints_6


def binary(
    command: int = 0x21, family: int = 0x11, payload: bytes = b"", length: int | None = None
) -> bytes:
    size = len(payload) if length is None else length
    return SIGNATURE_2 + bytes([command, family]) + size.to_bytes(2, "big") + payload


ADDRESSES_4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + (50123).to_bytes(2, "big") + b"\x01\xbb"


def outcome(data: bytes) -> ProxyHeader | str | None:
    try:
        return parse(data)
    except ProtocolError as error:
        return f"error: {error}"


def is_error(result: ProxyHeader | str | None) -> bool:
    return isinstance(result, str)


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 443\r\n", CLIENT, SERVER),
        (b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 50123 443\r\n", CLIENT_6, SERVER_6),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 50123 443\r\n", CLIENT, SERVER),
        (
            b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            Endpoint("0.0.0.0", 0),
            Endpoint("255.255.255.255", 65535),
        ),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff:: what ever\r\n", None, None),
        (
            b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n",
            Endpoint("ffff:" * 7 + "ffff", 65535),
            Endpoint("ffff:" * 7 + "ffff", 65535),
        ),
    ],
)
def test_version_1(line: bytes, source: Endpoint | None, destination: Endpoint | None) -> None:
    expected = ProxyHeader(source, destination, len(line))
    assert parse(line + b"\x16\x03\x01") == expected
    assert parse(memoryview(line)) == expected
    for end in range(len(line)):
        assert parse(line[:end]) is None


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"proxy TCP4 192.0.2.1 198.51.100.2 50123 443\r\n",
        b"PROXYTCP4",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 443\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 443\r\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 443\rX",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50123\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 443 \r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 50123 443\r\n",
        b"PROXY TCP4\t192.0.2.1 198.51.100.2 50123 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 050123 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1_0 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 \xb2 443\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 50123 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 50123 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 50123 443\r\n",
        b"PROXY TCP6 fe80::1%1 fe80::2 50123 443\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 50123 443\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY unknown\r\n",
        b"PROXY UNKNOWN " + b"x" * MAX_BYTES_1,
    ],
)
def test_version_1_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="PROXY protocol"):
        parse(line)


def test_version_1_longest_line() -> None:
    longest = b"PROXY UNKNOWN " + b"x" * (MAX_BYTES_1 - 16) + b"\r\n"
    assert len(longest) == MAX_BYTES_1
    assert parse(longest) == ProxyHeader(None, None, MAX_BYTES_1)
    assert is_error(outcome(longest[:-2] + b"x\r\n"))


def test_version_2() -> None:
    header = binary(payload=ADDRESSES_4)
    assert parse(header + b"\x16\x03\x01") == ProxyHeader(CLIENT, SERVER, 28)
    for end in range(len(header)):
        assert parse(header[:end]) is None


def test_version_2_from_the_specification() -> None:
    """HAProxy sends this for an IPv6 client, with an ALPN, a CRC32c and a NOOP field."""
    pairs = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("2001:db8::2").packed
    fields = b"\x01\x00\x02h2" + b"\x03\x00\x04" + bytes(4) + b"\x04\x00\x03abc"
    header = binary(0x21, 0x21, pairs + ADDRESSES_4[8:] + fields)
    summed = header.replace(
        b"\x03\x00\x04" + bytes(4), b"\x03\x00\x04" + crc32c(header).to_bytes(4, "big")
    )
    assert parse(summed) == ProxyHeader(CLIENT_6, SERVER_6, len(summed))
    with pytest.raises(ProtocolError, match="CRC32c does not match"):
        parse(header)


@pytest.mark.parametrize(
    "header",
    [
        binary(0x20, 0x00),
        binary(0x20, 0x11, ADDRESSES_4),
        binary(0x20, 0x00, b"anything at all"),
        binary(0x21, 0x00, b"anything at all"),
        binary(0x21, 0x12, ADDRESSES_4),  # UDP
        binary(0x21, 0x22, bytes(36)),
        binary(0x21, 0x31, bytes(216)),  # unix socket
        binary(0x21, 0x32, bytes(216)),
    ],
)
def test_version_2_without_a_tcp_client(header: bytes) -> None:
    assert parse(header + b"rest") == ProxyHeader(None, None, len(header))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"\r\n\r\nGET / HTTP/1.1\r\n", "does not begin"),
        (SIGNATURE_2[:11] + b"\r", "does not begin"),
        (binary(0x11, 0x11, ADDRESSES_4), "version 1"),
        (binary(0x31, 0x11, ADDRESSES_4), "version 3"),
        (binary(0x22, 0x11, ADDRESSES_4), "command 2"),
        (binary(0x21, 0x13, ADDRESSES_4), "family 0x13"),
        (binary(0x21, 0x41, ADDRESSES_4), "family 0x41"),
        (binary(0x21, 0x01, ADDRESSES_4), "family 0x01"),
        (binary(0x21, 0x11, ADDRESSES_4[:-1]), "too short"),
        (binary(0x21, 0x21, bytes(35)), "too short"),
        (binary(0x21, 0x31, bytes(215)), "too short"),
        (binary(0x21, 0x11, length=MAX_BYTES_2 - 15), "allowed: 4096"),
        (binary(0x21, 0x11, length=65535), "allowed: 4096"),
        (binary(0x21, 0x11, ADDRESSES_4 + b"\x04"), "cut off"),
        (binary(0x21, 0x11, ADDRESSES_4 + b"\x04\x00"), "cut off"),
        (binary(0x21, 0x11, ADDRESSES_4 + b"\x04\x00\x01"), "longer than the header"),
        (binary(0x21, 0x11, ADDRESSES_4 + b"\x03\x00\x03abc"), "not 4 bytes"),
        (binary(0x20, 0x11, ADDRESSES_4 + b"\x03\x00\x04abcd"), "does not match"),
    ],
)
def test_version_2_refused(header: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse(header)


def test_version_2_largest() -> None:
    room = MAX_BYTES_2 - 16 - 12 - 3
    header = binary(payload=ADDRESSES_4 + b"\x04" + room.to_bytes(2, "big") + bytes(room))
    assert len(header) == MAX_BYTES_2
    assert parse(header + b"more") == ProxyHeader(CLIENT, SERVER, MAX_BYTES_2)


def test_crc32c_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


def test_build_as_written_in_the_specification() -> None:
    assert build_1(CLIENT, SERVER) == b"PROXY TCP4 192.0.2.1 198.51.100.2 50123 443\r\n"
    assert build_1(CLIENT_6, SERVER_6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 50123 443\r\n"
    assert build_1(None, None) == b"PROXY UNKNOWN\r\n"
    assert build_2(CLIENT, SERVER) == binary(payload=ADDRESSES_4)
    assert build_2(None, SERVER) == binary(0x20, 0x00)


def test_build_with_a_zone_or_two_families() -> None:
    assert parse(build_2(Endpoint("fe80::1%1", 1), Endpoint("fe80::2%1", 2))) == ProxyHeader(
        Endpoint("fe80::1", 1), Endpoint("fe80::2", 2), 52
    )
    mixed = parse(build_1(CLIENT, SERVER_6))
    assert mixed is not None
    assert (mixed.source, mixed.destination) == (CLIENT, SERVER_6)


@given(endpoints, endpoints, st.binary(max_size=20), st.sampled_from(["1", "2", "checksum"]))
def test_round_trip_at_any_split(
    source: Endpoint, destination: Endpoint, rest: bytes, form: str
) -> None:
    if form == "1":
        header = build_1(source, destination)
    else:
        header = build_2(source, destination, checksum=form == "checksum")
    assert parse(header + rest) == ProxyHeader(source, destination, len(header))
    assert {parse(header[:end]) for end in range(len(header))} == {None}


@given(
    st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=120).map(lambda rest: b"PROXY " + rest),
        st.text("TCPUNKOW46 0123456789.:af\r\n", max_size=110).map(
            lambda t: b"PROXY " + t.encode()
        ),
        st.binary(max_size=60).map(lambda rest: SIGNATURE_2 + rest),
        st.binary(max_size=60).map(lambda rest: binary(payload=rest)),
        st.binary(max_size=60).map(lambda rest: binary(payload=ADDRESSES_4 + rest)),
    )
)
def test_any_bytes_at_any_split_have_one_end(data: bytes) -> None:
    """Piece by piece, the first answer other than None is the one the whole gives."""
    whole = outcome(data)
    first = next((r for end in range(len(data)) if (r := outcome(data[:end])) is not None), whole)
    if is_error(whole):
        assert is_error(first)
    else:
        assert first == whole
