from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
import requests

from acme_client.testing import (
    AcmeCA,
    BadCertificate,
    CutBody,
    Delay,
    Disconnect,
    Endpoint,
    FailOrder,
    FailValidation,
    Faults,
    Pad,
    PassValidation,
    Record,
    Redirect,
    Refuse,
    ReplaceBody,
    Reply,
    Rewrite,
    SetHeader,
    StuckOrder,
    account_unknown,
    already_replaced,
    bad_nonce,
    rate_limited,
    server_error,
)
from tests.acme_client.testing.raw import RawClient, problem_type

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def faults() -> Faults:
    return Faults(random.Random(1))


def _record(endpoint: Endpoint = Endpoint.NEW_ORDER, *names: str) -> Record:
    return Record(at=NOW, method="POST", path="/x", endpoint=endpoint, names=names)


# -- the book


def test_strikes_as_often_as_ordered(faults: Faults) -> None:
    rule = faults.add(bad_nonce(), times=2)
    struck = [faults.before(_record(), NOW) for _ in range(3)]
    assert [fault is not None for fault in struck] == [True, True, False]
    assert (rule.struck, rule.spent, faults.pending) == (2, True, [])


def test_spares_the_first_and_keeps_to_its_place(faults: Faults) -> None:
    faults.add(bad_nonce(), at=["newOrder", Endpoint.FINALIZE], skip=1)
    assert faults.before(_record(Endpoint.ORDER), NOW) is None
    assert faults.before(_record(), NOW) is None
    assert faults.before(_record(Endpoint.FINALIZE), NOW) is not None


def test_keeps_to_names_and_conditions(faults: Faults) -> None:
    faults.add(bad_nonce(), names=["a.example"], times=None)
    assert faults.before(_record(Endpoint.ORDER, "b.example"), NOW) is None
    assert faults.before(_record(Endpoint.ORDER, "b.example", "a.example"), NOW) is not None
    faults.clear()
    faults.add(bad_nonce(), when=lambda record: record.method == "GET")
    assert faults.before(_record(), NOW) is None


def test_ends_at_its_time_or_when_cancelled(faults: Faults) -> None:
    outage = faults.add(Disconnect(), times=None, until=NOW + timedelta(days=7))
    assert faults.before(_record(), NOW) == Disconnect()
    assert faults.before(_record(), NOW + timedelta(days=7)) is None
    outage.cancel()
    assert faults.before(_record(), NOW) is None


def test_strikes_by_chance(faults: Faults) -> None:
    faults.add(bad_nonce(), rate=0.25, times=None)
    struck = sum(faults.before(_record(), NOW) is not None for _ in range(2000))
    assert 400 < struck < 600


def test_the_first_ordered_strikes_first(faults: Faults) -> None:
    faults.add(bad_nonce())
    faults.add(rate_limited())
    kinds = []
    while isinstance(fault := faults.before(_record(), NOW), Refuse):
        kinds.append(fault.problem.kind)
    assert kinds == ["badNonce", "rateLimited"]


def test_outcomes_are_taken_by_kind(faults: Faults) -> None:
    finalize = _record(Endpoint.FINALIZE)
    faults.add(BadCertificate("garbage"))
    faults.add(StuckOrder())
    assert faults.outcome((FailOrder,), finalize, NOW) is None
    assert faults.outcome((StuckOrder,), finalize, NOW) == StuckOrder()
    assert faults.outcome((BadCertificate,), finalize, NOW) == BadCertificate("garbage")
    assert faults.outcome((BadCertificate,), finalize, NOW) is None
    faults.add(PassValidation())
    assert faults.outcome((FailValidation, PassValidation), finalize, NOW) is None
    challenge = _record(Endpoint.CHALLENGE)
    assert faults.outcome((FailValidation, PassValidation), challenge, NOW) == PassValidation()


def test_misuse_is_named(faults: Faults) -> None:
    with pytest.raises(ValueError, match="StuckOrder strikes at finalize"):
        faults.add(StuckOrder(), at="newOrder")
    with pytest.raises(ValueError, match=r"'newOder' is no resource .* newOrder, order"):
        faults.add(bad_nonce(), at="newOder")
    with pytest.raises(TypeError, match="collection of names"):
        faults.add(bad_nonce(), names="a.example")


