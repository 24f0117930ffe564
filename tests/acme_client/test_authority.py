"""The CA, request by request."""

from __future__ import annotations

import logging

import pytest
from cryptography import x509

from acme_client.ari import certificate_identifier
from acme_client.authority import NONCE_TRIES, Authority, Credentials, ExternalAccount
from acme_client.checks import parse_chain
from acme_client.csr import make_csr
from acme_client.errors import (
    AccountUnknown,
    IssuerUnreachable,
    ProtocolViolation,
    RateLimited,
    Refused,
    RequestError,
)
from acme_client.resources import Download
from acme_client.testing import (
    CutBody,
    Delay,
    Disconnect,
    Pad,
    Redirect,
    Refuse,
    ReplaceBody,
    Rewrite,
    SetHeader,
    account_unknown,
    bad_nonce,
    rate_limited,
    server_error,
)
from acme_client.testing import Problem as ServerProblem
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import DAY, MINUTE, any_key, signers

NAMES = ("a.example", "192.0.2.1")
KEY = any_key(1)


@pytest.fixture
def authority(simulation: Simulation) -> Authority:
    return simulation.authority()


@pytest.fixture
def registered(authority: Authority) -> Authority:
    account = authority.register(KEY, ["mailto:ops@example.com"], None)
    authority.credentials = Credentials(KEY, account.url)
    return authority


def issue(
    authority: Authority, *, profile: str | None = None, replaces: str | None = None
) -> Download:
    order = authority.new_order(NAMES, profile or "shortlived", replaces)
    for url in order.authorizations:
        found = authority.authorization(url)
        authority.answer(found.challenges[0])
        assert authority.authorization(url).status == "valid"
    assert authority.order(order.url).status == "ready"
    done = authority.finalize(order, make_csr(NAMES, any_key(2)))
    assert done.status == "valid"
    assert done.certificate is not None
    return authority.download(done.certificate)


def test_the_directory_is_fetched_once(simulation: Simulation, authority: Authority) -> None:
    assert authority.directory() is authority.directory()
    assert simulation.ca.requests.count("directory") == 1
    authority.forget_directory()
    authority.directory()
    assert simulation.ca.requests.count("directory") == 2


def test_registering(simulation: Simulation, authority: Authority) -> None:
    account = authority.register(KEY, ["mailto:ops@example.com"], None)
    assert account.status == "valid"
    assert account.contact == ("mailto:ops@example.com",)
    [found] = simulation.ca.accounts
    assert found.agreed
    # The same key is the same account.
    assert authority.register(KEY, [], None).url == account.url
    assert authority.find_account(KEY).url == account.url
    with pytest.raises(AccountUnknown):
        authority.find_account(any_key(3))


def test_an_rsa_key_from_elsewhere_can_sign_too(authority: Authority) -> None:
    key = any_key(4, "rsa2048")
    account = authority.register(key, [], None)
    assert authority.find_account(key).url == account.url
    assert authority.register(any_key(4, "p384"), [], None).url != account.url


def test_external_account_binding(simulation: Simulation, authority: Authority) -> None:
    simulation.ca.settings.external_account_required = True
    simulation.ca.settings.external_accounts = {"kid-1": b"a secret of the two"}
    with pytest.raises(RequestError, match="wants external account binding"):
        authority.register(KEY, [], None)
    good = ExternalAccount("kid-1", "YSBzZWNyZXQgb2YgdGhlIHR3bw")
    assert "YSBz" not in repr(good)
    assert authority.register(KEY, [], good).status == "valid"
    with pytest.raises(Refused):
        authority.register(any_key(3), [], ExternalAccount("kid-1", "d3Jvbmc"))
    for bad in (ExternalAccount("kid-1", "ä"), ExternalAccount("kid-1", "d3Jvbmc", "XS9")):
        with pytest.raises(RequestError, match="external account binding of"):
            authority.register(any_key(3), [], bad)
    with pytest.raises(RequestError, match="the HMAC key is no base64url"):
        authority.register(any_key(3), [], ExternalAccount("kid-1", "YSB+ZWNyZX/="))


