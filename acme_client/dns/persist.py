"""DNS-PERSIST-01 (draft-ietf-acme-dns-persist): a record set once, proof for every renewal. Pure.

::

    _validation-persist.example.com. IN TXT
        "letsencrypt.org; accounturi=https://…/acct/1; policy=wildcard; persistUntil=1798761600"

The record gives one account at one CA leave to get certificates for a name. People set it by hand,
so what this module does is print it and judge what is there. The form is that of versions 00 and
01 of the draft, which Let's Encrypt and Pebble run: ``accounturi`` is the account's URL. (Version
02 puts a hash in its place; it is a URI too, so it can be given as ``account_url``.) Parameters
with unknown tags are ignored, as the draft demands.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from acme_client.errors import RequestError

if TYPE_CHECKING:
    from acme_client.dns.lookup import Lookup

LABEL = "_validation-persist"
MAX_ISSUERS = 10
"""More issuer domain names in one challenge make it malformed."""
TXT_STRING_BYTES = 255

# RFC 8659 §4.2
_ISSUER = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\Z"
)
_TAG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\Z")
_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")


@dataclass(frozen=True, slots=True)
class PersistRecord:
    """What one record says."""

    issuer: str
    account_url: str
    wildcard: bool = False
    """``policy=wildcard``: also for ``*.`` and below."""
    until: datetime | None = None
    """No new validation after this."""

    def __post_init__(self) -> None:
        if not _ISSUER.match(self.issuer) or len(self.issuer) > 253:
            raise RequestError(f"issuer {self.issuer!r} is no domain name")
        if not self.account_url or not _VALUE.match(self.account_url):
            raise RequestError(
                f"account URL {self.account_url!r} cannot stand in the record: it must be ASCII, "
                "without spaces and semicolons"
            )

    @property
    def text(self) -> str:
        parts = [self.issuer.lower(), f"accounturi={self.account_url}"]
        if self.wildcard:
            parts.append("policy=wildcard")
        if self.until is not None:
            parts.append(f"persistUntil={int(self.until.timestamp())}")
        return "; ".join(parts)

    def zone_line(self, domain: str) -> str:
        """The record as a line of a zone file, in strings of at most 255 bytes."""
        text = self.text
        strings = [
            text[start : start + TXT_STRING_BYTES]
            for start in range(0, len(text), TXT_STRING_BYTES)
        ]
        quoted = " ".join(f'"{string}"' for string in strings)
        return f"{record_name(domain)}. IN TXT {quoted}"


def record_name(domain: str) -> str:
    """Where the record for a domain (or its wildcard) stands."""
    return f"{LABEL}.{domain.removeprefix('*.').rstrip('.')}"


def parse_record(text: str) -> PersistRecord:
    """Read a record; RequestError says what is wrong with it."""
    # RFC 8659 §4.2: issuer-domain-name, then parameters behind semicolons, blanks anywhere.
    issuer, *parameters = (part.strip(" \t") for part in text.split(";"))
    values: dict[str, str] = {}
    for parameter in parameters:
        if not parameter:
            continue
        tag, equals, value = (part.strip(" \t") for part in parameter.partition("="))
        if not equals or not _TAG.match(tag) or not _VALUE.match(value):
            raise RequestError(f"{parameter!r} is no parameter of the form tag=value")
        if tag.lower() in values:
            raise RequestError(f"the parameter {tag} stands there twice")
        values[tag.lower()] = value
    if "accounturi" not in values:
        raise RequestError("accounturi is missing")
    return PersistRecord(
        issuer=issuer,
        account_url=values["accounturi"],
        # Any other policy counts as none.
        wildcard=values.get("policy", "").lower() == "wildcard",
        until=_time(values.get("persistuntil")),
    )


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if not (text.isascii() and text.isdecimal()):
            raise ValueError(text)
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise RequestError(
            f"persistUntil {text!r} is no time in seconds since 1970-01-01"
        ) from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found at a name: valid when a record does what it should."""

    name: str
    found: tuple[str, ...]
    valid: PersistRecord | None
    problems: tuple[str, ...] = ()
    """Why the others do not count, or that there is none."""

    def __bool__(self) -> bool:
        return self.valid is not None

    def __str__(self) -> str:
        if self.valid is not None:
            end = f" until {self.valid.until:%Y-%m-%d %H:%M} UTC" if self.valid.until else ""
            return f"{self.name}: valid for {self.valid.issuer}{end}"
        return f"{self.name}: {'; '.join(self.problems)}"


def judge(
    domain: str,
    found: Iterable[str],
    *,
    issuers: Collection[str],
    account_url: str,
    now: datetime,
) -> Verdict:
    """Whether one of the records found lets the account have a certificate for ``domain``.

    ``issuers`` are the CA's issuer domain names: those of the challenge, or its CAA identities.
    """
    if not 0 < len(issuers) <= MAX_ISSUERS:
        raise RequestError(f"{len(issuers)} issuer domain names: there must be 1 to {MAX_ISSUERS}")
    name, texts = record_name(domain), tuple(found)
    wanted = {issuer.lower() for issuer in issuers}
    problems: list[str] = []
    for text in texts:
        try:
            record = parse_record(text)
        except RequestError as error:
            problems.append(f"{text!r}: {error}")
            continue
        problem = _problem(record, domain, wanted, account_url, now)
        if problem is None:
            return Verdict(name, texts, record, tuple(problems))
        problems.append(f"{text!r}: {problem}")
    return Verdict(name, texts, None, tuple(problems) or ("there is no such TXT record",))


def _problem(
    record: PersistRecord, domain: str, issuers: set[str], account_url: str, now: datetime
) -> str | None:
    if record.issuer.lower() not in issuers:
        return f"it is for {record.issuer}, not for {' or '.join(sorted(issuers))}"
    if record.account_url != account_url:
        return f"it is for another account than {account_url}"
    if domain.startswith("*.") and not record.wildcard:
        return "a wildcard needs policy=wildcard"
    if record.until is not None and record.until < now:
        return f"it ended {record.until:%Y-%m-%d %H:%M} UTC (persistUntil)"
    return None


async def verify(
    lookup: Lookup,
    domain: str,
    *,
    issuers: Collection[str],
    account_url: str,
    now: datetime,
) -> Verdict:
    """Look the record up, aliases followed, and judge it."""
    found = await lookup.texts(record_name(domain))
    return judge(domain, found, issuers=issuers, account_url=account_url, now=now)
