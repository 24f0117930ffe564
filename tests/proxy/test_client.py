"""Tests of proxy.client: what the backend is told about the client."""

from __future__ import annotations

import asyncio

import pytest

from proxy.client import ClientInfo, bare_address
from proxy.forwarded import TrustedProxies
from proxy.http.head import RequestFields, interpret_request


def fields(*raw: tuple[bytes, bytes]) -> RequestFields:
    return interpret_request([(b"host", b"h"), *raw])


def test_the_forwarded_headers_end_a_head() -> None:
    info = ClientInfo("203.0.113.9", 5678, "https", "10.0.0.1", 8443)
    assert info.forwarded == (
        b"X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n\r\n"
    )


def test_a_trusted_proxy_tells_who_the_client_is() -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    info = ClientInfo("10.0.0.7", 40000, "https", "10.0.0.1", 443, trusted)
    told = info.behind_proxy(
        fields(
            (b"x-forwarded-for", b"198.51.100.1, 203.0.113.9, 10.0.0.8"),
            (b"x-forwarded-proto", b"http"),
        )
    )
    assert told.address == "203.0.113.9"
    assert told.scheme == "http"
    assert b"X-Forwarded-For: 203.0.113.9\r\n" in told.forwarded
    assert b"198.51.100.1" not in told.forwarded


def test_without_a_word_the_proxy_itself_is_the_client() -> None:
    info = ClientInfo("10.0.0.7", 40000, "https", "", 443, TrustedProxies(["10.0.0.0/8"]))
    told = info.behind_proxy(fields())
    assert (told.address, told.port, told.scheme) == ("10.0.0.7", 40000, "https")


class Transport(asyncio.BaseTransport):
    """Counts how often it is asked."""

    def __init__(self, sockname: tuple[str, int] | None) -> None:
        super().__init__()
        self.sockname = sockname
        self.asked = 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        assert name == "sockname"
        self.asked += 1
        return self.sockname or default


def test_where_the_client_connected_to_is_asked_when_it_is_wanted() -> None:
    transport = Transport(("::ffff:10.0.0.1", 443))
    info = ClientInfo("203.0.113.9", 5678, "https", "", 443, None, transport)
    assert transport.asked == 0
    assert (info.local_address, info.local_address) == ("10.0.0.1", "10.0.0.1")
    assert transport.asked == 1


def test_of_a_connection_that_has_gone_nothing_is_known() -> None:
    info = ClientInfo("203.0.113.9", 5678, "https", "", 443, None, Transport(None))
    assert info.local_address == ""


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_addresses_as_logs_show_them(host: str, address: str) -> None:
    assert bare_address(host) == address
