"""Which CAs CAA records allow."""

from __future__ import annotations

import pytest

from acme_client.caa import CaaRecord, allowed_issuers, ancestors, why_not


def records(*texts: str) -> list[CaaRecord]:
    return [CaaRecord.parse(text) for text in texts]


def test_the_names_whose_records_count() -> None:
    assert list(ancestors("*.a.example.com")) == ["a.example.com", "example.com", "com"]


def test_a_record_is_read() -> None:
    record = CaaRecord.parse('128 Issue "CA.example; accounturi=https://x"')
    assert (record.flags, record.tag, record.issuer) == (128, "issue", "ca.example")
    assert str(record) == '128 issue "CA.example; accounturi=https://x"'
    for text in ("", "0 issue", "x issue y"):
        with pytest.raises(ValueError, match=r".+"):
            CaaRecord.parse(text)


def test_what_restricts_nothing() -> None:
    for found in (records(), records('0 iodef "mailto:a@b.example"')):
        assert allowed_issuers(found, wildcard=False) is None
        assert why_not(found, ["ca.example"], wildcard=True) is None


def test_plain_names_and_wildcards() -> None:
    both = records('0 issue "ca.example"', '0 issuewild "wild.example"')
    assert why_not(both, ["ca.example"], wildcard=False) is None
    assert why_not(both, ["CA.example"], wildcard=True) == "it allows wild.example"
    assert why_not(both, ["wild.example"], wildcard=True) is None
    # RFC 8659 §4.3: without issuewild, issue counts for wildcards too.
    assert why_not(both[:1], ["ca.example"], wildcard=True) is None


def test_nobody_may_issue() -> None:
    assert (
        why_not(records('0 issue ";"'), ["ca.example"], wildcard=False) == "it allows no CA at all"
    )


def test_a_critical_property_that_nobody_knows() -> None:
    found = records('128 future "x"', '0 issue "ca.example"')
    assert "marked critical" in str(why_not(found, ["ca.example"], wildcard=False))
    assert why_not(records('0 future "x"'), ["ca.example"], wildcard=False) is None