def test_changing_the_account(simulation: Simulation, registered: Authority) -> None:
    registered.update_contact(["mailto:new@example.com"])
    assert simulation.ca.accounts[0].contact == ("mailto:new@example.com",)
    new_key = any_key(5)
    registered.change_key(new_key)
    assert registered.find_account(new_key).url == url_of(registered)
    with pytest.raises(AccountUnknown):
        registered.find_account(KEY)
    registered.credentials = Credentials(new_key, url_of(registered))
    registered.deactivate_account()
    assert simulation.ca.accounts[0].status == "deactivated"


def url_of(authority: Authority) -> str:
    assert authority.credentials is not None
    assert authority.credentials.url is not None
    return authority.credentials.url


def test_key_change_needs_an_offer(simulation: Simulation, registered: Authority) -> None:
    simulation.ca.faults.add(Rewrite({"keyChange": None}), at="directory")
    registered.forget_directory()
    with pytest.raises(RequestError, match="no key roll-over"):
        registered.change_key(any_key(5))


def test_from_order_to_certificate(registered: Authority) -> None:
    download = issue(registered)
    leaf = parse_chain(download.chain_pem)[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["a.example"]
    for url in download.alternates:
        assert parse_chain(registered.download(url).chain_pem)[0] == leaf
    assert download.alternates


def test_key_authorizations(registered: Authority) -> None:
    text = registered.key_authorization("token")
    token, _, thumbprint = text.partition(".")
    assert (token, len(thumbprint)) == ("token", 43)


def test_renewal_info(simulation: Simulation, registered: Authority) -> None:
    identifier = certificate_identifier(issue(registered).chain_pem)
    assert identifier is not None
    window, wait = registered.renewal_info(identifier)
    assert window.plausible
    assert wait is not None
    # RFC 9773 §5: the order names what it replaces.
    issue(registered, replaces=identifier)
    with pytest.raises(Refused, match="alreadyReplaced"):
        issue(registered, replaces=identifier)


def test_revoking_by_account_and_by_key(simulation: Simulation, registered: Authority) -> None:
    first, second = (parse_chain(issue(registered).chain_pem)[0] for _ in range(2))
    registered.revoke(first, 4)
    registered.revoke(second, 1, any_key(2))
    assert [found.revoked is not None for found in simulation.ca.certificates] == [True, True]
    with pytest.raises(Refused, match="alreadyRevoked"):
        registered.revoke(first, 4)
    with pytest.raises(Refused):
        registered.revoke(signers()[0], 4)


# Nonces.


@pytest.mark.parametrize("times", [1, NONCE_TRIES - 1])
def test_bad_nonces_are_tried_again(
    simulation: Simulation, authority: Authority, times: int
) -> None:
    simulation.ca.faults.add(bad_nonce(), times=times)
    authority.register(KEY, [], None)
    assert simulation.ca.requests.count("newAccount") == times + 1
    assert simulation.ca.requests.count("newNonce") == 1


def test_bad_nonces_for_ever_end(simulation: Simulation, authority: Authority) -> None:
    simulation.ca.faults.add(bad_nonce(), times=None)
    with pytest.raises(Refused, match="badNonce"):
        authority.register(KEY, [], None)
    assert simulation.ca.requests.count("newAccount") == NONCE_TRIES


@pytest.mark.parametrize("nonce", [None, "", "not base64url!", "x" * 1000])
def test_a_nonce_that_is_none(
    simulation: Simulation, authority: Authority, nonce: str | None
) -> None:
    simulation.ca.faults.add(SetHeader("Replay-Nonce", nonce), at="newNonce")
    with pytest.raises(ProtocolViolation, match="no usable Replay-Nonce"):
        authority.register(KEY, [], None)


def test_old_nonces_are_dropped(simulation: Simulation, registered: Authority) -> None:
    simulation.ca.faults.add(SetHeader("Replay-Nonce", None), at="newOrder")
    registered.new_order(NAMES, "shortlived", None)
    registered.new_order(NAMES, "shortlived", None)
    assert simulation.ca.requests.count("newNonce") == 2


# Errors.


def test_rate_limits_say_when(simulation: Simulation, registered: Authority) -> None:
    simulation.ca.faults.add(rate_limited(retry_after=120), at="newOrder")
    with pytest.raises(RateLimited, match="rateLimited: slow down") as caught:
        registered.new_order(NAMES, None, None)
    assert caught.value.retry_at == simulation.clock.now() + 2 * MINUTE
    simulation.ca.faults.add(rate_limited(retry_after=None), at="newOrder")
    with pytest.raises(RateLimited) as caught:
        registered.new_order(NAMES, None, None)
    assert caught.value.retry_at is None


def test_absurd_dates_are_clamped(simulation: Simulation, registered: Authority) -> None:
    simulation.ca.faults.add(rate_limited(retry_after=10**12), at="newOrder")
    with pytest.raises(RateLimited) as caught:
        registered.new_order(NAMES, None, None)
    assert caught.value.retry_at == simulation.clock.now() + 7 * DAY


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_errors_are_unreachable(
    simulation: Simulation, registered: Authority, status: int
) -> None:
    simulation.ca.faults.add(server_error(status, retry_after=60), at="newOrder")
    with pytest.raises(IssuerUnreachable, match=f"answers {status} to") as caught:
        registered.new_order(NAMES, None, None)
    assert caught.value.connected
    assert caught.value.retry_at == simulation.clock.now() + MINUTE


def test_an_unknown_account(simulation: Simulation, registered: Authority) -> None:
    simulation.ca.faults.add(account_unknown(), at="newOrder")
    with pytest.raises(AccountUnknown):
        registered.new_order(NAMES, None, None)


def test_refusals_hold_the_problem(simulation: Simulation, registered: Authority) -> None:
    problem = ServerProblem("rejectedIdentifier", "not this one\x07")
    simulation.ca.faults.add(Refuse(problem), at="newOrder")
    with pytest.raises(Refused, match="rejectedIdentifier: not this one") as caught:
        registered.new_order(NAMES, None, None)
    assert caught.value.problems[0].code == "rejectedIdentifier"
    assert "\x07" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Disconnect(), IssuerUnreachable),
        (Disconnect(after=True), IssuerUnreachable),
        (CutBody(), IssuerUnreachable),
        (Delay(3600), IssuerUnreachable),
        (Pad(), ProtocolViolation),
        (ReplaceBody(b"<html>"), ProtocolViolation),
        (ReplaceBody(b"[]"), ProtocolViolation),
        (Redirect("https://evil.example/"), ProtocolViolation),
        (Redirect("http://127.0.0.1/"), ProtocolViolation),
        (Rewrite({"finalize": "http://127.0.0.1:22/"}), ProtocolViolation),
        (Rewrite({"authorizations": ["file:///etc/passwd"]}), ProtocolViolation),
        (Rewrite({"status": "excellent"}), ProtocolViolation),
        (SetHeader("Location", None), ProtocolViolation),
        (SetHeader("Location", "http://127.0.0.1/order"), ProtocolViolation),
    ],
)
def test_what_a_hostile_or_broken_ca_does(
    simulation: Simulation, registered: Authority, fault: object, error: type[Exception]
) -> None:
    simulation.ca.faults.add(fault, at="newOrder")  # type: ignore[arg-type]
    with pytest.raises(error):
        registered.new_order(NAMES, "shortlived", None)


def test_nothing_secret_is_logged(
    simulation: Simulation, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account = authority.register(KEY, ["mailto:secret-contact@example.com"], None)
    authority.credentials = Credentials(KEY, account.url)
    issue(authority)
    own = [r.getMessage() for r in caplog.records if not r.name.startswith("acme_client.testing")]
    text = "\n".join(own)
    assert "newNonce" in text or "nonce" in text
    assert "secret-contact" not in text
    assert "signature" not in text
    assert "protected" not in text
