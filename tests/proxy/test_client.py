"""Tests of proxy.client: what the backend is told about the client."""

from __future__ import annotations

from proxy.client import ClientInfo
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
