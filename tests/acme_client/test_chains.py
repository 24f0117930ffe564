"""Choosing among the chains that a CA offers."""

from __future__ import annotations

import pytest

from acme_client.chains import check_download, choose_chain, leads_to, root_names
from acme_client.errors import BadCertificate
from acme_client.keys import key_to_pem
from tests.acme_client.support import any_key, make_chain, signers, to_pem

TO_ROOT = make_chain(["a.example"])
WITH_ROOT = TO_ROOT + to_pem(signers()[0])
OTHER = TO_ROOT.replace(to_pem(signers()[1]), "")
"""The leaf alone: it is issued by the intermediate."""


def test_a_download_holds_certificates_and_nothing_else() -> None:
    check_download(WITH_ROOT)
    with pytest.raises(BadCertificate, match="sent PRIVATE KEY among"):
        check_download(TO_ROOT + key_to_pem(any_key()))


def test_leads_to() -> None:
    assert leads_to(TO_ROOT, "Test Root")
    assert leads_to(WITH_ROOT, "Test Root")
    assert leads_to(OTHER, "Test Intermediate")
    assert not leads_to(OTHER, "Test Root")
    assert (root_names(TO_ROOT), root_names(OTHER)) == (["Test Root"], ["Test Intermediate"])


def test_without_a_wish_the_first() -> None:
    assert choose_chain([OTHER, TO_ROOT], None) == OTHER


def test_the_wish_or_else_the_first() -> None:
    assert choose_chain([OTHER, TO_ROOT], "Test Root") == TO_ROOT
    assert choose_chain([OTHER, TO_ROOT], "Nobody's Root") == OTHER
