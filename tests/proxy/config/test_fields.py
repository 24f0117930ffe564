"""Single values: their normal form, and what a refusal says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.fields import (
    is_ip,
    parse_app,
    parse_directory,
    parse_email,
    parse_file,
    parse_hash_by,
    parse_name,
    parse_network,
    parse_route_path,
    parse_statuses,
    parse_storage,
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("API.Example.com", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.Example.com", "*.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("0:0::1", "::1"),
    ],
)
def test_a_name_gets_its_normal_form(text: str, name: str) -> None:
    assert parse_name(text) == name
    assert parse_name(name) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no host name"),
        ("https://api.example.com", "write only the name"),
        ("api.example.com/v1", "write only the name"),
        ("api.example.com:443", "write only the name"),
        ("*", "first label only"),
        ("a.*.example.com", "first label only"),
        ("*.*.example.com", "first label only"),
        ("*.com", "two labels after it"),
        ("a_b.example.com", "is no host name"),
        ("-a.example.com", "is no host name"),
        ("a..example.com", "is no host name"),
        ("a" * 64 + ".example.com", "is no host name"),
        ("1.2.3.400", "neither a host name nor an IP address"),
        ("a b", "is no host name"),
    ],
)
def test_a_bad_name_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_name(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_stable_name_or_a_value_error(text: str) -> None:
    try:
        name = parse_name(text)
    except ValueError:
        return
    assert parse_name(name) == name
    assert is_ip(name) or name == name.lower()


@pytest.mark.parametrize("text", ["file:state", "file:./state", "file:/var/lib/vestibule"])
def test_a_file_store(text: str) -> None:
    assert parse_storage(text) == text


@pytest.mark.parametrize("text", ["", "state", "file:", "file:///x", "redis://localhost"])
def test_an_unknown_store_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed is file:PATH"):
        parse_storage(text)


@pytest.mark.parametrize(
    "text",
    ["letsencrypt", "letsencrypt-staging", "internal", "https://localhost:14000/dir"],
)
def test_a_directory(text: str) -> None:
    assert parse_directory(text) == text


@pytest.mark.parametrize(
    "text", ["", "lets-encrypt", "http://ca.example/dir", "https://", "https://u:p@ca/"]
)
def test_a_bad_directory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="buypass-staging, internal and https:// URLs"):
        parse_directory(text)


@pytest.mark.parametrize("text", ["main:app", "shop.api:make_app()", "a.b:c.d"])
def test_an_app(text: str) -> None:
    assert parse_app(text) == text


@pytest.mark.parametrize("text", ["", "main", "main.py", "main:", ":app", "a b:c", "main:app --x"])
def test_a_bad_app_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as main:app"):
        parse_app(text)


@pytest.mark.parametrize("text", ["/", "/v1", "/a%20b/"])
def test_a_route_path(text: str) -> None:
    assert parse_route_path(text) == text


@pytest.mark.parametrize("text", ["", "v1", "/a b", "/ä", "/a?b", "/a#b", "/a\\b", "/\n"])
def test_a_bad_route_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must start with|has .* in it"):
        parse_route_path(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1/128"),
    ],
)
def test_a_network(text: str, network: str) -> None:
    assert parse_network(text) == network


@pytest.mark.parametrize("text", ["", "example.com", "10.0.0.0/33", "10.0.0"])
def test_a_bad_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 10\.0\.0\.0/8"):
        parse_network(text)


@pytest.mark.parametrize("text", ["address", "header:X-User", "cookie:session"])
def test_what_hashing_looks_at(text: str) -> None:
    assert parse_hash_by(text) == text


@pytest.mark.parametrize("text", ["", "header", "header:", "cookie:a b", "path:/x"])
def test_what_hashing_cannot_look_at(text: str) -> None:
    with pytest.raises(ValueError, match="allowed are address, header:NAME and cookie:NAME"):
        parse_hash_by(text)


def test_expected_statuses() -> None:
    assert parse_statuses("200-299,304")
    with pytest.raises(ValueError, match="nonsense"):
        parse_statuses("nonsense")


def test_an_email_and_a_file() -> None:
    assert parse_email("ops@example.com") == "ops@example.com"
    assert parse_file("tls.crt") == Path("tls.crt")
    for bad in ("ops", "@example.com", "a@b", "a b@example.com"):
        with pytest.raises(ValueError, match="no e-mail address"):
            parse_email(bad)
    for bad in ("", "a\0"):
        with pytest.raises(ValueError, match="no path"):
            parse_file(bad)
