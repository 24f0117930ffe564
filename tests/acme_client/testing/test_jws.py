from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from josepy.jwa import ES384, RS256
from josepy.jwk import JWKEC, JWKRSA

from acme_client.testing import jws
from acme_client.testing.problems import Problem
from tests.acme_client.testing.raw import mac, new_key, public_json, sign

URL = "https://ca.example/new-order"
KEY = new_key()
RSA_KEY = JWKRSA(key=rsa.generate_private_key(65537, 2048))


def _header(**changes: Any) -> dict[str, Any]:
    header: dict[str, Any] = {"alg": "ES256", "nonce": "bm9uY2U", "url": URL}
    header.update({"kid": "https://ca.example/a/1", **changes})
    return {name: value for name, value in header.items() if value is not None}


def _refused(message: Any, **options: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        jws.parse(message, **options)
    return caught.value


def test_a_good_message_is_read_and_verified() -> None:
    parsed = jws.parse(sign(_header(), b'{"a": 1}', KEY))
    jws.check_signature(parsed, KEY.public_key())
    assert (parsed.algorithm, parsed.header["url"], parsed.object()) == ("ES256", URL, {"a": 1})


def test_other_algorithms() -> None:
    message = sign(_header(alg="RS256"), b"", RSA_KEY, RS256)
    jws.check_signature(jws.parse(message), RSA_KEY.public_key())
    key = JWKEC(key=ec.generate_private_key(ec.SECP384R1()))
    message = sign(_header(alg="ES384"), b"", key, ES384)
    jws.check_signature(jws.parse(message), key.public_key())


@pytest.mark.parametrize("member", ["protected", "payload"])
def test_a_changed_message_does_not_verify(member: str) -> None:
    message = sign(_header(), b'{"a": 1}', KEY)
    changed = _header(url=URL + "2") if member == "protected" else {"a": 2}
    message[member] = jws.encode(json.dumps(changed).encode())
    with pytest.raises(Problem, match="does not verify"):
        jws.check_signature(jws.parse(message), KEY.public_key())


def test_another_key_or_another_algorithm_does_not_verify() -> None:
    parsed = jws.parse(sign(_header(), b"", KEY))
    with pytest.raises(Problem, match="does not verify"):
        jws.check_signature(parsed, new_key().public_key())
    with pytest.raises(Problem, match="does not fit"):
        jws.check_signature(parsed, RSA_KEY.public_key())


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (_header(nonce=None), "no nonce"),
        (_header(nonce="not base64!"), "base64url"),
        (_header(nonce="YQ=="), "base64url"),
        (_header(url=None), "no url"),
        (_header(url=7), "no url"),
        (_header(kid=None), "exactly one of jwk and kid"),
        (_header(jwk={}), "exactly one of jwk and kid"),
        (_header(b64=False), "may not have 'b64'"),
        (_header(crit=["exp"]), "may not have 'crit'"),
    ],
)
def test_headers_that_rfc_8555_forbids(header: dict[str, Any], words: str) -> None:
    problem = _refused(sign(header, b"", KEY))
    assert problem.kind == "malformed"
    assert words in problem.detail


@pytest.mark.parametrize("algorithm", [None, "none", "HS256", "ES512", "PS256", ["ES256"], {}])
def test_algorithms_that_are_not_accepted(algorithm: Any) -> None:
    problem = _refused(sign(_header(alg=algorithm), b"", KEY))
    assert problem.kind == "badSignatureAlgorithm"
    assert problem.document()["algorithms"] == ["ES256", "ES384", "RS256"]


@pytest.mark.parametrize(
    "change",
    [
        {"header": {"kid": "x"}},
        {"signatures": []},
        {"protected": None},
        {"protected": jws.encode(b"[]")},
        {"protected": jws.encode(b"{")},
        {"payload": None},
        {"payload": "a=="},
        {"payload": "a"},
        {"signature": None},
        {"signature": "*"},
    ],
)
def test_forms_that_are_malformed(change: dict[str, Any]) -> None:
    assert _refused({**sign(_header(), b"", KEY), **change}).kind == "malformed"


@pytest.mark.parametrize("message", [None, [], "text", 3, {}])
def test_what_is_no_jws_at_all(message: Any) -> None:
    assert _refused(message).kind == "malformed"


def test_inner_messages_have_no_nonce() -> None:
    message = sign(_header(), b"", KEY)
    assert "may not have a nonce" in _refused(message, nonce=False).detail


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from(["protected", "payload", "signature", "alg", "jwk", "kid"]),
)
def test_any_value_anywhere_is_read_or_refused(value: Any, where: str) -> None:
    message = sign(_header(), b"{}", KEY)
    if where in message:
        message[where] = value
    else:
        header = {**_header(), where: value}
        message["protected"] = jws.encode(json.dumps(header).encode())
    try:
        jws.parse(message)
    except Problem:
        return


@pytest.mark.parametrize("payload", [b"[]", b"{", b"3", b"\xff"])
def test_payload_must_be_an_object(payload: bytes) -> None:
    with pytest.raises(Problem, match="JSON"):
        jws.parse(sign(_header(), payload, KEY)).object()


def test_public_keys_are_read() -> None:
    assert jws.public_key(public_json(KEY)) == KEY.public_key()
    assert jws.public_key(public_json(RSA_KEY)) == RSA_KEY.public_key()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "malformed"),
        ({}, "badPublicKey"),
        ({"kty": "oct", "k": "YQ"}, "malformed"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "badPublicKey"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "badPublicKey"),
        ({"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}, "badPublicKey"),
    ],
)
def test_public_keys_that_are_refused(value: Any, kind: str) -> None:
    with pytest.raises(Problem) as caught:
        jws.public_key(value)
    assert caught.value.kind == kind


def test_private_keys_are_refused() -> None:
    with pytest.raises(Problem, match="private"):
        jws.public_key(KEY.to_json())


def test_weak_and_foreign_curves_are_refused() -> None:
    small = public_json(JWKRSA(key=rsa.generate_private_key(65537, 1024)))
    with pytest.raises(Problem, match="2048 to 4096 bits, not 1024"):
        jws.public_key(small)
    big = public_json(JWKEC(key=ec.generate_private_key(ec.SECP521R1())))
    with pytest.raises(Problem, match="P-256 or P-384"):
        jws.public_key(big)


def test_macs() -> None:
    message = mac(_header(alg="HS256", nonce=None), b"{}", b"secret")
    parsed = jws.parse(message, algorithms=jws.MAC_ALGORITHMS, nonce=False)
    assert jws.check_mac(parsed, b"secret")
    assert not jws.check_mac(parsed, b"guess")


def test_thumbprint_of_the_example_in_rfc_7638() -> None:
    # The example of RFC 7638 §3.1.
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6t"
        "Soc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGj"
        "QR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFT"
        "WhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }
    assert jws.thumbprint(jws.public_key(key)) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
