from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from josepy.jwk import JWKRSA

from acme_client.testing import AcmeCA, Status
from tests.acme_client.testing.raw import (
    RawClient,
    mac,
    new_key,
    problem_type,
    public_json,
    sign,
)


@pytest.fixture
def fresh(ca: AcmeCA) -> RawClient:
    return RawClient(ca)


def test_new_account(ca: AcmeCA, fresh: RawClient) -> None:
    created = fresh.register(contact=["mailto:ops@a.example"])
    assert created.status_code == 201
    account = ca.accounts[0]
    assert created.headers["Location"] == f"{ca.base_url}/account/{account.id}"
    assert created.links["terms-of-service"]["url"] == ca.settings.terms_of_service
    assert created.json() == {
        "status": "valid",
        "contact": ["mailto:ops@a.example"],
        "termsOfServiceAgreed": True,
        "orders": f"{ca.base_url}/orders/{account.id}",
    }
    assert repr(account) == f"<Account {account.id} valid, 0 orders>"


def test_the_same_key_is_the_same_account(ca: AcmeCA, client: RawClient) -> None:
    again = RawClient(ca, key=client.key)
    found = again.post("/new-account", {"onlyReturnExisting": True})
    assert (found.status_code, found.headers["Location"]) == (200, client.account_url)
    assert again.register().status_code == 200
    assert len(ca.accounts) == 1


def test_rsa_accounts(ca: AcmeCA) -> None:
    client = RawClient(ca, key=JWKRSA(key=rsa.generate_private_key(65537, 2048)))
    assert client.register().status_code == 201
    assert client.issue("a.example")


def test_only_return_existing(fresh: RawClient) -> None:
    refused = fresh.post("/new-account", {"onlyReturnExisting": True})
    assert (refused.status_code, problem_type(refused)) == (400, "accountDoesNotExist")


def test_terms_must_be_agreed_where_there_are_some(ca: AcmeCA, fresh: RawClient) -> None:
    assert problem_type(fresh.post("/new-account", {})) == "malformed"
    assert problem_type(fresh.post("/new-account", {"termsOfServiceAgreed": 1})) == "malformed"
    ca.settings.terms_of_service = None
    assert fresh.post("/new-account", {}).status_code == 201


@pytest.mark.parametrize(
    ("contact", "kind"),
    [
        ("mailto:a@b.example", "malformed"),
        ([1], "malformed"),
        (["tel:+123"], "unsupportedContact"),
        (["mailto:nobody"], "invalidContact"),
        (["mailto:a@b.example,c@d.example"], "invalidContact"),
        (["mailto:a@b.example?subject=x"], "invalidContact"),
    ],
)
def test_contacts(fresh: RawClient, contact: Any, kind: str) -> None:
    assert problem_type(fresh.register(contact=contact)) == kind


def test_update_and_deactivate(ca: AcmeCA, client: RawClient) -> None:
    url = str(client.account_url)
    assert client.post(url).json()["contact"] == []
    assert client.post(url, {"contact": ["mailto:x@y.example"]}).json()["contact"]
    assert client.post(url, {}).json()["contact"] == ["mailto:x@y.example"]
    assert problem_type(client.post(url, {"status": "revoked"})) == "malformed"
    assert client.post(url, {"status": "valid"}).ok
    assert client.post(url, {"status": "deactivated"}).json()["status"] == "deactivated"
    refused = client.post(url)
    assert (refused.status_code, problem_type(refused)) == (403, "unauthorized")
    assert problem_type(RawClient(ca, key=client.key).register()) == "unauthorized"
    assert ca.accounts[0].status is Status.DEACTIVATED


def test_other_accounts_are_closed(client: RawClient, stranger: RawClient) -> None:
    assert problem_type(client.post(str(stranger.account_url))) == "unauthorized"
    missing = client.post("/account/999")
    assert (missing.status_code, problem_type(missing)) == (404, "malformed")


def test_orders_of_an_account(client: RawClient) -> None:
    url = client.post(str(client.account_url)).json()["orders"]
    order = client.order("a.example")
    assert client.post(url).json() == {"orders": [order.headers["Location"]]}


def test_new_account_wants_the_key(client: RawClient) -> None:
    assert problem_type(client.post("/new-account", {"termsOfServiceAgreed": True})) == "malformed"


# -- external account binding


SECRET = b"0123456789abcdef0123456789abcdef"


def _binding(client: RawClient, **changes: Any) -> dict[str, Any]:
    header = {"alg": "HS256", "kid": "kid-1", "url": client.url("/new-account"), **changes}
    return mac(header, json.dumps(public_json(client.key)).encode(), SECRET)


