from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from acme_client.testing import AcmeCA, Clock, HangValidation, Settings, Status
from tests.acme_client.testing.raw import RawClient


def test_a_context_manager_with_files_of_its_own() -> None:
    with AcmeCA() as ca:
        assert ca.running
        assert ca.directory_url.startswith("https://127.0.0.1:")
        folder = ca.trust_file.parent
        assert b"BEGIN CERTIFICATE" in ca.trust_file.read_bytes()
        roots = x509.load_pem_x509_certificates(ca.roots_file.read_bytes())
        assert tuple(roots) == ca.roots
        with pytest.raises(RuntimeError, match="runs already"):
            ca.start()
    assert not folder.exists()
    assert not ca.running


def test_a_folder_of_the_callers_stays(tmp_path: Path) -> None:
    with AcmeCA(directory=tmp_path):
        pass
    assert (tmp_path / "roots.pem").exists()


def test_before_the_start_there_is_nothing() -> None:
    ca = AcmeCA()
    assert repr(ca) == "<AcmeCA, never started>"
    with pytest.raises(RuntimeError, match="not been started"):
        _ = ca.requests
    with pytest.raises(RuntimeError, match="not been started"):
        _ = ca.trust_file
    ca.stop()
    ca.close()


def test_a_port_in_use_is_told(ca: AcmeCA) -> None:
    port = int(ca.base_url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        AcmeCA(port=port).start()


def test_ipv6(make_acme_ca: Callable[..., AcmeCA]) -> None:
    ca = make_acme_ca(host="::1")
    assert ca.base_url.startswith("https://[::1]:")
    assert RawClient(ca, sockets=True).register().status_code == 201


def test_a_seed_repeats_everything_random(make_acme_ca: Callable[..., AcmeCA]) -> None:
    nonces = [RawClient(make_acme_ca(seed=7)).nonce() for _ in range(2)]
    assert nonces[0] == nonces[1]
    assert RawClient(make_acme_ca()).nonce() != RawClient(make_acme_ca()).nonce()


def test_a_clock_of_the_callers(make_acme_ca: Callable[..., AcmeCA]) -> None:
    clock = Clock(datetime(2031, 1, 1, tzinfo=UTC), frozen=True)
    ca = make_acme_ca(Settings(validate=False), clock=clock)
    client = RawClient(ca)
    client.register()
    client.issue("a.example")
    clock.advance(days=40)
    client.issue("b.example")
    dates = [certificate.not_before.date().isoformat() for certificate in ca.certificates]
    assert dates == ["2030-12-31", "2031-02-09"]
    assert ca.certificates_for("b.example") == ca.certificates[1:]


def test_what_happened_can_be_waited_for(ca: AcmeCA, client: RawClient) -> None:
    client.order("a.example")
    ca.wait_for(lambda ca: len(ca.orders) == 1)
    with pytest.raises(TimeoutError, match="1 orders"):
        ca.wait_for(lambda ca: len(ca.orders) == 2, timeout=0.01)


def test_certificates_are_found_by_their_pem(ca: AcmeCA, client: RawClient) -> None:
    chain = client.issue("a.example")
    found = ca.certificates[0]
    assert ca.certificate(chain) is found
    assert ca.certificate(chain.decode()) is found
    assert ca.certificate(found.leaf) is found
    assert found.names == ("a.example",)


def test_orders_are_shown_as_they_stand_now(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(HangValidation())
    client.authorize(client.order("a.example"))
    assert [order.status for order in ca.orders] == [Status.PENDING]
    ca.clock.advance(timedelta(days=30))
    assert [order.status for order in ca.orders] == [Status.INVALID]


def test_repr_says_what_there_is(ca: AcmeCA, client: RawClient) -> None:
    client.issue("a.example")
    assert repr(ca) == (f"<AcmeCA {ca.base_url}, running, 1 accounts, 1 orders, 1 certificates>")
    ca.stop()
    assert "stopped" in repr(ca)


def test_validation_needs_a_running_ca(make_acme_ca: Callable[..., AcmeCA]) -> None:
    ca = make_acme_ca()
    client = RawClient(ca)
    client.register()
    order = client.order("a.example")
    (challenge, *_) = ca.authorizations[0].challenges
    ca.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        ca._start_validation(challenge)
    assert order.ok
