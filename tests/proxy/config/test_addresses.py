"""Addresses: what is read, what is refused, and that reading what was written changes nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.addresses import (
    H2cAddress,
    TcpAddress,
    UnixAddress,
    UpstreamAddress,
    parse_listen,
    parse_upstream,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("[::1]:8000", TcpAddress("::1", 8000)),
        ("localhost:1", TcpAddress("localhost", 1)),
        ("my_app-2:65535", TcpAddress("my_app-2", 65535)),
        ("api.internal.:80", TcpAddress("api.internal.", 80)),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock")),
        ("unix:/run/a:1", UnixAddress("/run/a:1")),
        ("h2c://127.0.0.1:50051", H2cAddress(TcpAddress("127.0.0.1", 50051))),
        ("h2c://[::1]:50051", H2cAddress(TcpAddress("::1", 50051))),
        ("h2c://greeter:50051", H2cAddress(TcpAddress("greeter", 50051))),
    ],
)
def test_an_upstream_is_read_and_written_back(text: str, address: UpstreamAddress) -> None:
    assert parse_upstream(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no address; write host:port"),
        ("8000", "is no address"),
        (":8000", "is no address"),
        ("localhost", "is no address"),
        ("http://localhost:8000", "is a URL; write only host:port"),
        ("h2://localhost:8000", "is a URL; write only host:port"),
        ("h2c://", "is no address; write h2c://host:port"),
        ("h2c://localhost", "is no address; write h2c://host:port"),
        ("h2c://localhost:0", "needs a port from 1 to 65535"),
        ("h2c://localhost:80/path", "'80/path' is no port"),
        ("h2c://::1:80", "in brackets, such as"),
        ("h2c://a b:80", "neither an IP address nor a host name"),
        ("H2C://localhost:80", "is a URL"),
        ("localhost:0", "needs a port from 1 to 65535"),
        ("localhost:65536", "'65536' is no port"),
        ("localhost:-1", "'-1' is no port"),
        ("localhost:000000080", "'000000080' is no port"),
        ("localhost:٨٠", "is no port"),
        ("::1:8000", "in brackets, such as"),
        ("[127.0.0.1]:80", "only an IPv6 address"),
        ("[x]:80", "only an IPv6 address"),
        ("300.1.1.1:80", "neither an IP address nor a host name"),
        ("a b:80", "neither an IP address nor a host name"),
        ("-a:80", "neither an IP address nor a host name"),
        ("a..b:80", "neither an IP address nor a host name"),
        ("unix:app.sock", "must be absolute"),
        ("unix://run/app.sock", "with one slash"),
        ("unix:/a\0b", "must be absolute"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
    ],
)
def test_a_bad_upstream_is_named_with_what_is_allowed(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_upstream(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[::]:443", TcpAddress("::", 443)),
        ("0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
        ("127.0.0.1:8443", TcpAddress("127.0.0.1", 8443)),
    ],
)
def test_an_address_to_listen_on(text: str, address: TcpAddress) -> None:
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost:443", "write 127.0.0.1:443 or [::1]:443"),
        ("example.com:443", "to listen on all addresses write [::]:443"),
        (":443", "is no address"),
        ("443", "is no address"),
    ],
)
def test_a_name_is_no_address_to_listen_on(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_listen(text)


@given(st.text(max_size=30) | st.from_regex(r"[\[\]:a-z0-9.]{0,20}", fullmatch=True))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_upstream(text)
    except ValueError:
        return
    assert parse_upstream(str(address)) == address
