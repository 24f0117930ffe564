"""The resources of ACME as values."""

from __future__ import annotations

import pytest

from acme_client.resources import Authorization


@pytest.mark.parametrize(
    ("name", "domain"), [("a.example", "a.example"), ("*.a.example", "a.example")]
)
def test_the_domain_of_an_authorisation(name: str, domain: str) -> None:
    found = Authorization(url="x", name=name, status="valid", challenges=(), retry_after=None)
    assert found.domain == domain
