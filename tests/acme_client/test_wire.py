"""Reading what a CA sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.errors import Problem, ProtocolViolation
from acme_client.renewal import RenewalWindow
from acme_client.wire import (
    MAX_TEXT,
    parse_account,
    parse_authorization,
    parse_challenge,
    parse_directory,
    parse_links,
    parse_object,
    parse_order,
    parse_problem,
    parse_renewal_info,
    printable,
)

URL = "https://ca.example/x"
TOKEN = "A" * 43

DIRECTORY: dict[str, Any] = {
    "newNonce": "https://ca.example/nonce",
    "newAccount": "https://ca.example/account",
    "newOrder": "https://ca.example/order",
    "revokeCert": "https://ca.example/revoke",
    "keyChange": "https://ca.example/key",
    "renewalInfo": "https://ca.example/ari",
    "meta": {
        "termsOfService": "https://ca.example/terms",
        "externalAccountRequired": True,
        "profiles": {"classic": "The usual", "shortlived": "Six days"},
    },
}

CHALLENGE: dict[str, Any] = {
    "type": "http-01",
    "url": "https://ca.example/challenge",
    "token": TOKEN,
    "status": "pending",
}

AUTHORIZATION: dict[str, Any] = {
    "identifier": {"type": "dns", "value": "a.example"},
    "status": "pending",
    "challenges": [CHALLENGE],
}

ORDER: dict[str, Any] = {
    "status": "pending",
    "identifiers": [{"type": "dns", "value": "A.example"}, {"type": "ip", "value": "192.0.2.1"}],
    "authorizations": ["https://ca.example/authz/1"],
    "finalize": "https://ca.example/finalize",
    "expires": "2026-03-08T12:00:00Z",
}


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def test_a_directory() -> None:
    directory = parse_directory(URL, DIRECTORY)
    assert directory.url == URL
    assert directory.new_order == "https://ca.example/order"
    assert directory.renewal_info == "https://ca.example/ari"
    assert directory.external_account_required
    assert set(directory.profiles) == {"classic", "shortlived"}
    assert directory.terms_of_service == "https://ca.example/terms"


def test_a_plain_directory() -> None:
    plain = without(without(without(DIRECTORY, "meta"), "renewalInfo"), "keyChange")
    directory = parse_directory(URL, plain)
    assert directory.renewal_info is None
    assert directory.key_change is None
    assert not directory.external_account_required
    assert directory.profiles == {}


@pytest.mark.parametrize("name", ["newNonce", "newAccount", "newOrder", "revokeCert"])
@pytest.mark.parametrize("value", [None, 5, "http://ca.example/x", "/relative"])
def test_a_directory_with_a_bad_url(name: str, value: object) -> None:
    with pytest.raises(ProtocolViolation):
        parse_directory(URL, {**DIRECTORY, name: value})


@pytest.mark.parametrize("meta", [[], {"profiles": []}])
def test_a_directory_with_a_bad_meta(meta: object) -> None:
    with pytest.raises(ProtocolViolation):
        parse_directory(URL, {**DIRECTORY, "meta": meta})


def test_an_account() -> None:
    account = parse_account(URL, {"status": "valid", "contact": ["mailto:a@example.com"]})
    assert (account.url, account.status) == (URL, "valid")
    assert account.contact == ("mailto:a@example.com",)
    assert parse_account(URL, {"contact": 7}).contact == ()


def test_an_order() -> None:
    order = parse_order(URL, ORDER, timedelta(seconds=3))
    assert (order.url, order.status) == (URL, "pending")
    assert order.names == ("a.example", "192.0.2.1")
    assert order.authorizations == ("https://ca.example/authz/1",)
    assert order.expires == datetime(2026, 3, 8, 12, tzinfo=UTC)
    assert order.retry_after == timedelta(seconds=3)
    assert (order.certificate, order.problem) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "weird"},
        {"status": None},
        {"status": "valid"},
        {"status": ["pending"]},
        {"identifiers": None},
        {"identifiers": [{}]},
        {"identifiers": [{"type": "dns", "value": "a/../b"}]},
        {"authorizations": "https://ca.example"},
        {"authorizations": ["http://internal/"]},
        {"authorizations": [1]},
        {"authorizations": ["https://ca.example/"] * 500},
        {"finalize": "file:///etc/passwd"},
        {"certificate": "gopher://x"},
        {"expires": "tomorrow"},
        {"expires": 5},
        {"expires": "9999-12-31T23:59:59-14:00"},
    ],
)
def test_a_bad_order(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        parse_order(URL, {**ORDER, **change}, None)


def test_an_authorisation() -> None:
    found = parse_authorization(URL, AUTHORIZATION, None)
    assert (found.name, found.domain, found.status) == ("a.example", "a.example", "pending")
    assert [challenge.token for challenge in found.challenges] == [TOKEN]
    star = parse_authorization(URL, {**AUTHORIZATION, "wildcard": True}, None)
    assert (star.name, star.domain) == ("*.a.example", "a.example")


@pytest.mark.parametrize(
    "change",
    [
        {"identifier": None},
        {"identifier": {"type": "dns"}},
        {"status": "processing"},
        {"challenges": None},
        {"challenges": [5]},
        {"challenges": [{**CHALLENGE, "url": "http://x"}]},
        {"challenges": [{**CHALLENGE, "status": "what"}]},
    ],
)
def test_a_bad_authorisation(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        parse_authorization(URL, {**AUTHORIZATION, **change}, None)


@pytest.mark.parametrize(
    "token", ["", "short", "../../../../etc/passwd/x", "A" * 129, "A" * 42 + "/"]
)
def test_a_token_is_base64url_of_its_length(token: str) -> None:
    with pytest.raises(ProtocolViolation, match="token"):
        parse_challenge({**CHALLENGE, "token": token})


def test_challenges_of_the_future_are_left_alone() -> None:
    assert parse_challenge({"type": "dns-persist-01", "status": "unheard of"}) is None
    kinds = [{"type": "new-01"}, CHALLENGE]
    found = parse_authorization(URL, {**AUTHORIZATION, "challenges": kinds}, None)
    assert len(found.challenges) == 1


def test_problems() -> None:
    problem = parse_problem(
        {
            "type": "urn:ietf:params:acme:error:compound",
            "detail": "Two\nthings\x1b[31m",
            "status": 403,
            "subproblems": [
                {
                    "type": "urn:ietf:params:acme:error:caa",
                    "detail": "no",
                    "identifier": {"type": "dns", "value": "a.example"},
                    "subproblems": [{"type": "deeper"}],
                }
            ],
        }
    )
    assert problem.code == "compound"
    assert problem.detail == "Two things [31m"
    inner = problem.subproblems[0]
    assert (inner.code, inner.identifier, inner.subproblems) == ("caa", "a.example", ())
    assert str(problem) == "compound: Two things [31m; a.example: caa: no"


@pytest.mark.parametrize("document", [None, [], "x", {}, {"type": 5, "subproblems": 7}])
def test_what_is_no_problem_document(document: object) -> None:
    assert isinstance(parse_problem(document), Problem)


def test_renewal_info() -> None:
    window = parse_renewal_info(
        {
            "suggestedWindow": {
                "start": "2026-03-01T12:00:00.123456789Z",
                "end": "2026-03-02T13:00:00+01:00",
            },
            "explanationURL": "https://ca.example/why",
        }
    )
    assert window == RenewalWindow(
        datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
        datetime(2026, 3, 2, 12, tzinfo=UTC),
        "https://ca.example/why",
    )


@pytest.mark.parametrize(
    "document",
    [{}, {"suggestedWindow": []}, {"suggestedWindow": {"start": "2026-01-01T00:00:00Z"}}],
)
def test_bad_renewal_info(document: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        parse_renewal_info(document)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, ()),
        ('<https://ca.example/a>;rel="alternate"', ("https://ca.example/a",)),
        (
            '<https://ca.example/dir>;rel="index", </b>; rel=alternate, <c>;rel="alternate"',
            ("https://ca.example/b", "https://ca.example/c"),
        ),
        ('<https://ca.example/up>;rel="up"', ()),
        ("rubbish", ()),
    ],
)
def test_links(header: str | None, found: tuple[str, ...]) -> None:
    assert parse_links(header, "alternate", "https://ca.example/x") == found


def test_links_to_other_schemes_are_refused() -> None:
    with pytest.raises(ProtocolViolation):
        parse_links('<http://ca.example/a>;rel="alternate"', "alternate", URL)


@pytest.mark.parametrize("body", [b"", b"[]", b"nul", b'"x"', b"[" * 100_000])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="the CA's order"):
        parse_object(body, "order")


def test_text_for_people_is_short_and_printable() -> None:
    assert printable("a\r\nb\x00c") == "a  b c"
    assert len(printable("x" * 10**6)) == MAX_TEXT + 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from([DIRECTORY, ORDER, AUTHORIZATION]), st.data())
def test_any_field_may_be_anything(document: dict[str, Any], data: st.DataObject) -> None:
    changed = {**document, data.draw(st.sampled_from(sorted(document))): data.draw(json_values)}
    body = json.dumps(changed).encode()
    for parse in (
        lambda found: parse_directory(URL, found),
        lambda found: parse_order(URL, found, None),
        lambda found: parse_authorization(URL, found, None),
        parse_renewal_info,
    ):
        try:
            parse(parse_object(body, "thing"))
        except ProtocolViolation:
            continue


def test_what_the_ca_calls_itself() -> None:
    assert parse_directory(URL, {**DIRECTORY, "meta": {}}).caa_identities == ()
    meta = {"caaIdentities": ["ca.example", 7, "other.example"]}
    found = parse_directory(URL, {**DIRECTORY, "meta": meta})
    assert found.caa_identities == ("ca.example", "other.example")
