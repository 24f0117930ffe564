from __future__ import annotations

import pytest

from acme_client.testing import AcmeCA
from acme_client.testing.calls import owner_of
from tests.acme_client.testing.raw import RawClient, problem_type


def test_everything_has_one_owner(ca: AcmeCA, client: RawClient) -> None:
    client.issue("a.example")
    account = ca.accounts[0]
    authorization = ca.authorizations[0]
    for thing in (ca.orders[0], authorization, authorization.challenges[0], ca.certificates[0]):
        assert owner_of(thing) is account
    assert owner_of(account) is account


@pytest.mark.parametrize("number", ["999999", "x", "-1", "1.0", ""])
def test_numbers_that_name_nothing(client: RawClient, number: str) -> None:
    missing = client.post(f"/order/{number}")
    assert (missing.status_code, problem_type(missing)) == (404, "malformed")


def test_payloads_where_one_is_needed(client: RawClient) -> None:
    refused = client.post("/key-change")
    assert "needs a JSON object" in refused.json()["detail"]
