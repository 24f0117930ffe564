"""The CA and the client of PyPI's ``acme`` agree, over real HTTPS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwa import ES256, RS256
from josepy.jwk import JWK, JWKEC, JWKRSA

from acme_client.testing import (
    AcmeCA,
    FailValidation,
    Settings,
    Status,
    StuckOrder,
    bad_nonce,
    rate_limited,
)
from acme_client.testing.jws import encode
from tests.acme_client.testing.raw import build_csr
from tests.http_server import Answer, http_server


class Responses:
    """What a server answers http-01 with: by path, what was put in."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.port = 0

    def answer(self, host: str, target: str) -> Answer:
        body = self.answers.get(target, "").encode()
        return 200 if body else 404, {}, body


@pytest.fixture
def responses() -> Iterator[Responses]:
    found = Responses()
    with http_server(found.answer) as found.port:
        yield found


@pytest.fixture
def ca(make_acme_ca: Callable[..., AcmeCA], responses: Responses) -> AcmeCA:
    return make_acme_ca(Settings(http_port=responses.port))


def _client(ca: AcmeCA, key: JWK | None = None) -> client.ClientV2:
    key = key or JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    net = client.ClientNetwork(
        key,
        alg=RS256 if isinstance(key, JWKRSA) else ES256,
        verify_ssl=str(ca.trust_file),  # type: ignore[arg-type]  # passed on to requests
        timeout=10,
    )
    directory = messages.Directory.from_json(net.get(ca.directory_url).json())
    return client.ClientV2(directory, net)


def _register(acme: client.ClientV2) -> messages.RegistrationResource:
    return acme.new_account(
        messages.NewRegistration.from_data(email="ops@a.example", terms_of_service_agreed=True)
    )


def _csr(*names: str) -> bytes:
    return build_csr(*names).public_bytes(serialization.Encoding.PEM)


def _answer(acme: client.ClientV2, order: messages.OrderResource, responses: Responses) -> None:
    for authorization in order.authorizations:
        (challenge,) = [
            challenge
            for challenge in authorization.body.challenges
            if isinstance(challenge.chall, challenges.HTTP01)
        ]
        response, validation = challenge.response_and_validation(acme.net.key)
        responses.answers[challenge.path] = validation
        acme.answer_challenge(challenge, response)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_issuance(ca: AcmeCA, responses: Responses, kind: str) -> None:
    key: JWK = (
        JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        if kind == "ec"
        else JWKRSA(key=rsa.generate_private_key(65537, 2048))
    )
    acme = _client(ca, key)
    _register(acme)
    order = acme.new_order(_csr("a.example", "b.example"))
    _answer(acme, order, responses)
    ca.wait_for(lambda ca: ca.orders[0].status is Status.READY)
    done = acme.poll_and_finalize(order)
    chain = x509.load_pem_x509_certificates(done.fullchain_pem.encode())
    assert chain[0] == ca.certificates[0].leaf
    acme.net.session.close()


def test_alternates_profiles_and_renewal_information(ca: AcmeCA, responses: Responses) -> None:
    ca.settings.validate = False
    acme = _client(ca)
    _register(acme)
    order = acme.new_order(_csr("a.example"), profile="shortlived")
    assert order.body.profile == "shortlived"
    _answer(acme, order, responses)
    far = ca.clock.now().replace(tzinfo=None) + timedelta(days=1)
    done = acme.finalize_order(order, far, fetch_alternative_chains=True)
    assert len(done.alternative_fullchains_pem) == 1
    when, _again = acme.renewal_time(done.fullchain_pem.encode())
    certificate = ca.certificates[0]
    assert when is not None
    assert certificate.not_before < when < certificate.not_after
    acme.revoke(x509.load_pem_x509_certificate(done.fullchain_pem.encode()), 4)
    assert certificate.revoked is not None
    acme.net.session.close()


def test_external_account(ca: AcmeCA) -> None:
    ca.settings.external_account_required = True
    ca.settings.external_accounts["kid-1"] = b"s" * 32
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    acme = _client(ca, key)
    with pytest.raises(messages.Error, match="external account binding"):
        _register(acme)
    binding = messages.ExternalAccountBinding.from_data(
        key.public_key(), "kid-1", encode(b"s" * 32), acme.directory
    )
    acme.new_account(
        messages.NewRegistration.from_data(
            terms_of_service_agreed=True, external_account_binding=binding
        )
    )
    assert ca.accounts[0].external_account is not None
    acme.net.session.close()


def test_account_updates(ca: AcmeCA) -> None:
    acme = _client(ca)
    account = _register(acme)
    with pytest.raises(errors.ConflictError) as conflict:
        _register(_client(ca, acme.net.key))
    assert conflict.value.location == account.uri
    found = acme.query_registration(account)
    assert found.uri == account.uri
    acme.update_registration(account, account.body.update(contact=("mailto:x@y.example",)))
    assert ca.accounts[0].contact == ("mailto:x@y.example",)
    acme.deactivate_registration(account)
    assert ca.accounts[0].status is Status.DEACTIVATED
    acme.net.session.close()


def test_faults_reach_the_client(ca: AcmeCA, responses: Responses) -> None:
    ca.settings.validate = False
    acme = _client(ca)
    ca.faults.add(bad_nonce(), at="newAccount")
    _register(acme)
    ca.faults.add(rate_limited(retry_after=7, detail="easy now"), at="newOrder")
    with pytest.raises(messages.Error, match="easy now") as refused:
        acme.new_order(_csr("a.example"))
    assert refused.value.code == "rateLimited"
    ca.faults.add(FailValidation(), names=["a.example"])
    order = acme.new_order(_csr("a.example"))
    _answer(acme, order, responses)
    with pytest.raises(errors.ValidationError) as failed:
        acme.poll_and_finalize(order)
    (authorization,) = failed.value.failed_authzrs
    assert authorization.body.status == messages.STATUS_INVALID
    ca.faults.add(StuckOrder())
    order = acme.new_order(_csr("b.example"))
    _answer(acme, order, responses)
    assert acme.begin_finalization(order).body.status == messages.STATUS_PROCESSING
    acme.net.session.close()


def test_addresses(ca: AcmeCA, responses: Responses) -> None:
    acme = _client(ca)
    _register(acme)
    order = acme.new_order(_csr("127.0.0.1"), profile="shortlived")
    _answer(acme, order, responses)
    ca.wait_for(lambda ca: ca.orders[0].status is Status.READY)
    acme.begin_finalization(order)
    assert ca.certificates[0].names == ("127.0.0.1",)
    acme.net.session.close()
