"""When a certificate is renewed (pure; the clock is passed in).

The rule, from the certificate's own lifetime, so that 160 hours, 45 and 90 days behave alike:

1. Without word from the CA: when 1/3 of the lifetime is left; 1/2 when it is under ten days.
2. With ARI (RFC 9773) at a point of the suggested window, which may be earlier at will (a mass
   revocation), but never later than when 1/6 of the lifetime is left.

A CA whose windows always lie in the past must not have us order in a circle: where a certificate
already came of a hurried renewal (its predecessor was not even a third through), rule 2 waits
until it is a day, or 1/20 of its lifetime, old.

Both are spread: each certificate has a chance in [0, 1) drawn from its fingerprint, the same
after a restart, which picks its point in the window (RFC 9773 §4.2) or advances rule 1 by up to
1/10 of the lifetime. That keeps apart what is apart, but to part a thousand certificates of one
day by it would take years. So one that was issued *out of turn*, at a moment that many may have
shared (the first start, another CA, an incident, the end of an outage), is renewed at any point
between 2/3 of its lifetime left and the share of rule 1: once, and its successors are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from acme_client.backoff import SHORT_LIVED

SHARE_LEFT = 1 / 3
SHARE_LEFT_SHORT_LIVED = 1 / 2
SHARE_LEFT_AT_LEAST = 1 / 6
SHARE_LEFT_ALERT = 1 / 4
SPREAD = 1 / 10
SHARE_LEFT_OUT_OF_TURN = 2 / 3
LATE_SHARE = 1 / 20
"""A renewal that is late by more of the lifetime than this waited for something, with others."""

HURRIED_SHARE = 1 - SHARE_LEFT_OUT_OF_TURN
"""A certificate that is replaced at less than this was renewed in a hurry..."""
AFTER_HURRY = timedelta(days=1)
AFTER_HURRY_SHARE = 1 / 20
"""... and its successor stays at least for the shorter of these."""

ASK_AGAIN = timedelta(hours=6)
"""How often the CA is asked for its window when it does not say (RFC 9773 §4.3)."""
ASK_AGAIN_SOONEST = timedelta(minutes=1)
ASK_AGAIN_LATEST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """What the CA suggests (RFC 9773 §4.2)."""

    start: datetime
    end: datetime
    explanation_url: str | None = None

    def __str__(self) -> str:
        return f"between {self.start:%Y-%m-%d %H:%M} and {self.end:%Y-%m-%d %H:%M} UTC"

    @property
    def plausible(self) -> bool:
        """RFC 9773 §4.2: a window whose end is not after its start counts as no answer."""
        return self.start < self.end


@dataclass(frozen=True, slots=True)
class RenewalTime:
    """When, and by which rule."""

    at: datetime
    rule: str


def spread_of(fingerprint: str) -> float:
    """A chance in [0, 1) that belongs to a certificate for good."""
    return int(fingerprint[:13], 16) / 16**13


def is_hurried(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether to replace a certificate of these dates now is to do so in a hurry."""
    return now < not_before + (not_after - not_before) * HURRIED_SHARE


def is_out_of_turn(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether to replace a certificate of these dates now is earlier or later than its own time."""
    lifetime = not_after - not_before
    latest = not_after - lifetime * (_share_left(lifetime) - LATE_SHARE)
    return is_hurried(not_before, not_after, now) or now > latest


def renewal_time(
    not_before: datetime,
    not_after: datetime,
    window: RenewalWindow | None,
    chance: float,
    *,
    hurried: bool = False,
    out_of_turn: bool = False,
) -> RenewalTime:
    """When to renew a certificate of these dates; ``hurried`` if it came of a hurried renewal."""
    lifetime = not_after - not_before
    if window is not None and window.plausible:
        suggested = window.start + (window.end - window.start) * chance
        if hurried:
            rest = min(AFTER_HURRY, lifetime * AFTER_HURRY_SHARE)
            suggested = max(suggested, not_before + rest)
        latest = not_after - lifetime * SHARE_LEFT_AT_LEAST
        if suggested <= latest:
            return RenewalTime(suggested, "the CA's suggested window (ARI)")
        return RenewalTime(latest, "1/6 of the lifetime left (the CA's window is later)")
    share = _share_left(lifetime)
    ordinary = "1/2" if share == SHARE_LEFT_SHORT_LIVED else "1/3"
    if out_of_turn:
        at = not_after - lifetime * (share + (SHARE_LEFT_OUT_OF_TURN - share) * chance)
        why = "the first one, or issued out of turn"
        return RenewalTime(at, f"{ordinary} to 2/3 of the lifetime left, at random: {why}")
    at = not_after - lifetime * (share + SPREAD * chance)
    return RenewalTime(at, f"{ordinary} of the lifetime left")


def _share_left(lifetime: timedelta) -> float:
    return SHARE_LEFT_SHORT_LIVED if lifetime < SHORT_LIVED else SHARE_LEFT


def alert_time(not_before: datetime, not_after: datetime) -> datetime:
    """From when on a certificate that was not renewed is a reason to wake somebody."""
    return not_after - (not_after - not_before) * SHARE_LEFT_ALERT


def ask_time(now: datetime, retry_after: timedelta | None) -> datetime:
    """When to ask for the window again, at the CA's wish within bounds."""
    wait = ASK_AGAIN if retry_after is None else retry_after
    return now + max(ASK_AGAIN_SOONEST, min(wait, ASK_AGAIN_LATEST))
