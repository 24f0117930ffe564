"""The state of a certificate survives the store."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.errors import Problem, RateLimited
from acme_client.renewal import RenewalWindow
from acme_client.state import CertificateState, Failure, document_name, failure_of
from tests.acme_client.support import DAY, START

dates = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
problems = st.builds(
    Problem,
    type=st.text(),
    detail=st.text(),
    status=st.none() | st.integers(),
    identifier=st.none() | st.text(),
    subproblems=st.lists(st.builds(Problem, type=st.text()), max_size=2).map(tuple),
)
failures = st.builds(
    Failure,
    at=dates,
    issuer=st.text(),
    kind=st.text(),
    message=st.text(),
    problems=st.lists(problems, max_size=2).map(tuple),
    names=st.lists(st.text(), max_size=2).map(tuple),
)
states = st.builds(
    CertificateState,
    failures=st.integers(),
    interruptions=st.integers(),
    retry_at=st.none() | dates,
    attempt_started=st.none() | dates,
    last_failure=st.none() | failures,
    window=st.none() | st.builds(RenewalWindow, dates, dates, st.none() | st.text()),
    ask_at=st.none() | dates,
    fingerprint=st.none() | st.text(),
    alerted=st.booleans(),
    hurried=st.booleans(),
    out_of_turn=st.booleans(),
)


@given(states)
def test_there_and_back(state: CertificateState) -> None:
    assert CertificateState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_a_document_of_an_earlier_version() -> None:
    document = CertificateState(hurried=True).to_json()
    del document["out_of_turn"]
    assert CertificateState.from_json(document) == CertificateState(hurried=True)
    del document["hurried"]
    assert CertificateState.from_json(document) == CertificateState()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("failures", "3"),
        ("interruptions", None),
        ("retry_at", "2026-01-01T00:00:00"),
        ("window", {"start": "2026-01-01", "end": "2026-01-02", "explanation_url": None}),
    ],
)
def test_what_could_not_be_counted_or_compared_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"is no number|has no time zone"):
        CertificateState.from_json({**CertificateState().to_json(), key: value})


def test_what_is_about_another_certificate_is_dropped() -> None:
    window = RenewalWindow(START, START + DAY)
    state = CertificateState(
        failures=2, window=window, ask_at=START, alerted=True, out_of_turn=True, fingerprint="one"
    )
    assert state.about("one") is state
    other = state.about("two")
    assert (other.window, other.ask_at, other.alerted) == (None, None, False)
    assert not other.out_of_turn
    assert (other.failures, other.fingerprint) == (2, "two")


def test_a_failure_tells_what_the_ca_said() -> None:
    problem = Problem("urn:ietf:params:acme:error:rateLimited", "slow down")
    failure = failure_of(RateLimited("no", problems=(problem,)), "ca", START)
    assert (failure.kind, failure.issuer, failure.message) == ("rate-limited", "ca", "no")
    assert str(failure.problems[0]) == "rateLimited: slow down"


def test_where_it_is_kept() -> None:
    assert document_name("_.example.com+p384") == "certificates/_.example.com+p384"
