"""CAA records: which CAs a domain allows (RFC 8659; pure).

The records of a name are those of the nearest ancestor that has any; finding them is somebody
else's work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

CRITICAL = 0x80


@dataclass(frozen=True, slots=True)
class CaaRecord:
    """One record, with its value as written."""

    flags: int
    tag: str
    value: str

    @classmethod
    def parse(cls, text: str) -> CaaRecord:
        """From the form of zone files: ``0 issue "ca.example; policy=ev"``. Raises ValueError."""
        flags, tag, value = text.split(" ", 2)
        return cls(int(flags), tag.lower(), value.strip('"'))

    @property
    def issuer(self) -> str:
        """The CA it names; empty for none at all (RFC 8659 §4.2)."""
        return self.value.partition(";")[0].strip().lower()

    def __str__(self) -> str:
        return f'{self.flags} {self.tag} "{self.value}"'


def ancestors(name: str) -> Iterator[str]:
    """The names whose records count, nearest first (RFC 8659 §3)."""
    name = name.removeprefix("*.")
    while name:
        yield name
        name = name.partition(".")[2]


def allowed_issuers(records: Sequence[CaaRecord], *, wildcard: bool) -> tuple[str, ...] | None:
    """The CAs that these records allow; None when they restrict nothing."""
    if wildcard and (wild := [r for r in records if r.tag == "issuewild"]):
        return tuple(record.issuer for record in wild)
    plain = [record for record in records if record.tag == "issue"]
    return tuple(record.issuer for record in plain) if plain else None


def why_not(
    records: Sequence[CaaRecord], identities: Collection[str], *, wildcard: bool
) -> str | None:
    """Why these records keep a CA of these identities from issuing, or None if they do not."""
    for record in records:
        known = record.tag in ("issue", "issuewild", "iodef", "contactemail", "issuemail")
        if record.flags & CRITICAL and not known:
            # RFC 8659 §4.5
            return f"{record} is marked critical, and no CA may issue that does not know it"
    allowed = allowed_issuers(records, wildcard=wildcard)
    if allowed is None or {identity.lower() for identity in identities} & set(allowed):
        return None
    others = ", ".join(dict.fromkeys(filter(None, allowed))) or "no CA at all"
    return f"it allows {others}"