def test_every_after_fault_spoils_the_reply(faults: Faults) -> None:
    reply = Reply(
        200, {"Location": "x", "content-type": "a/b"}, links=[("up", "u")], body=b'{"a":1,"b":2}'
    )
    for fault in (
        Rewrite({"a": "http://evil.example/", "b": None}),
        SetHeader("location", "http://evil.example/"),
        SetHeader("Content-Type", None),
        SetHeader("Link", None),
        Delay(0.5),
        Delay(1),
        Pad(1000),
        CutBody(),
        Disconnect(after=True),
    ):
        faults.add(fault)
    faults.after(_record(), reply, NOW)
    assert reply.body == b'{"a": "http://evil.example/"}'
    assert reply.headers == {"location": "http://evil.example/"}
    assert (reply.links, reply.delay, reply.padding) == ([], 1.5, 1000)
    assert reply.cut_body
    assert reply.disconnect
    faults.add(ReplaceBody(b"<html>", "text/html"))
    faults.after(_record(), reply, NOW)
    assert (reply.body, reply.headers["Content-Type"]) == (b"<html>", "text/html")


# -- as a client meets them


def test_rate_limited(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(rate_limited(retry_after=120), at="newOrder", times=2)
    for _ in range(2):
        refused = client.order("a.example")
        assert (refused.status_code, problem_type(refused)) == (429, "rateLimited")
        assert refused.headers["Retry-After"] == "120"
        assert refused.headers["Replay-Nonce"]
    assert client.order("a.example").status_code == 201
    assert [record.problem for record in ca.requests.at("newOrder")] == [
        "rateLimited",
        "rateLimited",
        None,
    ]


def test_server_errors_from_in_front_of_the_ca(ca: AcmeCA, client: RawClient) -> None:
    problem = server_error(503, retry_after=ca.clock.now()).problem
    ca.faults.add(Refuse(problem, nonce=False), at="newOrder")
    refused = client.order("a.example")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"].endswith("GMT")
    assert "Replay-Nonce" not in refused.headers
    assert not ca.orders


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (bad_nonce(), 400, "badNonce"),
        (already_replaced(), 409, "alreadyReplaced"),
        (account_unknown(), 400, "accountDoesNotExist"),
        (server_error(), 500, "serverInternal"),
    ],
)
def test_refusals(ca: AcmeCA, client: RawClient, fault: Refuse, status: int, kind: str) -> None:
    ca.faults.add(fault, at="newOrder")
    refused = client.order("a.example")
    assert (refused.status_code, problem_type(refused)) == (status, kind)
    assert client.order("a.example").status_code == 201


def test_dropped_before_and_after_the_effect(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Disconnect(), at="newOrder")
    ca.faults.add(Disconnect(after=True), at="newOrder")
    for effect in (0, 1):
        with pytest.raises(requests.ConnectionError):
            client.order("a.example")
        assert len(ca.orders) == effect
    assert [record.status for record in ca.requests.at("newOrder")] == [0, 0]


def test_redirects_and_hostile_urls(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Redirect("https://evil.example/", 307), at="newOrder")
    moved = client.order("a.example")
    assert (moved.status_code, moved.headers["Location"]) == (307, "https://evil.example/")
    assert not ca.orders
    ca.faults.add(Rewrite({"finalize": "http://169.254.169.254/"}), at="newOrder")
    assert client.order("a.example").json()["finalize"] == "http://169.254.169.254/"
    ca.faults.add(Rewrite({"newOrder": None}), at="directory")
    assert "newOrder" not in client.get("/directory").json()


def test_faults_of_one_name_spare_the_others(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(server_error(), names=["a.example"], times=None)
    bad = client.post("/new-order", {"identifiers": [{"type": "dns", "value": "a.example"}]})
    assert bad.status_code == 500
    assert client.issue("b.example")


def test_the_ca_may_lose_a_share_of_the_nonces(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(bad_nonce(), rate=0.5, times=None)
    kinds = [client.order("a.example").status_code for _ in range(60)]
    assert 10 < kinds.count(400) < 50
