from __future__ import annotations

from datetime import UTC, datetime

import pytest

from acme_client.testing.persist import check_record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = "https://ca.example/account/1"


def _check(text: str, *, wildcard: bool = False) -> str | None:
    return check_record(
        text, issuers=("ca.example",), account_url=ACCOUNT, wildcard=wildcard, now=NOW
    )


@pytest.mark.parametrize(
    "text",
    [
        f"ca.example; accounturi={ACCOUNT}",
        f"CA.example;accounturi={ACCOUNT};",
        f"ca.example; accounturi={ACCOUNT}; unknown=x; persistUntil={int(NOW.timestamp())}",
    ],
)
def test_good_records(text: str) -> None:
    assert _check(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "issuer"),
        (f"other.example; accounturi={ACCOUNT}", "issuer"),
        ("ca.example", "accounturi"),
        (f"ca.example; accounturi={ACCOUNT}2", "accounturi"),
        ("ca.example; accounturi", "no parameter"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=1", "persistUntil"),
        (f"ca.example; accounturi={ACCOUNT}; persistUntil=soon", "persistUntil"),
    ],
)
def test_bad_records(text: str, reason: str) -> None:
    assert reason in str(_check(text))


def test_wildcards_need_the_policy() -> None:
    text = f"ca.example; accounturi={ACCOUNT}"
    assert "policy" in str(_check(text, wildcard=True))
    assert _check(f"{text}; Policy=WildCard", wildcard=True) is None
