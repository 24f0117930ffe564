"""Names: canonical spelling, refusals, ids."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.errors import RequestError
from acme_client.names import (
    MAX_ID_LENGTH,
    certificate_id,
    ip_address,
    is_wildcard,
    normalise,
    reverse_name,
)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        (" example.com ", "example.com"),
        ("localhost", "localhost"),
        ("*.Example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a-b.1c.example", "a-b.1c.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_canonical_spelling(name: str, canonical: str) -> None:
    assert normalise(name) == canonical


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a b.example",
        "a/b",
        "../x",
        "*",
        "*.",
        "a.*.example",
        "*a.example",
        "*.*.example",
        "x" * 64 + ".example",
        ".".join(["a" * 49] * 6),
        "example.123",
        "1.2.3",
        "256.1.1.1",
        "fe80::1%eth0",
        "a\x00b.example",
        "xn--zzzzzzzzzz\N{SNOWMAN}.example",
        "\N{SNOWMAN}\N{COMBINING ACUTE ACCENT}..example",
    ],
)
def test_refused(name: str) -> None:
    with pytest.raises(RequestError):
        normalise(name)


@given(st.text(max_size=80))
def test_whatever_passes_is_canonical(text: str) -> None:
    try:
        name = normalise(text)
    except RequestError:
        return
    assert normalise(name) == name
    assert name.isascii()
    assert name == name.lower()
    assert "/" not in name
    assert "_" not in name


def test_kinds_of_names() -> None:
    assert ip_address("192.0.2.1") == ipaddress.IPv4Address("192.0.2.1")
    assert ip_address("example.com") is None
    assert is_wildcard("*.example.com")
    assert not is_wildcard("example.com")


def test_reverse_names() -> None:
    # The examples of RFC 8738 §6.
    assert reverse_name(ipaddress.ip_address("192.0.2.1")) == "1.2.0.192.in-addr.arpa"
    assert reverse_name(ipaddress.ip_address("2001:db8::1")).endswith("8.b.d.0.1.0.0.2.ip6.arpa")


def test_ids_are_readable_and_differ() -> None:
    assert certificate_id("example.com") == "example.com"
    assert certificate_id("*.example.com") == "_.example.com"
    assert certificate_id("192.0.2.1") == "192.0.2.1"
    assert certificate_id("2001:db8::1") == "ip6_2001-db8--1"


def test_ids_of_long_names_fit_into_a_file_name() -> None:
    base = ".".join(["a" * 60] * 4)
    first, second = (certificate_id(normalise(f"{letter}.{base}")) for letter in "xy")
    assert len(first) == MAX_ID_LENGTH
    assert first != second
    one, other = (certificate_id(normalise(f"{base}.{letter}x")) for letter in "xy")
    assert one != other
