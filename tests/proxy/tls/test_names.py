"""proxy.tls.names"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls.names import covers, is_host_name, is_wildcard, parent


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


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str) -> None:
    assert is_host_name(text) in (True, False)


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
