"""The ledger: what we have asked of a CA, against what it allows (pure).

An order that the CA would surely refuse is not sent: it would be one more request against the very
limit, and its refusal says nothing new. The ledger knows

- *buckets*: one per limit and subject. A bucket is kept the way Let's Encrypt keeps its own, as
  one date, the theoretical arrival time of the generic cell rate algorithm: a request is fine while
  that date lies no more than a full bucket ahead, and moves it on by ``period / count``.
- *blocks*: dates before which the CA asked not to be asked again (Retry-After), each with a scope:
  the whole account, a registered domain, a set of names or a single name.

It is a value. Every change makes a new one; the issuer keeps the latest in the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from acme_client.directories import OWN_PACE, Limit, Limits
from acme_client.documents import to_date
from acme_client.domains import registered_domain
from acme_client.errors import Problem

EVERYTHING = "account"
"""The scope of a block that holds for all orders."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One use of one bucket."""

    key: str
    limit: Limit
    what: str
    per_certificate: bool = False
    """Counted by the CA when a certificate is issued, not when one is ordered."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why something is not sent now, and when it may be."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of one limit."""

    what: str
    left: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Ledger:
    """See the module's docstring."""

    arrivals: Mapping[str, datetime] = field(default_factory=dict)
    blocks: Mapping[str, Obstacle] = field(default_factory=dict)

    def obstacle(self, charges: tuple[Charge, ...], now: datetime) -> Obstacle | None:
        """What speaks against these charges now, the latest date first."""
        found = []
        for charge in charges:
            earliest = self._earliest(charge)
            if earliest > now:
                count, period = charge.limit.count, charge.limit.period
                found.append(Obstacle(earliest, f"{charge.what}: {count} in {period} are used up"))
        return max(found, key=lambda obstacle: obstacle.until, default=None)

    def block_on(self, scopes: tuple[str, ...], now: datetime) -> Obstacle | None:
        """The block on any of these scopes that lasts longest."""
        found = [self.blocks[scope] for scope in scopes if scope in self.blocks]
        latest = max(found, key=lambda obstacle: obstacle.until, default=None)
        return latest if latest is not None and latest.until > now else None

    def charge(self, charges: tuple[Charge, ...], now: datetime) -> Ledger:
        arrivals = dict(self.arrivals)
        for charge in charges:
            step = charge.limit.period / charge.limit.count
            arrivals[charge.key] = max(arrivals.get(charge.key, now), now) + step
        return replace(self, arrivals=arrivals)

    def refund(self, charges: tuple[Charge, ...]) -> Ledger:
        """Take back what was charged for something that did not come about."""
        arrivals = dict(self.arrivals)
        for charge in charges:
            if charge.key in arrivals:
                arrivals[charge.key] -= charge.limit.period / charge.limit.count
        return replace(self, arrivals=arrivals)

    def under(self, charge: Charge, before: Limit, now: datetime) -> Ledger:
        """As if all of a bucket's uses had been charged under ``charge.limit`` and not ``before``.

        The arrival time counts in the steps of the limit it was charged under: read under another
        one, a bucket of 2 that is used up would be 59 uses of 60.
        """
        arrival = self.arrivals.get(charge.key)
        if before == charge.limit or arrival is None or arrival <= now:
            return self
        limit = charge.limit
        uses = (arrival - now) / (before.period / before.count)
        debt = limit.period / limit.count * min(uses, limit.count)
        return replace(self, arrivals={**self.arrivals, charge.key: now + debt})

    def block(self, scope: str, obstacle: Obstacle) -> Ledger:
        return replace(self, blocks={**self.blocks, scope: obstacle})

    def left(self, charge: Charge, now: datetime) -> Budget:
        """How many more of this charge would go through now."""
        count, step = charge.limit.count, charge.limit.period / charge.limit.count
        used = max(self.arrivals.get(charge.key, now) - now, step * 0)
        # Rounding in timedelta must not turn a full bucket into one that lacks one.
        return Budget(charge.what, max(0, int(count - used / step + 1e-6)), charge.limit)

    def tidied(self, now: datetime) -> Ledger:
        """Without what has no effect any more: full buckets and past blocks."""
        return Ledger(
            {key: at for key, at in self.arrivals.items() if at > now},
            {scope: block for scope, block in self.blocks.items() if block.until > now},
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "arrivals": {key: at.isoformat() for key, at in self.arrivals.items()},
            "blocks": {
                scope: {"until": block.until.isoformat(), "why": block.why}
                for scope, block in self.blocks.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Ledger:
        return cls(
            {key: to_date(at) for key, at in document["arrivals"].items()},
            {
                scope: Obstacle(to_date(block["until"]), block["why"])
                for scope, block in document["blocks"].items()
            },
        )

    def _earliest(self, charge: Charge) -> datetime:
        arrival = self.arrivals.get(charge.key)
        if arrival is None:
            return datetime.min.replace(tzinfo=UTC)
        step = charge.limit.period / charge.limit.count
        return arrival - step * (charge.limit.count - 1)


def order_charges(
    limits: Limits, names: tuple[str, ...], *, renewal: bool, ari: bool
) -> tuple[Charge, ...]:
    """What an order for these names costs.

    Let's Encrypt exempts a renewal that ARI arranged (it names the certificate it replaces) from
    all of its limits, and any other order for the same set of names from those on orders and on
    certificates of a domain.
    """
    pace = Charge("pace", OWN_PACE, "orders of this account")
    if ari:
        return (pace,)
    charges = [pace]
    if limits.duplicates:
        key = f"names:{names_key(names)}"
        charges.append(Charge(key, limits.duplicates, "certificates of these names", True))
    if limits.orders and not renewal:
        charges.append(Charge("orders", limits.orders, "new orders of this account"))
    if limits.certificates and not renewal:
        charges += [
            Charge(f"domain:{domain}", limits.certificates, f"certificates of {domain}", True)
            for domain in dict.fromkeys(map(registered_domain, names))
        ]
    return tuple(charges)


def failure_charges(limits: Limits, names: tuple[str, ...]) -> tuple[Charge, ...]:
    """What a failed validation of these names costs."""
    if limits.failures is None:
        return ()
    return tuple(
        Charge(f"failures:{name}", limits.failures, f"failed validations of {name}")
        for name in names
    )


def account_charges(limits: Limits) -> tuple[Charge, ...]:
    return (Charge("accounts", limits.accounts, "new accounts"),) if limits.accounts else ()


def order_scopes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes a block must not have for an order of these names."""
    domains = dict.fromkeys(map(registered_domain, names))
    return (
        EVERYTHING,
        f"names:{names_key(names)}",
        *(f"domain:{domain}" for domain in domains),
        *(f"name:{name}" for name in names),
    )


def refused_scope(names: tuple[str, ...], problems: tuple[Problem, ...]) -> str:
    """What a refusal for too many requests is about.

    The problem document has no field for that. Its text names the domain or the set of names if it
    is about one; what names nothing is about the account.
    """
    text = " ".join(map(str, problems)).lower()
    if "exact set" in text:
        return f"names:{names_key(names)}"
    if "failed" in text:
        for name in names:
            if name in text:
                return f"name:{name}"
    for domain in dict.fromkeys(map(registered_domain, names)):
        if f'"{domain}"' in text or f" {domain}" in text or text.startswith(domain):
            return f"domain:{domain}"
    for name in names:
        if name in text:
            return f"name:{name}"
    return EVERYTHING


def names_key(names: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]
