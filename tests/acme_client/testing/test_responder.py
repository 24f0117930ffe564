from __future__ import annotations

import json

import pytest

from acme_client.testing import AcmeCA
from acme_client.testing.jws import encode
from acme_client.testing.state import MAX_NONCES
from tests.acme_client.testing.raw import RawClient, new_key, problem_type, public_json, sign


def test_directory(ca: AcmeCA, client: RawClient) -> None:
    answer = client.get("/directory")
    assert answer.headers["Content-Type"] == "application/json"
    assert "Replay-Nonce" not in answer.headers
    directory = answer.json()
    assert directory["newNonce"] == f"{ca.base_url}/new-nonce"
    assert directory["meta"] == {
        "termsOfService": "https://ca.example/terms/v1",
        "website": "https://ca.example",
        "caaIdentities": ["ca.example"],
        "profiles": dict.fromkeys(
            ("classic", "tlsserver", "shortlived"), "https://ca.example/docs/profiles"
        ),
    }
    # One member that no client knows.
    assert len(directory) == 8
    ca.settings.terms_of_service = ca.settings.website = None
    ca.settings.caa_identities = ()
    ca.settings.profiles = {}
    assert client.get("/directory").json()["meta"] == {}


def test_nonces(client: RawClient) -> None:
    head = client.session.head(client.url("/new-nonce"))
    assert (head.status_code, head.headers["Cache-Control"]) == (200, "no-store")
    got = client.get("/new-nonce")
    assert (got.status_code, got.content) == (204, b"")
    assert got.links["index"]["url"] == client.url("/directory")
    assert head.headers["Replay-Nonce"] != got.headers["Replay-Nonce"]


def test_a_nonce_is_good_once(client: RawClient) -> None:
    nonce = client.nonce()
    assert client.post(str(client.account_url), nonce=nonce).ok
    again = client.post(str(client.account_url), nonce=nonce)
    assert (again.status_code, problem_type(again)) == (400, "badNonce")
    assert client.post(str(client.account_url), nonce=again.headers["Replay-Nonce"]).ok
    unknown = client.post(str(client.account_url), nonce=encode(b"made up"))
    assert problem_type(unknown) == "badNonce"


def test_old_nonces_are_dropped(ca: AcmeCA, client: RawClient) -> None:
    first = client.nonce()
    for _ in range(MAX_NONCES):
        ca._state.new_nonce()
    assert problem_type(client.post(str(client.account_url), nonce=first)) == "badNonce"


def test_every_post_brings_a_nonce_also_when_refused(client: RawClient) -> None:
    for answer in (
        client.order("a.example"),
        client.order("nodots"),
        client.send("/new-order", b"{"),
        client.send("/nowhere", b""),
    ):
        assert answer.headers["Replay-Nonce"]


def test_the_date_is_the_clocks(ca: AcmeCA, client: RawClient) -> None:
    ca.clock.advance(days=400)
    assert f" {ca.clock.now().year} " in client.get("/directory").headers["Date"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/new-order", 405),
        ("GET", "/order/1", 405),
        ("PUT", "/new-order", 405),
        ("POST", "/directory", 405),
        ("GET", "/", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/directory/x", 404),
        ("POST", "/order", 404),
        ("POST", "/certificate/1/2/3", 404),
    ],
)
def test_paths_and_methods(client: RawClient, method: str, path: str, status: int) -> None:
    answer = client.session.request(method, client.url(path))
    assert (answer.status_code, problem_type(answer)) == (status, "malformed")
    assert ("Allow" in answer.headers) == (status == 405)


def test_the_media_type_counts(client: RawClient) -> None:
    refused = client.post("/new-order", {}, content_type="application/json")
    assert (refused.status_code, problem_type(refused)) == (415, "malformed")


def test_a_user_agent_is_wanted(client: RawClient) -> None:
    refused = client.get("/directory", headers={"User-Agent": ""})
    assert (refused.status_code, problem_type(refused)) == (400, "malformed")


def test_the_url_counts(client: RawClient) -> None:
    signed = sign(client.header(client.url("/new-account")), b"{}", client.key)
    refused = client.send("/new-order", signed)
    assert (refused.status_code, problem_type(refused)) == (403, "unauthorized")
    answer = client.post("/new-order?x=1", {"identifiers": []})
    assert "at least one identifier" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"protected": "e30"}'])
def test_bodies_that_are_no_jws(client: RawClient, body: bytes) -> None:
    refused = client.send("/new-order", body)
    assert not refused.ok
    assert problem_type(refused) in ("malformed", "badSignatureAlgorithm")


def test_accounts_sign_with_kid(client: RawClient) -> None:
    refused = client.post("/new-order", {}, kid=None, jwk=public_json(client.key))
    assert problem_type(refused) == "malformed"
    assert "signed with kid" in refused.json()["detail"]


@pytest.mark.parametrize(
    "kid", ["https://ca.example/account/1", "/account/1", "x", 7, None, "{base}/account/999"]
)
def test_kids_that_are_nobody(client: RawClient, kid: object) -> None:
    if isinstance(kid, str):
        kid = kid.format(base=client.ca.base_url)
    header = client.header(client.url("/new-order"))
    header["kid"] = kid
    refused = client.send("/new-order", sign(header, b"{}", client.key))
    assert problem_type(refused) == "accountDoesNotExist"


def test_the_signature_counts(client: RawClient) -> None:
    refused = client.post("/new-order", {}, key=new_key())
    assert (refused.status_code, problem_type(refused)) == (400, "malformed")


def test_requests_are_recorded(ca: AcmeCA, client: RawClient) -> None:
    order = client.order("a.example", "b.example")
    record = ca.requests.at("newOrder")[0]
    assert record.names == ("a.example", "b.example")
    assert record.account == ca.accounts[0].id
    assert record.protected["url"] == f"{ca.base_url}/new-order"
    assert record.payload is not None
    assert len(record.payload["identifiers"]) == 2
    assert record.headers["content-type"] == "application/jose+json"
    assert (record.status, record.problem) == (201, None)
    client.post(order.headers["Location"])
    assert ca.requests[-1].payload is None
    assert ca.requests[-1].names == ("a.example", "b.example")
    client.get("/nowhere")
    assert ca.requests[-1].endpoint is None
    client.send("/new-order", json.dumps(sign({"alg": "none"}, b"", client.key)).encode())
    assert ca.requests[-1].problem == "badSignatureAlgorithm"
    client.post("/new-order", {"identifiers": ["a.example", {"value": 1}]})
    assert not ca.requests[-1].names
