"""proxy.tls.names"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls.names import (
    NAME_BYTES,
    covers,
    is_ascii_host_name,
    is_host_name,
    is_wildcard,
    parent,
)

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST_NAME = re.compile(rf"(?:{LABEL}\.)*(?![0-9]+\Z){LABEL}")
"""What a host name is, in another notation."""


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "localhost",
        "a.b.c.d.example",
        "xn--bcher-kva.example",
        "under_score.example",
        "_acme.example",
        "r3---sn-abc.example",
        "1.2.3.4.example",
        "3com",
        "l" * 63 + ".example",
        ".".join(["a" * 49] * 5) + ".abc",
    ],
)
def test_host_names(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "example.com.",
        ".example.com",
        "a..b",
        "Example.com",
        "-a.example",
        "a-.example",
        "a b.example",
        "a\0.example",
        "a\n",
        "bücher.example",
        "*.example.com",
        "127.0.0.1",
        "1.2.3",
        "123",
        "::1",
        "[::1]",
        "l" * 64 + ".example",
        ".".join(["a" * 49] * 5) + ".abcd",
    ],
)
def test_no_host_names(name: str) -> None:
    assert not is_host_name(name)


def matches(name: str) -> bool:
    return len(name) <= NAME_BYTES and HOST_NAME.fullmatch(name) is not None


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    assert is_host_name(text) is matches(text)


@given(st.lists(st.text("az09-_.", max_size=8) | st.text("a-", min_size=60, max_size=66)))
def test_nearly_names(labels: list[str]) -> None:
    for name in (".".join(labels), "".join(labels)):
        assert is_host_name(name) is matches(name)


@given(st.binary(max_size=12))
def test_any_bytes(name: bytes) -> None:
    assert is_ascii_host_name(name) is matches(name.decode("latin-1"))


def test_every_byte_in_every_place() -> None:
    for byte in range(256):
        for name in (b"%ca", b"a%ca", b"a%c", b"a.%c", b"a.1%c", b"%c"):
            whole = name % byte
            assert is_ascii_host_name(whole) is matches(whole.decode("latin-1")), whole


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "xn--bcher-kva.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "aexample.com", False),
        ("*.com", "example.com", True),
        ("*.example.com", "localhost", False),
    ],
)
def test_covers(pattern: str, name: str, *, expected: bool) -> None:
    assert covers(pattern, name) is expected


def test_parts() -> None:
    assert is_wildcard("*.example.com")
    assert not is_wildcard("example.com")
    assert parent("a.example.com") == "example.com"
    assert parent("localhost") == ""
