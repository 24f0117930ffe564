from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from acme_client.testing import (
    AcmeCA,
    BadCertificate,
    FailOrder,
    FailValidation,
    HangValidation,
    PassValidation,
    Problem,
    Profile,
    Status,
    StuckOrder,
)
from acme_client.testing.jws import encode
from tests.acme_client.testing.raw import (
    RawClient,
    build_csr,
    challenge_of,
    make_csr,
    problem_type,
)


def test_from_order_to_certificate(ca: AcmeCA, client: RawClient) -> None:
    ca.clock.freeze()
    created = client.order("a.example", "*.b.example")
    assert created.status_code == 201
    order = created.json()
    assert order["status"] == "pending"
    assert order["identifiers"] == [
        {"type": "dns", "value": "a.example"},
        {"type": "dns", "value": "*.b.example"},
    ]
    assert order["profile"] == "classic"
    assert "certificate" not in order
    first, second = (client.post(url).json() for url in order["authorizations"])
    assert first["identifier"] == {"type": "dns", "value": "a.example"}
    assert "wildcard" not in first
    assert sorted(c["type"] for c in first["challenges"]) == ["dns-01", "http-01", "tls-alpn-01"]
    assert second["identifier"] == {"type": "dns", "value": "b.example"}
    assert second["wildcard"] is True
    assert [c["type"] for c in second["challenges"]] == ["dns-01"]
    answered = client.answer(first)
    assert answered.links["up"]["url"] == order["authorizations"][0]
    assert answered.json()["status"] == "valid"
    assert answered.json()["validated"] == ca.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert client.post(created.headers["Location"]).json()["status"] == "pending"
    client.answer(second, "dns-01")
    assert client.post(created.headers["Location"]).json()["status"] == "ready"
    done = client.post(order["finalize"], {"csr": make_csr("a.example", "*.b.example")})
    assert done.headers["Location"] == created.headers["Location"]
    assert done.json()["status"] == "valid"
    assert client.post(done.json()["certificate"]).content.count(b"BEGIN") == 2
    assert [order.status for order in ca.orders] == [Status.VALID]
    assert repr(ca.orders[0]).endswith("valid for a.example, *.b.example>")


def test_challenge_kinds_follow_the_identifier(ca: AcmeCA, client: RawClient) -> None:
    order = client.order("192.0.2.1", "2001:db8::1", profile="shortlived")
    for url in order.json()["authorizations"]:
        kinds = {challenge["type"] for challenge in client.post(url).json()["challenges"]}
        assert kinds == {"http-01", "tls-alpn-01"}
    ca.settings.challenges = ("http-01",)
    assert problem_type(client.order("*.a.example")) == "rejectedIdentifier"


