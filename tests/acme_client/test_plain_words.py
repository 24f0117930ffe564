"""Problems in plain words."""

from __future__ import annotations

from acme_client.errors import Problem
from acme_client.plain_words import PROBLEMS, explain_failure, explain_problem
from acme_client.state import Failure
from tests.acme_client.support import START


def problem(code: str, *subproblems: Problem) -> Problem:
    return Problem(Problem.PREFIX + code, "detail", subproblems=subproblems)


def failure(kind: str, *problems: Problem) -> Failure:
    return Failure(at=START, issuer="ca", kind=kind, message="no", problems=problems)


def test_every_problem_of_rfc_8555_has_its_sentence() -> None:
    # RFC 8555 §6.7
    codes = (
        "accountDoesNotExist alreadyRevoked badCSR badNonce badPublicKey badRevocationReason "
        "badSignatureAlgorithm caa compound connection dns externalAccountRequired "
        "incorrectResponse invalidContact malformed orderNotReady rateLimited rejectedIdentifier "
        "serverInternal tls unauthorized unsupportedContact unsupportedIdentifier "
        "userActionRequired"
    ).split()
    assert set(codes) <= set(PROBLEMS)


def test_each_sentence_once() -> None:
    found = explain_failure(
        failure("validation", problem("dns"), problem("dns"), problem("connection"))
    )
    assert found == (PROBLEMS["dns"], PROBLEMS["connection"])


def test_what_a_compound_is_made_of() -> None:
    whole = problem("compound", problem("caa"), problem("tls"))
    assert explain_failure(failure("refused", whole)) == (PROBLEMS["caa"], PROBLEMS["tls"])
    assert explain_failure(failure("refused", problem("compound"))) == (PROBLEMS["compound"],)


def test_failures_without_a_problem_document() -> None:
    (sentence,) = explain_failure(failure("unreachable"))
    assert "did not answer" in sentence
    assert explain_failure(failure("something new")) == ()


def test_a_problem_that_nobody_foresaw() -> None:
    assert explain_problem(Problem("about:blank")) is None
