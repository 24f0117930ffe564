from __future__ import annotations

from datetime import UTC, datetime

import pytest

from acme_client.testing.problems import PREFIX, STATUS, Problem, malformed, retry_after_value


def test_document_has_type_detail_and_status() -> None:
    assert Problem("rateLimited", "too many").document() == {
        "type": PREFIX + "rateLimited",
        "detail": "too many",
        "status": 429,
    }


def test_subproblems_name_their_identifiers_and_have_no_status() -> None:
    whole = Problem(
        "compound",
        "two faults",
        subproblems=[
            Problem("caa", "forbidden", identifier={"type": "dns", "value": "a.example"}),
            malformed("odd"),
        ],
    )
    assert whole.document()["subproblems"] == [
        {
            "type": PREFIX + "caa",
            "detail": "forbidden",
            "identifier": {"type": "dns", "value": "a.example"},
        },
        {"type": PREFIX + "malformed", "detail": "odd"},
    ]


def test_extra_members_stand_in_the_document() -> None:
    problem = Problem("badSignatureAlgorithm", "no", extra={"algorithms": ["ES256"]})
    assert problem.document()["algorithms"] == ["ES256"]


def test_unknown_kind_needs_a_status() -> None:
    with pytest.raises(ValueError, match="no ACME error type"):
        Problem("madeUp", "?")
    assert Problem("madeUp", "?", status=418).status == 418


def test_every_error_of_rfc_8555_is_known() -> None:
    assert {"badCSR", "orderNotReady", "userActionRequired", "alreadyReplaced"} <= set(STATUS)


@pytest.mark.parametrize(
    ("value", "header"),
    [
        (120, "120"),
        ("-1", "-1"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "Fri, 02 Jan 2026 03:04:05 GMT"),
    ],
)
def test_retry_after(value: int | str | datetime, header: str) -> None:
    assert retry_after_value(value) == header
    assert Problem("rateLimited", "x", retry_after=value).headers == {"Retry-After": header}
