"""Choosing among the chains that a CA offers."""

from __future__ import annotations

from acme_client.chains import choose_chain, leads_to
from tests.acme_client.support import make_chain, signers, to_pem

TO_ROOT = make_chain(["a.example"])
WITH_ROOT = TO_ROOT + to_pem(signers()[0])
OTHER = TO_ROOT.replace(to_pem(signers()[1]), "")
"""The leaf alone: it is issued by the intermediate."""


def test_leads_to() -> None:
    assert leads_to(TO_ROOT, "Test Root")
    assert leads_to(WITH_ROOT, "Test Root")
    assert leads_to(OTHER, "Test Intermediate")
    assert not leads_to(OTHER, "Test Root")


def test_without_a_wish_the_first() -> None:
    assert choose_chain([OTHER, TO_ROOT], None) == OTHER


def test_the_wish_or_else_the_first() -> None:
    assert choose_chain([OTHER, TO_ROOT], "Test Root") == TO_ROOT
    assert choose_chain([OTHER, TO_ROOT], "Nobody's Root") == OTHER
