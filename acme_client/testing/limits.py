"""Rate limits in the form of Let's Encrypt's: leaky buckets that refill steadily.

A limit of N per period T is a bucket of N tokens that gains one every T/N. It is kept as the
generic cell rate algorithm keeps it, one "theoretical arrival time" per key, so that thirty
thousand orders cost thirty thousand dates and no lists.

Orders are charged when made, certificates when issued, failures when they happen; all are looked
at when an order is made, which is where Let's Encrypt refuses. An order that ``replaces`` a
certificate (RFC 9773 §5) is exempt from all; one whose names have had a certificate before is a
renewal, exempt from the limits per account and per registered domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from acme_client.testing.identifiers import Identifier, last_two_labels
from acme_client.testing.problems import Problem

DOCUMENTATION = "https://letsencrypt.org/docs/rate-limits/"


@dataclass(frozen=True, slots=True)
class Limit:
    count: int
    period: timedelta

    @property
    def interval(self) -> float:
        """Seconds in which one token comes back."""
        return self.period.total_seconds() / self.count


class Buckets:
    """One limit's buckets, by key."""

    __slots__ = ("_arrival", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._arrival: dict[Hashable, float] = {}

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until a token is there; 0 when one is."""
        arrival = max(self._arrival.get(key, now), now)
        burst = self.limit.period.total_seconds() - self.limit.interval
        wait = arrival - burst - now
        # Sums of floats must not refuse a client that comes exactly on time.
        return wait if wait > 0.001 else 0.0

    def spend(self, key: Hashable, now: float) -> None:
        self._arrival[key] = max(self._arrival.get(key, now), now) + self.limit.interval

    def left(self, key: Hashable, now: float) -> int:
        owed = max(self._arrival.get(key, now) - now, 0.0)
        # A token owed to the last microsecond counts as there: floats would make 5 of 5 be 4.
        return max(0, math.floor(self.limit.count - owed / self.limit.interval + 1e-6))


def _buckets(count: int, **period: float) -> Callable[[], Buckets]:
    return lambda: Buckets(Limit(count, timedelta(**period)))


@dataclass(slots=True, kw_only=True)
class RateLimits:
    """All counters. ``refused`` lists what was refused, in order: an empty one is the goal."""

    accounts_per_address: Buckets = field(default_factory=_buckets(10, hours=3))
    orders_per_account: Buckets = field(default_factory=_buckets(300, hours=3))
    certificates_per_domain: Buckets = field(default_factory=_buckets(50, days=7))
    certificates_per_set: Buckets = field(default_factory=_buckets(5, days=7))
    failures_per_identifier: Buckets = field(default_factory=_buckets(5, hours=1))
    paused_after: int = 1152
    """Failures in a row after which an identifier is paused for an account."""
    registered_domain: Callable[[str], str] = last_two_labels
    failures_in_a_row: dict[tuple[int, Identifier], int] = field(default_factory=dict)
    issued_sets: set[frozenset[Identifier]] = field(default_factory=set)
    refused: list[Problem] = field(default_factory=list)

    def new_account(self, address: str, now: float) -> None:
        self._check(
            self.accounts_per_address,
            [address],
            now,
            "too many new registrations ({count}) from this IP address in the last {period}",
        )
        self.accounts_per_address.spend(address, now)

    def new_order(
        self, account: int, identifiers: tuple[Identifier, ...], now: float, *, replaces: bool
    ) -> None:
        """Refuse, or charge the order."""
        if replaces:
            return
        for identifier in identifiers:
            failures = self.failures_in_a_row.get((account, identifier.base), 0)
            if failures >= self.paused_after:
                self._refuse(
                    Problem(
                        "rateLimited",
                        f"Your account is temporarily prevented from requesting certificates for "
                        f"{identifier.base.value} after {failures} failed validations in a row.",
                    )
                )
        self._check(
            self.failures_per_identifier,
            [(account, identifier.base) for identifier in identifiers],
            now,
            "too many failed authorizations ({count}) for {key} in the last {period}",
        )
        names = frozenset(identifiers)
        self._check(
            self.certificates_per_set,
            [names],
            now,
            "too many certificates ({count}) already issued for this exact set of identifiers in "
            "the last {period}",
        )
        if names in self.issued_sets:
            return
        self._check(
            self.certificates_per_domain,
            self._domains(identifiers),
            now,
            "too many certificates ({count}) already issued for {key} in the last {period}",
        )
        self._check(
            self.orders_per_account,
            [account],
            now,
            "too many new orders ({count}) from this account in the last {period}",
        )
        self.orders_per_account.spend(account, now)

    def issued(self, identifiers: tuple[Identifier, ...], now: float, *, replaces: bool) -> None:
        names = frozenset(identifiers)
        if not replaces:
            self.certificates_per_set.spend(names, now)
            if names not in self.issued_sets:
                for domain in self._domains(identifiers):
                    self.certificates_per_domain.spend(domain, now)
        self.issued_sets.add(names)

    def validation_failed(self, account: int, identifier: Identifier, now: float) -> None:
        key = (account, identifier)
        self.failures_per_identifier.spend(key, now)
        self.failures_in_a_row[key] = self.failures_in_a_row.get(key, 0) + 1

    def validation_succeeded(self, account: int, identifier: Identifier) -> None:
        self.failures_in_a_row.pop((account, identifier), None)

    def _domains(self, identifiers: Iterable[Identifier]) -> list[str]:
        """Let's Encrypt counts an IPv6 address by its /64; the whole address is stricter here."""
        return sorted(
            {
                self.registered_domain(identifier.value)
                if identifier.type == "dns"
                else identifier.value
                for identifier in identifiers
            }
        )

    def _check(self, buckets: Buckets, keys: Iterable[Hashable], now: float, text: str) -> None:
        for key in keys:
            wait = buckets.wait(key, now)
            if wait <= 0:
                continue
            named = key[1].value if isinstance(key, tuple) else key
            detail = text.format(
                count=buckets.limit.count, period=_hours(buckets.limit.period), key=repr(named)
            )
            until = datetime.fromtimestamp(math.ceil(now + wait), UTC)
            self._refuse(
                Problem(
                    "rateLimited",
                    f"{detail}, retry after {until:%Y-%m-%d %H:%M:%S} UTC: see {DOCUMENTATION}",
                    retry_after=math.ceil(wait),
                    headers={"Link": f'<{DOCUMENTATION}>;rel="help"'},
                )
            )

    def _refuse(self, problem: Problem) -> None:
        self.refused.append(problem)
        raise problem


def _hours(period: timedelta) -> str:
    """Written as Let's Encrypt's messages write it: 168h0m0s."""
    seconds = int(period.total_seconds())
    return f"{seconds // 3600}h{seconds // 60 % 60}m{seconds % 60}s"
