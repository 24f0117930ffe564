"""The protocol of DNS solvers: what a request takes."""

from __future__ import annotations

from acme_client.challenges.solver import DnsSolver
from acme_client.request import CertificateRequest
from tests.acme_client.challenges.test_answers import RecordingSolver


def test_anything_with_the_two_methods_is_one() -> None:
    solver: DnsSolver = RecordingSolver()
    request = CertificateRequest(names=("*.a.example",), dns=solver)
    assert request.dns is solver
    assert request.challenge_kinds("*.a.example") == ("dns-01",)
