from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.dns import PersistRecord, judge, parse_record, verify
from acme_client.dns.persist import record_name
from acme_client.errors import NotPresented, RequestError
from acme_client.testing.persist import check_record
from tests.acme_client.dns.conftest import Zones

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUE = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=";")
ACCOUNT = "https://ca.example/account/1"


def test_the_record_as_printed() -> None:
    record = PersistRecord("CA.example", ACCOUNT, wildcard=True, until=NOW)
    assert record.text == (
        f"ca.example; accounturi={ACCOUNT}; policy=wildcard; persistUntil=1767225600"
    )
    assert record.zone_line("*.a.example") == (
        f'_validation-persist.a.example. IN TXT "{record.text}"'
    )
    assert PersistRecord("ca.example", ACCOUNT).text == f"ca.example; accounturi={ACCOUNT}"


def test_a_long_record_is_split_into_strings() -> None:
    record = PersistRecord("ca.example", "https://ca.example/" + "a" * 300)
    line = record.zone_line("a.example")
    text = line.partition(" IN TXT ")[2]
    (read,) = dns.rrset.from_text("a.example.", 60, "IN", "TXT", text)
    assert b"".join(read.strings).decode() == record.text
    assert all(len(string) <= 255 for string in read.strings)


@pytest.mark.parametrize("domain", ["a.example", "*.a.example", "a.example."])
def test_where_it_stands(domain: str) -> None:
    assert record_name(domain) == "_validation-persist.a.example"


@given(
    st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,10}){0,3}", fullmatch=True),
    st.text(VALUE, min_size=1),
    st.booleans(),
    st.none() | st.datetimes(NOW.replace(tzinfo=None), timezones=st.just(UTC)),
)
def test_what_is_printed_is_read_again(
    issuer: str, account: str, wildcard: bool, until: datetime | None
) -> None:
    if until is not None:
        until = until.replace(microsecond=0)
    record = PersistRecord(issuer, account, wildcard, until)
    assert parse_record(record.text) == record
    # And a CA takes it.
    verdict = check_record(
        record.text, issuers=(issuer,), account_url=account, wildcard=wildcard, now=NOW
    )
    assert verdict is None


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert parse_record(text).account_url


def test_blanks_case_and_unknown_parameters() -> None:
    record = parse_record(f" CA.example ;AccountURI = {ACCOUNT};; x=1; POLICY=WildCard;policy2= ")
    assert record == PersistRecord("CA.example", ACCOUNT, wildcard=True)
    assert not parse_record(f"ca.example; accounturi={ACCOUNT}; policy=other").wildcard


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "accounturi is missing"),
        ("ca.example", "accounturi is missing"),
        (f"; accounturi={ACCOUNT}", "is no domain name"),
        (f"-ca-; accounturi={ACCOUNT}", "is no domain name"),
        (f"{'a.' * 127}aa; accounturi={ACCOUNT}", "is no domain name"),
        ("ca.example; accounturi=", "cannot stand in the record"),
        (f"ca.example; accounturi={ACCOUNT}; accounturi=x", "twice"),
        (f"ca.example; accounturi={ACCOUNT}; flag", "no parameter of the form"),
        (f"ca.example; accounturi={ACCOUNT}; -x-=1", "no parameter of the form"),
        (f"ca.example; accounturi={ACCOUNT}; x=ü", "no parameter of the form"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=soon", "no time in seconds"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=-1", "no time in seconds"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil={'9' * 30}", "no time in seconds"),
    ],
)
def test_records_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse_record(text)


@pytest.mark.parametrize("account", ["", "a b", "a;b", "ü"])
def test_accounts_that_cannot_be_written(account: str) -> None:
    with pytest.raises(RequestError, match="cannot stand in the record"):
        PersistRecord("ca.example", account)


def _judge(domain: str, *found: str, now: datetime = NOW) -> str:
    verdict = judge(domain, found, issuers=["ca.example"], account_url=ACCOUNT, now=now)
    assert bool(verdict) is (verdict.valid is not None)
    return str(verdict)


def test_verdicts() -> None:
    good = f"ca.example; accounturi={ACCOUNT}"
    until = f"{good}; persistUntil={int(NOW.timestamp())}"
    name = "_validation-persist.a.example"
    assert _judge("a.example", "junk", good) == f"{name}: valid for ca.example"
    assert _judge("a.example", until) == f"{name}: valid for ca.example until 2026-01-01 00:00 UTC"
    assert _judge("a.example") == f"{name}: there is no such TXT record"
    assert "is for other.example, not for ca.example" in _judge(
        "a.example", good.replace("ca.example;", "other.example;")
    )
    assert "another account" in _judge("a.example", good + "2")
    assert "needs policy=wildcard" in _judge("*.a.example", good)
    assert "valid" in _judge("*.a.example", f"{good}; policy=wildcard")
    assert "ended 2026-01-01" in _judge("a.example", until, now=NOW.replace(month=2))
    both = _judge("a.example", "junk", good + "2")
    assert both.count(": ") == 3
    assert "accounturi is missing" in both


@pytest.mark.parametrize("count", [0, 11])
def test_the_number_of_issuers_is_bounded(count: int) -> None:
    issuers = [f"ca{number}.example" for number in range(count)]
    with pytest.raises(RequestError, match="there must be 1 to 10"):
        judge("a.example", [], issuers=issuers, account_url=ACCOUNT, now=NOW)


@pytest.mark.anyio
async def test_verified_in_dns(zones: Zones) -> None:
    for domain, valid in (("proved.example.test", True), ("other.example.test", False)):
        verdict = await verify(
            zones.lookup(), domain, issuers=["ca.example"], account_url=ACCOUNT, now=NOW
        )
        assert bool(verdict) is valid
    with pytest.raises(NotPresented):
        await verify(
            zones.lookup(), "elsewhere.test", issuers=["x.example"], account_url="x", now=NOW
        )
