"""Issuers that cannot be connected to (pure; clock and chance are arguments).

When nothing reaches a CA, no certificate is at fault, and all that wait for this CA wait together.
Once the date has come, the first that asks is the probe; the others go on waiting, and are woken
when the probe got through.
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
    told: int = 0
    """The probe that was last worth a line in the log."""

    def is_news(self) -> bool:
        """True once for the 1st, 2nd, 4th, 8th... probe: days of outage must not fill the log."""
        if self.told == self.probes or self.probes & (self.probes - 1):
            return False
        self.told = self.probes
        return True


class Outages:
    """The outages known to this process."""

    def __init__(self) -> None:
        self._outages: dict[Hashable, Outage] = {}

    def begin(self, issuers: Hashable, now: datetime, chance: float) -> Outage:
        """An attempt reached nobody; the outage, new or known."""
        outage = self._outages.get(issuers)
        if outage is None:
            outage = self._outages[issuers] = Outage(0, now)
            self._postpone(outage, now, chance)
        return outage

    def is_known(self, issuers: Hashable) -> bool:
        """Whether these could not be reached when they were last tried."""
        return issuers in self._outages

    def end(self, issuers: Hashable) -> bool:
        """Somebody was reached; True if that ended an outage."""
        return self._outages.pop(issuers, None) is not None

    def hold(self, issuers: Hashable, now: datetime, chance: float) -> datetime | None:
        """Until when an attempt has to wait, or None if it may go (perhaps as the next probe)."""
        outage = self._outages.get(issuers)
        if outage is None:
            return None
        if now < outage.until:
            return outage.until
        self._postpone(outage, now, chance)
        return None

    @staticmethod
    def _postpone(outage: Outage, now: datetime, chance: float) -> None:
        outage.until = now + probe_delay(outage.probes, chance)
        outage.probes += 1