def test_external_account(ca: AcmeCA, fresh: RawClient) -> None:
    ca.settings.external_account_required = True
    ca.settings.external_accounts["kid-1"] = SECRET
    assert fresh.get("/directory").json()["meta"]["externalAccountRequired"] is True
    refused = fresh.register()
    assert (refused.status_code, problem_type(refused)) == (403, "externalAccountRequired")
    binding = _binding(fresh)
    created = fresh.register(externalAccountBinding=binding)
    assert created.status_code == 201
    assert created.json()["externalAccountBinding"] == binding


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"kid": "unknown"}, "unauthorized"),
        ({"url": "https://elsewhere.example/new-account"}, "malformed"),
        ({"alg": "ES256"}, "badSignatureAlgorithm"),
        ({"nonce": "YQ"}, "malformed"),
    ],
)
def test_bindings_that_are_refused(
    ca: AcmeCA, fresh: RawClient, changes: dict[str, Any], kind: str
) -> None:
    ca.settings.external_accounts["kid-1"] = SECRET
    binding = _binding(fresh, **changes)
    assert problem_type(fresh.register(externalAccountBinding=binding)) == kind


def test_a_binding_with_a_wrong_mac_key_or_payload(ca: AcmeCA, fresh: RawClient) -> None:
    ca.settings.external_accounts["kid-1"] = SECRET + b"!"
    assert problem_type(fresh.register(externalAccountBinding=_binding(fresh))) == "unauthorized"
    ca.settings.external_accounts["kid-1"] = SECRET
    header = {"alg": "HS256", "kid": "kid-1", "url": fresh.url("/new-account")}
    for payload in (json.dumps(public_json(new_key())).encode(), b"{", b"[]", b"{}"):
        binding = mac(header, payload, SECRET)
        assert problem_type(fresh.register(externalAccountBinding=binding)) == "malformed"
    without_kid = mac({**header, "kid": None, "jwk": {}}, b"{}", SECRET)
    assert problem_type(fresh.register(externalAccountBinding=without_kid)) == "malformed"


# -- key change


def _change(client: RawClient, **changes: Any) -> dict[str, Any]:
    new = changes.pop("new", None) or new_key()
    header = {"alg": "ES256", "jwk": public_json(new), "url": client.url("/key-change")}
    body = {"account": client.account_url, "oldKey": public_json(client.key)}
    body.update(changes.pop("body", {}))
    header.update(changes)
    return sign(header, json.dumps(body).encode(), new)


def test_key_change(ca: AcmeCA, client: RawClient) -> None:
    new = new_key()
    old = client.key
    assert client.post("/key-change", _change(client, new=new)).ok
    refused = client.order("a.example")
    assert (refused.status_code, problem_type(refused)) == (400, "malformed")
    client.key = new
    assert client.order("a.example").status_code == 201
    found = RawClient(ca, key=new).post("/new-account", {"onlyReturnExisting": True})
    assert found.headers["Location"] == client.account_url
    gone = RawClient(ca, key=old).post("/new-account", {"onlyReturnExisting": True})
    assert problem_type(gone) == "accountDoesNotExist"


def test_key_change_to_a_key_in_use(client: RawClient, stranger: RawClient) -> None:
    refused = client.post("/key-change", _change(client, new=stranger.key))
    assert (refused.status_code, problem_type(refused)) == (409, "malformed")
    assert refused.headers["Location"] == stranger.account_url
    same = client.post("/key-change", _change(client, new=client.key))
    assert (same.status_code, same.headers["Location"]) == (409, client.account_url)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://elsewhere.example/key-change"},
        {"nonce": "YQ"},
        {"body": {"account": "https://elsewhere.example/account/1"}},
        {"body": {"oldKey": None}},
        {"body": {"oldKey": public_json(new_key())}},
        {"body": {"oldKey": {"kty": "?"}}},
    ],
)
def test_key_changes_that_are_malformed(client: RawClient, changes: dict[str, Any]) -> None:
    refused = client.post("/key-change", _change(client, **changes))
    assert problem_type(refused) == "malformed"


def test_inner_key_change_must_be_signed_by_the_new_key(client: RawClient) -> None:
    header = {"alg": "ES256", "jwk": public_json(new_key()), "url": client.url("/key-change")}
    body = {"account": client.account_url, "oldKey": public_json(client.key)}
    forged = sign(header, json.dumps(body).encode(), new_key())
    assert problem_type(client.post("/key-change", forged)) == "malformed"
    named = sign({**header, "jwk": None, "kid": "x"}, b"{}", new_key())
    assert problem_type(client.post("/key-change", named)) == "malformed"


# -- forgetting


def test_forgotten_accounts_do_not_exist(ca: AcmeCA, client: RawClient) -> None:
    ca.forget_accounts()
    refused = client.order("a.example")
    assert (refused.status_code, problem_type(refused)) == (400, "accountDoesNotExist")
    client.account_url = None
    assert client.register().status_code == 201
    assert client.order("a.example").status_code == 201
