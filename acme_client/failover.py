"""One attempt: the issuers in order, until one delivers.

Fail-over is per attempt. The next attempt begins with the first issuer again, so a certificate
comes home to its preferred CA as soon as that works. What the failures of one attempt mean for the
next is judged here too:

- nothing was sent to any CA, because ours is a network without a way out: this is an *outage*, no
  failure of the certificate; it is probed and does not count,
- our own ledger kept us from sending anything: wait for its date; that does not count either,
- anything else is a failure and counts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from acme_client.errors import (
    AcmeClientError,
    BadCertificate,
    BudgetSpent,
    IssuerError,
    IssuerUnreachable,
    OrderStuck,
    RequestError,
    said_of,
)
from acme_client.issuer import Environment, IssuanceTask, Issuer
from acme_client.store.interface import NewCertificate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A certificate, and who issued it."""

    certificate: NewCertificate
    issuer: Issuer


@dataclass(frozen=True, slots=True)
class Miss:
    """One issuer that did not deliver, and why."""

    issuer: str
    error: AcmeClientError

    def __str__(self) -> str:
        return said_of(self.issuer, str(self.error))


class AttemptFailed(AcmeClientError):
    """No issuer delivered. ``misses`` is in the order they were tried."""

    def __init__(self, misses: Sequence[Miss]) -> None:
        super().__init__("; ".join(map(str, misses)))
        self.misses = tuple(misses)

    @property
    def chief(self) -> Miss:
        """The most telling miss: one that a CA had a say in, if there is one."""
        return next((miss for miss in self.misses if not _harmless(miss.error)), self.misses[0])

    @property
    def outage(self) -> bool:
        """Nothing reached a CA, for want of a connection."""
        return all(_harmless(miss.error) for miss in self.misses) and any(
            isinstance(miss.error, IssuerUnreachable) for miss in self.misses
        )

    @property
    def counts(self) -> bool:
        """Whether this goes on the certificate's record of failures."""
        return not all(_harmless(miss.error) for miss in self.misses)

    @property
    def resumable(self) -> bool:
        """An order is under way: looking after it costs the CA next to nothing."""
        return isinstance(self.chief.error, OrderStuck)

    @property
    def retry_at(self) -> datetime | None:
        """The first date at which some issuer may be asked again, if all of them gave one."""
        dates = [getattr(miss.error, "retry_at", None) for miss in self.misses]
        known = [date for date in dates if date is not None]
        return min(known) if len(known) == len(dates) else None


async def issue_from_first(
    issuers: Sequence[Issuer], task: IssuanceTask, environment: Environment
) -> Outcome:
    """A certificate from the first issuer that delivers, or AttemptFailed."""
    misses = []
    for issuer in issuers:
        try:
            return Outcome(await issuer.issue(task, environment), issuer)
        except (IssuerError, BadCertificate, RequestError) as error:
            misses.append(Miss(issuer.name, error))
        except AcmeClientError:
            raise  # the store: no other issuer can do better
        except Exception as error:
            # An issuer speaks with a stranger's server and may be a plug-in. What it did not
            # foresee is told in full, and costs this attempt, never the service.
            logger.exception("%s: issuer %s failed unexpectedly", task.certificate_id, issuer.name)
            misses.append(Miss(issuer.name, IssuerError(f"unexpected: {error!r}")))
        logger.info("%s: %s", task.certificate_id, misses[-1])
    raise AttemptFailed(misses)


def _harmless(error: AcmeClientError) -> bool:
    if isinstance(error, IssuerUnreachable):
        return not error.connected
    return isinstance(error, BudgetSpent)
