"""Issuers that cannot be connected to (pure; clock and chance are arguments).

When nothing reaches a CA, no certificate is at fault and all that wait for this CA wait together:
the first to come after the date is the probe, the others follow when it got through.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime

from acme_client.backoff import probe_delay


@dataclass(slots=True)
class Outage:
    """How often a set of issuers was probed, and when it is next."""

    probes: int
    until: datetime


class Outages:
    """The outages known to this process."""

    def __init__(self) -> None:
        self._outages: dict[Hashable, Outage] = {}

    def note(self, issuers: Hashable, now: datetime, chance: float) -> bool:
        """Nothing could be reached; True when that was news (the probe that was due)."""
        outage = self._outages.setdefault(issuers, Outage(0, now))
        if now < outage.until:
            return False
        outage.until = now + probe_delay(outage.probes, chance)
        outage.probes += 1
        return True

    def over(self, issuers: Hashable) -> None:
        """Something was reached."""
        self._outages.pop(issuers, None)

    def until(self, issuers: Hashable, now: datetime) -> datetime | None:
        """The date of the next probe while these issuers are not to be tried."""
        outage = self._outages.get(issuers)
        return outage.until if outage is not None and now < outage.until else None
