"""What every issuer is given, and that all of ours are issuers."""

from __future__ import annotations

from acme_client.acme_issuer import AcmeIssuer
from acme_client.internal import InternalIssuer
from acme_client.issuer import Issuer
from tests.acme_client.simulation import make_task
from tests.acme_client.support import FakeClock, ScriptedIssuer


def test_a_task_knows_its_certificate() -> None:
    assert make_task("*.a.example").certificate_id == "_.a.example"


def test_ours_are_issuers() -> None:
    issuers: list[Issuer] = [
        AcmeIssuer("https://ca.example/"),
        InternalIssuer(),
        ScriptedIssuer(FakeClock()),
    ]
    assert [issuer.name for issuer in issuers] == ["ca.example", "internal", "scripted"]
    assert [issuer.directory for issuer in issuers] == [
        "https://ca.example/",
        "internal",
        "scripted",
    ]
