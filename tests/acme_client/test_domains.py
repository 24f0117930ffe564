"""Registered domains, by rule of thumb."""

from __future__ import annotations

import pytest

from acme_client.domains import registered_domain


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("*.example.com", "example.com"),
        ("localhost", "localhost"),
        ("www.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("a.example.com.au", "example.com.au"),
        ("www.example.de", "example.de"),
        ("you.github.io", "you.github.io"),
        ("a.you.github.io", "you.github.io"),
        ("me.duckdns.org", "me.duckdns.org"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_domains(name: str, domain: str) -> None:
    assert registered_domain(name) == domain
