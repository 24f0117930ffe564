"""The error tree and the problem documents."""

from __future__ import annotations

import inspect

from acme_client import errors
from acme_client.errors import AcmeClientError, IssuerError, Problem


def test_the_docstring_draws_the_tree() -> None:
    drawing = inspect.getdoc(errors) or ""
    for name, found in inspect.getmembers(errors, inspect.isclass):
        if issubclass(found, AcmeClientError) and found.__module__ == errors.__name__:
            assert name in drawing


def test_every_failure_of_an_issuer_has_a_kind_of_its_own() -> None:
    kinds = [
        found.kind
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, IssuerError) and "kind" in vars(found)
    ]
    assert len(set(kinds)) == len(kinds) > 8


def test_problems_in_words() -> None:
    inner = Problem("urn:ietf:params:acme:error:dns", "no answer", identifier="b.example")
    problem = Problem("urn:ietf:params:acme:error:compound", subproblems=(inner,))
    assert str(problem) == "compound; b.example: dns: no answer"
    assert Problem("https://ca.example/why").code == "https://ca.example/why"
    assert Problem.from_json(problem.to_json()) == problem