def test_persistent_challenges_name_the_ca(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.challenges = ("dns-persist-01",)
    order = client.order("a.example")
    authorization = client.post(order.json()["authorizations"][0]).json()
    (challenge,) = authorization["challenges"]
    assert challenge["issuer-domain-names"] == ["ca.example"]
    assert challenge["accounturi"] == client.account_url
    assert "token" not in challenge


def test_malformed_orders(client: RawClient) -> None:
    assert problem_type(client.post("/new-order")) == "malformed"
    assert problem_type(client.post("/new-order", {})) == "malformed"
    assert problem_type(client.order("nodots")) == "rejectedIdentifier"


def test_others_orders_are_closed(client: RawClient, stranger: RawClient) -> None:
    order = client.order("a.example")
    for url in (
        order.headers["Location"],
        order.json()["finalize"],
        order.json()["authorizations"][0],
        client.post(order.json()["authorizations"][0]).json()["challenges"][0]["url"],
    ):
        assert problem_type(stranger.post(url)) == "unauthorized"


def test_orders_are_read_by_post_as_get_only(client: RawClient) -> None:
    order = client.order("a.example")
    assert problem_type(client.post(order.headers["Location"], {})) == "malformed"


# -- profiles


def test_profiles_set_the_lifetime(ca: AcmeCA, client: RawClient) -> None:
    assert set(client.get("/directory").json()["meta"]["profiles"]) == {
        "classic",
        "tlsserver",
        "shortlived",
    }
    for profile, lifetime in (
        ("classic", timedelta(days=90)),
        ("tlsserver", timedelta(days=45)),
        ("shortlived", timedelta(hours=160)),
    ):
        client.issue("a.example", profile=profile)
        certificate = ca.certificates[-1]
        assert certificate.not_after - certificate.not_before == lifetime - timedelta(seconds=1)
        assert certificate.not_after == certificate.leaf.not_valid_after_utc
    ca.settings.profiles["classic"] = Profile(timedelta(days=64))
    ca.settings.lifetimes["b.example"] = timedelta(days=6)
    client.issue("a.example")
    client.issue("b.example")
    lifetimes = [c.not_after - c.not_before for c in ca.certificates[-2:]]
    assert [round(lifetime.total_seconds() / 86400) for lifetime in lifetimes] == [64, 6]


def test_profile_errors(ca: AcmeCA, client: RawClient) -> None:
    refused = client.order("a.example", profile="gold")
    assert (refused.status_code, problem_type(refused)) == (400, "invalidProfile")
    assert problem_type(client.order("192.0.2.1")) == "rejectedIdentifier"
    ca.settings.profiles = {}
    assert "profiles" not in client.get("/directory").json()["meta"]
    assert "profile" not in client.order("192.0.2.1").json()
    assert problem_type(client.order("a.example", profile="classic")) == "invalidProfile"
    client.issue("a.example")


# -- authorizations


def test_reuse_of_valid_authorizations(ca: AcmeCA, client: RawClient) -> None:
    first = client.ready_order("a.example").json()["authorizations"]
    assert client.order("a.example").json()["authorizations"] != first
    ca.settings.reuse_valid_authorizations = True
    # The newest is pending still, so nothing can be reused...
    assert client.order("a.example").json()["status"] == "pending"
    # ... until one is valid.
    valid = client.ready_order("a.example").json()["authorizations"]
    again = client.order("a.example").json()
    assert (again["authorizations"], again["status"]) == (valid, "ready")
    ca.clock.advance(days=31)
    assert client.order("a.example").json()["status"] == "pending"


def test_reuse_of_pending_authorizations(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.reuse_pending_authorizations = True
    first = client.order("a.example").json()
    assert client.order("a.example").json()["authorizations"] == first["authorizations"]
    assert client.order("*.a.example").json()["authorizations"] != first["authorizations"]


def test_deactivation_spoils_the_order(client: RawClient) -> None:
    order = client.order("a.example")
    url = order.json()["authorizations"][0]
    assert problem_type(client.post(url, {"status": "valid"})) == "malformed"
    assert client.post(url, {"status": "deactivated"}).json()["status"] == "deactivated"
    assert problem_type(client.post(url, {"status": "deactivated"})) == "malformed"
    assert client.post(order.headers["Location"]).json()["status"] == "invalid"
    challenge = client.post(url).json()["challenges"][0]
    assert problem_type(client.post(challenge["url"], {})) == "malformed"


def test_orders_and_authorizations_expire(ca: AcmeCA, client: RawClient) -> None:
    order = client.order("a.example")
    ready = client.ready_order("b.example")
    ca.clock.advance(days=8)
    assert client.post(order.headers["Location"]).json()["status"] == "invalid"
    assert client.post(order.json()["authorizations"][0]).json()["status"] == "expired"
    assert client.post(ready.headers["Location"]).json()["status"] == "invalid"
    assert client.post(ready.json()["authorizations"][0]).json()["status"] == "valid"


# -- challenges


def test_a_challenge_can_be_read_and_answered_twice(client: RawClient) -> None:
    order = client.order("a.example")
    authorization = client.post(order.json()["authorizations"][0]).json()
    challenge = challenge_of(authorization, "http-01")
    assert client.post(challenge["url"]).json() == challenge
    assert client.post(challenge["url"], {}).json()["status"] == "valid"
    assert client.post(challenge["url"], {}).json()["status"] == "valid"
    # Once valid, only the challenge that was used is shown.
    authorization = client.post(order.json()["authorizations"][0]).json()
    assert [c["url"] for c in authorization["challenges"]] == [challenge["url"]]


def test_failed_validation(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(FailValidation(Problem("dns", "no such name")), names=["a.example"])
    order = client.order("a.example", "b.example")
    client.authorize(order)
    assert client.post(order.headers["Location"]).json()["status"] == "invalid"
    failed = client.post(order.json()["authorizations"][0]).json()
    assert failed["status"] == "invalid"
    assert failed["challenges"][0]["error"] == {
        "type": "urn:ietf:params:acme:error:dns",
        "detail": "no such name",
        "status": 400,
    }
    refused = client.post(failed["challenges"][0]["url"], {})
    assert problem_type(refused) == "malformed"
    refused = client.post(order.json()["finalize"], {"csr": make_csr("a.example", "b.example")})
    assert (refused.status_code, problem_type(refused)) == (403, "orderNotReady")


def test_hanging_validation(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(HangValidation())
    order = client.order("a.example")
    client.authorize(order)
    waiting = client.post(order.json()["authorizations"][0])
    assert waiting.json()["status"] == "pending"
    assert waiting.headers["Retry-After"] == "1"
    assert challenge_of(waiting.json(), "http-01")["status"] == "processing"
    ca.clock.advance(days=8)
    assert client.post(order.headers["Location"]).json()["status"] == "invalid"


def test_passed_validation_asks_nobody(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.validate = True
    ca.faults.add(PassValidation(), names=["a.example"])
    order = client.ready_order("a.example")
    assert client.post(order.headers["Location"]).json()["status"] == "ready"


# -- finalize


def test_finalize_wants_a_ready_order(client: RawClient) -> None:
    order = client.order("a.example").json()
    refused = client.post(order["finalize"], {"csr": make_csr("a.example")})
    assert (refused.status_code, problem_type(refused)) == (403, "orderNotReady")
    assert "is pending" in refused.json()["detail"]


def test_finalize_twice(client: RawClient) -> None:
    order = client.ready_order("a.example").json()
    assert client.post(order["finalize"], {"csr": make_csr("a.example")}).ok
    refused = client.post(order["finalize"], {"csr": make_csr("a.example")})
    assert problem_type(refused) == "orderNotReady"


def _der(csr: Any) -> str:
    return encode(csr.public_bytes(serialization.Encoding.DER))


def _tampered() -> str:
    der = bytearray(build_csr("a.example").public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return encode(bytes(der))


@pytest.mark.parametrize(
    ("csr", "kind"),
    [
        (None, "malformed"),
        ("***", "malformed"),
        (encode(b"no DER"), "badCSR"),
        (_tampered(), "badCSR"),
        (make_csr("b.example"), "badCSR"),
        (make_csr("a.example", "b.example"), "badCSR"),
        (make_csr(), "badCSR"),
        (make_csr("a.example", common_name="b.example"), "badCSR"),
        (make_csr("a.example", key=rsa.generate_private_key(65537, 1024)), "badCSR"),
        (make_csr("a.example", key=ec.generate_private_key(ec.SECP521R1())), "badCSR"),
    ],
)
def test_csrs_that_are_refused(client: RawClient, csr: str | None, kind: str) -> None:
    order = client.ready_order("a.example").json()
    assert problem_type(client.post(order["finalize"], {"csr": csr})) == kind
    # RFC 8555 §7.4: the order stays ready, and a better CSR may follow.
    assert client.post(order["finalize"], {"csr": make_csr("a.example")}).ok


def test_ed25519_is_refused(client: RawClient) -> None:
    from cryptography import x509

    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
        .sign(ed25519.Ed25519PrivateKey.generate(), None)
    )
    order = client.ready_order("a.example").json()
    assert problem_type(client.post(order["finalize"], {"csr": _der(csr)})) == "badCSR"


def test_the_account_key_is_not_for_certificates(client: RawClient) -> None:
    order = client.ready_order("a.example").json()
    key = serialization.load_pem_private_key(
        client.key.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        None,
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    refused = client.post(order["finalize"], {"csr": make_csr("a.example", key=key)})
    assert problem_type(refused) == "badCSR"


@pytest.mark.parametrize(
    "csr",
    [
        make_csr(common_name="a.example"),
        make_csr("A.Example", common_name="a.example"),
        make_csr("a.example", key=rsa.generate_private_key(65537, 2048)),
        make_csr("a.example", key=ec.generate_private_key(ec.SECP384R1())),
    ],
)
def test_csrs_that_are_taken(client: RawClient, csr: str) -> None:
    order = client.ready_order("a.example").json()
    assert client.post(order["finalize"], {"csr": csr}).json()["status"] == "valid"


def test_an_address_may_stand_in_the_common_name(ca: AcmeCA, client: RawClient) -> None:
    order = client.ready_order("192.0.2.1", profile="shortlived").json()
    csr = make_csr("192.0.2.1", common_name="192.0.2.1")
    assert client.post(order["finalize"], {"csr": csr}).ok


def test_stuck_until_a_time(ca: AcmeCA, client: RawClient) -> None:
    ca.clock.freeze()
    ca.faults.add(StuckOrder(until=ca.clock.now() + timedelta(hours=1)))
    order = client.ready_order("a.example")
    stuck = client.post(order.json()["finalize"], {"csr": make_csr("a.example")})
    assert (stuck.json()["status"], stuck.headers["Retry-After"]) == ("processing", "1")
    ca.clock.advance(minutes=59)
    assert client.post(order.headers["Location"]).json()["status"] == "processing"
    ca.clock.advance(minutes=1)
    done = client.post(order.headers["Location"])
    assert done.json()["status"] == "valid"
    assert "Retry-After" not in done.headers
    issued = ca.certificates[0].not_before + ca.settings.backdate
    assert issued == ca.clock.now().replace(microsecond=0)


def test_stuck_for_ever(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(StuckOrder())
    order = client.ready_order("a.example")
    client.post(order.json()["finalize"], {"csr": make_csr("a.example")})
    ca.clock.advance(days=1000)
    assert client.post(order.headers["Location"]).json()["status"] == "processing"


def test_issuance_takes_the_time_that_is_set(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.issuance_time = timedelta(seconds=5)
    ca.settings.poll_after = None
    ca.faults.add(BadCertificate("wrong-names"))
    order = client.ready_order("a.example")
    stuck = client.post(order.json()["finalize"], {"csr": make_csr("a.example")})
    assert stuck.json()["status"] == "processing"
    assert "Retry-After" not in stuck.headers
    ca.clock.advance(seconds=6)
    assert [order.status for order in ca.orders] == [Status.VALID]
    assert "wrong.invalid" in str(ca.certificates[0].leaf.extensions)


def test_failed_issuance(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(FailOrder())
    order = client.ready_order("a.example")
    failed = client.post(order.json()["finalize"], {"csr": make_csr("a.example")}).json()
    assert failed["status"] == "invalid"
    assert failed["error"]["type"].endswith("serverInternal")
    assert "certificate" not in failed


# -- replaces (RFC 9773 §5)


def test_an_order_replaces_a_certificate_once(ca: AcmeCA, client: RawClient) -> None:
    client.issue("a.example")
    old = ca.certificates[0]
    order = client.order("a.example", "b.example", replaces=old.renewal_id)
    assert order.json()["replaces"] == old.renewal_id
    # Marked only when the new one is issued.
    client.issue("a.example", replaces=old.renewal_id)
    assert old.replaced_by is ca.orders[-1]
    refused = client.order("a.example", replaces=old.renewal_id)
    assert (refused.status_code, problem_type(refused)) == (409, "alreadyReplaced")


def test_replacements_that_are_refused(ca: AcmeCA, client: RawClient, stranger: RawClient) -> None:
    client.issue("a.example")
    known = ca.certificates[0].renewal_id
    assert client.order("a.example", replaces="x.y").status_code == 404
    assert problem_type(client.order("a.example", replaces=7)) == "malformed"
    assert problem_type(client.order("b.example", replaces=known)) == "malformed"
    assert problem_type(stranger.order("a.example", replaces=known)) == "unauthorized"


def test_without_renewal_information_replaces_is_ignored(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.renewal_info = False
    order = client.order("a.example", replaces="x.y")
    assert order.status_code == 201
    assert "replaces" not in order.json()
