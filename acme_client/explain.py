"""Everything about one certificate, for a person or a program.

What is served, since when, from whom; when the next one is ordered, and by which rule; why the
last try failed, in plain words beside the CA's own; what is left of the CA's limits; and what was
found where a CA would look (``probes``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from acme_client.acme_issuer import AcmeIssuer
from acme_client.issuer import Environment, Issuer
from acme_client.ledger import Budget, Obstacle
from acme_client.manager import CertificateStatus
from acme_client.plain_words import explain_failure
from acme_client.plan import Action, Plan
from acme_client.probes import Finding, Level
from acme_client.request import CertificateRequest
from acme_client.state import CertificateState, Failure
from acme_client.store.interface import StoredCertificate

_WIDTH = 13

_SOON = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Account:
    """What is left of one CA's limits for these names."""

    issuer: str
    budgets: tuple[Budget, ...]
    obstacle: Obstacle | None
    """The CA asked us to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """See the module's docstring."""

    status: CertificateStatus
    accounts: tuple[Account, ...]
    findings: tuple[Finding, ...]
    now: datetime
    is_retired: bool = False
    """It is in the store, and nobody asks for it any more."""

    @property
    def is_well(self) -> bool:
        """Whether nobody has to do anything: what is served is good, and nothing failed."""
        stored = self.status.stored
        return self.is_retired or (
            stored is not None
            and stored.not_after > self.now
            and self.status.state.last_failure is None
            and all(finding.level is not Level.PROBLEM for finding in self.findings)
        )

    def lines(self) -> Iterator[str]:
        """For a person."""
        status = self.status
        yield f"{status.certificate_id} ({status.key_type})"
        for title, texts in self._sections():
            for place, text in enumerate(texts):
                yield f"  {title if place == 0 else '':{_WIDTH}}{text}"

    def _sections(self) -> Iterator[tuple[str, Sequence[str]]]:
        status, state, stored = self.status, self.status.state, self.status.stored
        yield "names", [", ".join(status.request.names)]
        if stored is None:
            yield "served", ["nothing: there is no certificate yet"]
        else:
            title = "stored" if self.is_retired else "served"
            yield title, [f"serial {stored.serial}, issued by {stored.issuer}"]
            yield "from", [stored.directory + (f" ({stored.profile})" if stored.profile else "")]
            yield "since", [_date(stored.saved_at)]
            yield (
                "valid",
                [f"{_date(stored.not_before)} to {self._with_distance(stored.not_after)}"],
            )
        if self.is_retired:
            yield "next", ["nothing: it is not in the configuration, so neither served nor renewed"]
            return
        verb = "renewal" if stored is not None else "order"
        yield "next", [f"{verb} {self._with_distance(status.plan.at)}: {status.plan.reason}"]
        if state.window is not None:
            start, end = _date(state.window.start), _date(state.window.end)
            link = f" ({state.window.explanation_url})" if state.window.explanation_url else ""
            yield "CA's window", [f"{start} to {end}{link}"]
        if state.last_failure is not None:
            yield "last failure", list(_failure_lines(state.last_failure, state.failures))
        for account in self.accounts:
            yield "budget", list(_account_lines(account))
        yield "looked at", [f"{MARKS[found.level]} {found}" for found in self.findings]

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        status, state, stored = self.status, self.status.state, self.status.stored
        return {
            "id": status.certificate_id,
            "names": list(status.request.names),
            "key_type": status.key_type,
            "well": self.is_well,
            "served": stored
            and {
                "serial": stored.serial,
                "fingerprint": stored.fingerprint,
                "issuer": stored.issuer,
                "directory": stored.directory,
                "profile": stored.profile,
                "since": stored.saved_at.isoformat(),
                "not_before": stored.not_before.isoformat(),
                "not_after": stored.not_after.isoformat(),
            },
            "next": None
            if self.is_retired
            else {
                "action": status.plan.action.value,
                "at": status.plan.at.isoformat(),
                "rule": status.plan.reason,
            },
            "window": state.window
            and {"start": state.window.start.isoformat(), "end": state.window.end.isoformat()},
            "failures": state.failures,
            "last_failure": state.last_failure
            and {
                **state.last_failure.to_json(),
                "in_words": list(explain_failure(state.last_failure)),
            },
            "budget": [_account_json(account) for account in self.accounts],
            "findings": [finding.to_json() for finding in self.findings],
        }

    def _with_distance(self, at: datetime) -> str:
        ahead = at - self.now
        # A minute is all too coarse for what is a few seconds off.
        date = f"{at:%Y-%m-%d %H:%M:%S} UTC" if abs(ahead) < _SOON else _date(at)
        return f"{date} ({_distance(ahead)})"


MARKS = {Level.OK: "ok     ", Level.NOTE: "note   ", Level.PROBLEM: "PROBLEM"}


async def explain(
    status: CertificateStatus,
    issuers: Sequence[Issuer],
    environment: Environment,
    findings: Sequence[Finding],
) -> Explanation:
    """Put together what is known; reads the store, asks nobody."""
    names = status.request.names
    allowed = status.request.issuers
    accounts = [
        Account(
            issuer.name,
            tuple(await issuer.budget(names, environment)),
            await issuer.session(environment).obstacle(names),
        )
        for issuer in issuers
        if isinstance(issuer, AcmeIssuer) and (not allowed or issuer.name in allowed)
    ]
    return Explanation(
        status=status,
        accounts=tuple(accounts),
        findings=tuple(findings),
        now=environment.clock.now(),
    )


def explain_retired(stored: StoredCertificate, now: datetime) -> Explanation:
    """What there is to say about a certificate that nobody asks for any more."""
    status = CertificateStatus(
        certificate_id=stored.id,
        request=CertificateRequest(names=stored.names, key_types=(stored.key_type,)),
        key_type=stored.key_type,
        stored=stored,
        state=CertificateState(),
        plan=Plan(Action.RENEW, stored.not_after, "not in the configuration"),
    )
    return Explanation(status=status, accounts=(), findings=(), now=now, is_retired=True)


def _failure_lines(failure: Failure, count: int) -> Iterator[str]:
    times = f", {count} in a row" if count > 1 else ""
    message = failure.message.removeprefix(f"{failure.issuer} ")
    yield f"{_date(failure.at)} at {failure.issuer}{times}: {message}"
    for sentence in explain_failure(failure):
        yield f"-> {sentence}"


def _account_lines(account: Account) -> Iterator[str]:
    if account.obstacle is not None:
        until, why = _date(account.obstacle.until), account.obstacle.why
        yield f"{account.issuer}: wait until {until}: {why}"
    for budget in account.budgets:
        limit = f"{budget.left} of {budget.limit.count} left, per {_length(budget.limit.period)}"
        yield f"{account.issuer}: {budget.what}: {limit}"


def _account_json(account: Account) -> dict[str, Any]:
    return {
        "issuer": account.issuer,
        "wait_until": account.obstacle and account.obstacle.until.isoformat(),
        "limits": [
            {
                "what": budget.what,
                "left": budget.left,
                "count": budget.limit.count,
                "seconds": budget.limit.period.total_seconds(),
            }
            for budget in account.budgets
        ],
    }


def _date(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M} UTC"


def _distance(delta: timedelta) -> str:
    if timedelta(minutes=-1) < delta < timedelta(seconds=1):
        return "now"
    return f"in {_length(delta)}" if delta > timedelta(0) else f"{_length(-delta)} ago"


def _length(delta: timedelta) -> str:
    """In the largest unit that fits."""
    seconds = delta.total_seconds()
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit or (seconds >= unit and seconds % unit == 0):
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
