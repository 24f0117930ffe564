from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.dns.addresses import ServerAddress
from acme_client.errors import RequestError


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        (" 192.0.2.1:5353 ", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("2001:DB8:0::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_read(text: str, address: str, port: int) -> None:
    assert ServerAddress.parse(text) == ServerAddress(address, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ns1.example",
        "192.0.2",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "192.0.2.1:٥٣",
        "[",
        "[]",
        "[::1",
        "[::1]5353",
        "[::1]:",
        "::1]:53",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(RequestError, match="write an IP address"):
        ServerAddress.parse(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_what_is_written_is_read_again(address: object, port: int) -> None:
    server = ServerAddress(str(address), port)
    assert ServerAddress.parse(str(server)) == server


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert ServerAddress.parse(text).port


def test_a_default_port_of_the_callers() -> None:
    assert ServerAddress.parse("192.0.2.1", 5300).port == 5300
