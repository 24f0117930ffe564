"""Requests: canonical, checked, with stable ids."""

from __future__ import annotations

from typing import Any

import pytest

from acme_client.errors import RequestError
from acme_client.request import MAX_NAMES, CertificateRequest


class NoDns:
    async def present(self, domain: str, value: str) -> None: ...

    async def clean_up(self, domain: str, value: str) -> None: ...


def test_names_are_canonical_and_unique() -> None:
    request = CertificateRequest(names=("Example.com", "example.com.", "www.example.com"))
    assert request.names == ("example.com", "www.example.com")
    assert request == CertificateRequest(names=("example.com", "www.example.com"))


def test_the_id_is_of_the_first_name() -> None:
    assert CertificateRequest(names=("b.example", "a.example")).id == "b.example"
    assert CertificateRequest(names=("b.example",)).id == "b.example"
    assert CertificateRequest(names=("*.b.example", "b.example")).id == "_.b.example"


def test_an_id_per_key_type() -> None:
    request = CertificateRequest(names=("a.example",), key_types=("p256", "rsa2048"))
    assert request.certificate_ids == ("a.example", "a.example+rsa2048")
    assert request.id == "a.example"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ()}, "at least one name"),
        ({"names": ("a_b",)}, "a_b"),
        ({"names": tuple(f"n{n}.example" for n in range(MAX_NAMES + 1))}, "101 names"),
        ({"key_types": ()}, "each once"),
        ({"key_types": ("p256", "p256")}, "each once"),
        ({"key_types": ("dsa",)}, "allowed are p256"),
        ({"challenges": ("http-02",)}, "allowed are tls-alpn-01, http-01, dns-01"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CertificateRequest(**{"names": ("a.example",), **options})


def test_challenge_kinds_by_name() -> None:
    plain = CertificateRequest(names=("a.example", "*.a.example", "192.0.2.1"))
    assert plain.challenge_kinds("a.example") == ("tls-alpn-01", "http-01")
    assert plain.challenge_kinds("*.a.example") == ()
    solved = CertificateRequest(names=plain.names, dns=NoDns(), challenges=("dns-01", "http-01"))
    assert solved.challenge_kinds("a.example") == ("dns-01", "http-01")
    assert solved.challenge_kinds("*.a.example") == ("dns-01",)
    assert solved.challenge_kinds("192.0.2.1") == ("http-01",)


def test_a_solver_is_neither_shown_nor_compared() -> None:
    with_solver = CertificateRequest(names=("a.example",), dns=NoDns())
    assert with_solver == CertificateRequest(names=("a.example",))
    assert "NoDns" not in repr(with_solver)
