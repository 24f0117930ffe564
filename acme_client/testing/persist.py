"""The check of a dns-persist-01 record (draft-ietf-acme-dns-persist), as a CA does it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime


def check_record(
    text: str,
    *,
    issuers: Collection[str],
    account_url: str,
    wildcard: bool,
    now: datetime,
) -> str | None:
    """``None`` when the record authorizes the account; otherwise the reason why not."""
    # RFC 8659 §4.2, issue-value: a domain name, then parameters, parted by semicolons.
    issuer, *parameters = (part.strip() for part in text.split(";"))
    if issuer.lower() not in issuers:
        return f"the issuer {issuer!r} is not this CA"
    values: dict[str, str] = {}
    for parameter in parameters:
        tag, equals, value = parameter.partition("=")
        if parameter and not equals:
            return f"{parameter!r} is no parameter"
        # Unknown tags are ignored, by the draft.
        values.setdefault(tag.strip().lower(), value.strip())
    if values.get("accounturi") != account_url:
        return "accounturi is not the account's"
    if wildcard and values.get("policy", "").lower() != "wildcard":
        return "a wildcard needs policy=wildcard"
    until = values.get("persistuntil")
    if until is not None and (not until.isdecimal() or int(until) < now.timestamp()):
        return f"persistUntil {until} has passed"
    return None
