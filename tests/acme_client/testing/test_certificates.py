from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from acme_client.testing import DEFECTS, AcmeCA, BadCertificate, Defect
from acme_client.testing.jws import encode
from tests.acme_client.testing.raw import RawClient, make_csr, problem_type


def _der(pem: bytes) -> str:
    certificate = x509.load_pem_x509_certificates(pem)[0]
    return encode(certificate.public_bytes(serialization.Encoding.DER))


# -- download


def test_alternate_chains_lead_to_the_other_root(ca: AcmeCA, client: RawClient) -> None:
    client.issue("a.example")
    url = f"{ca.base_url}/certificate/{ca.certificates[0].id}"
    default = client.post(url)
    assert default.headers["Content-Type"] == "application/pem-certificate-chain"
    alternate = client.post(default.links["alternate"]["url"])
    assert alternate.links["alternate"]["url"] == url
    issuers = [
        x509.load_pem_x509_certificates(answer.content)[1].issuer for answer in (default, alternate)
    ]
    assert issuers == [root.subject for root in ca.roots]
    for missing in ("/certificate/999", f"{url}/2", f"{url}/x", "/certificate/x"):
        assert client.post(missing).status_code == 404


def test_only_its_account_may_download(ca: AcmeCA, client: RawClient, stranger: RawClient) -> None:
    client.issue("a.example")
    url = f"/certificate/{ca.certificates[0].id}"
    assert problem_type(stranger.post(url)) == "unauthorized"
    assert client.get(url).status_code == 405
    assert problem_type(client.post(url, {})) == "malformed"


@pytest.mark.parametrize("defect", DEFECTS)
def test_bad_certificates_are_served_as_they_are(
    ca: AcmeCA, client: RawClient, defect: Defect
) -> None:
    ca.faults.add(BadCertificate(defect))
    bad = client.issue("a.example", "b.example")
    assert bad == ca.certificates[0].chains[0]
    good = client.issue("a.example", "b.example")
    assert ca.certificate(good) is ca.certificates[1]


# -- revocation


def test_revoked_by_the_account(ca: AcmeCA, client: RawClient) -> None:
    certificate = _der(client.issue("a.example"))
    assert client.post("/revoke-cert", {"certificate": certificate, "reason": 4}).ok
    assert ca.certificates[0].reason == 4
    assert ca.certificates[0].revoked is not None
    assert ca.requests[-1].names == ("a.example",)
    refused = client.post("/revoke-cert", {"certificate": certificate})
    assert (refused.status_code, problem_type(refused)) == (400, "alreadyRevoked")


def test_revoked_by_the_certificates_key(ca: AcmeCA, client: RawClient) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _der(client.issue("a.example", key=key))
    holder = RawClient(ca, key=JWKEC(key=key))
    assert holder.post("/revoke-cert", {"certificate": certificate, "reason": 1}).ok
    # A key that is compromised once is never used again.
    order = client.ready_order("a.example").json()
    refused = client.post(order["finalize"], {"csr": make_csr("a.example", key=key)})
    assert problem_type(refused) == "badCSR"
    assert "compromised" in refused.json()["detail"]


def test_revoked_by_whoever_holds_the_names(
    ca: AcmeCA, client: RawClient, stranger: RawClient
) -> None:
    certificate = _der(client.issue("a.example", "b.example"))
    assert problem_type(stranger.post("/revoke-cert", {"certificate": certificate})) == (
        "unauthorized"
    )
    stranger.ready_order("a.example")
    stranger.order("b.example")
    assert not stranger.post("/revoke-cert", {"certificate": certificate}).ok
    stranger.ready_order("b.example")
    assert stranger.post("/revoke-cert", {"certificate": certificate}).ok


def test_a_foreign_key_may_not_revoke(ca: AcmeCA, client: RawClient) -> None:
    certificate = _der(client.issue("a.example"))
    nobody = RawClient(ca)
    refused = nobody.post("/revoke-cert", {"certificate": certificate})
    assert (refused.status_code, problem_type(refused)) == (403, "unauthorized")


@pytest.mark.parametrize("reason", [-1, 2, 6, 7, 9, 11, "1", True, None])
def test_reasons_that_are_refused(client: RawClient, reason: Any) -> None:
    certificate = _der(client.issue("a.example"))
    refused = client.post("/revoke-cert", {"certificate": certificate, "reason": reason})
    assert (refused.status_code, problem_type(refused)) == (400, "badRevocationReason")


def test_key_compromise_needs_the_key(client: RawClient) -> None:
    certificate = _der(client.issue("a.example"))
    refused = client.post("/revoke-cert", {"certificate": certificate, "reason": 1})
    assert problem_type(refused) == "badRevocationReason"


def test_certificates_of_others_are_unknown(client: RawClient) -> None:
    assert client.post("/revoke-cert", {"certificate": encode(b"x")}).status_code == 404
    assert problem_type(client.post("/revoke-cert", {})) == "malformed"


# -- renewal information


def _window(client: RawClient, renewal_id: str) -> dict[str, Any]:
    answer = client.get(f"/renewal-info/{renewal_id}")
    assert answer.headers["Retry-After"] == "21600"
    window = answer.json()["suggestedWindow"]
    assert isinstance(window, dict)
    return window


def test_renewal_window_follows_the_lifetime(ca: AcmeCA, client: RawClient) -> None:
    for profile, share in (("classic", 3), ("shortlived", 2)):
        client.issue("a.example", profile=profile)
        certificate = ca.certificates[-1]
        lifetime = certificate.not_after - certificate.not_before
        window = _window(client, certificate.renewal_id)
        middle = certificate.not_after - lifetime / share
        assert window["start"] < middle.strftime("%Y-%m-%dT%H:%M:%SZ") < window["end"]


def test_renewal_window_that_the_test_sets(ca: AcmeCA, client: RawClient) -> None:
    client.issue("a.example")
    certificate = ca.certificates[0]
    now = ca.clock.now()
    ca.set_renewal_window(certificate, now, now + timedelta(days=1), "https://ca.example/why")
    answer = client.get(f"/renewal-info/{certificate.renewal_id}").json()
    assert answer["suggestedWindow"]["start"] == now.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert answer["explanationURL"] == "https://ca.example/why"
    ca.settings.renewal_retry_after = None
    assert "Retry-After" not in client.get(f"/renewal-info/{certificate.renewal_id}").headers


def test_renewal_window_of_a_revoked_certificate_is_past(ca: AcmeCA, client: RawClient) -> None:
    client.issue("a.example")
    certificate = ca.certificates[0]
    ca.revoke(certificate)
    window = _window(client, certificate.renewal_id)
    assert window["end"] < ca.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def test_renewal_information_of_the_unknown(ca: AcmeCA, client: RawClient) -> None:
    assert client.get("/renewal-info/a.b").status_code == 404
    ca.settings.renewal_info = False
    assert "renewalInfo" not in client.get("/directory").json()
