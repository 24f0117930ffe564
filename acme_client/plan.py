"""What to do next about one certificate, and when (pure).

Everything that decides is an argument: what is asked for, what is stored, what is remembered, the
date. The manager only waits until the plan's date and does what it says; ``certs explain`` prints
the same plan.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from acme_client.renewal import alert_time, renewal_time, spread_of
from acme_client.request import CertificateRequest
from acme_client.state import CertificateState
from acme_client.store.interface import StoredCertificate


class Action(enum.Enum):
    """What may be due."""

    ISSUE = "issue"
    """Order a certificate that replaces none, or one that is for something else."""
    RENEW = "renew"
    """Order a successor."""
    ASK = "ask"
    """Ask the issuer for its renewal window."""
    ALERT = "alert"
    """Tell somebody that a certificate nears its end and could not be renewed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The next thing to do, the date, and the reason in words."""

    action: Action
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What decides besides the certificate itself."""

    directories: Collection[str]
    """The issuers that the request may use."""
    compromised: Collection[str]
    """Fingerprints of keys that must not be used again."""
    now: datetime


def next_plan(
    request: CertificateRequest,
    key_type: str,
    stored: StoredCertificate | None,
    state: CertificateState,
    circumstances: Circumstances,
) -> Plan:
    """The earliest thing that is due."""
    issuing = issuing_plan(request, key_type, stored, state, circumstances)
    if stored is None or issuing.action is Action.ISSUE:
        return issuing
    now = circumstances.now
    state = state.about(stored.fingerprint)
    plans = [issuing]
    if not state.alerted:
        at = alert_time(stored.not_before, stored.not_after)
        plans.append(Plan(Action.ALERT, at, "1/4 of the lifetime left"))
    plans.append(Plan(Action.ASK, state.ask_at or now, "ask the CA for its renewal window"))
    return min(plans, key=lambda plan: max(plan.at, now))


def issuing_plan(
    request: CertificateRequest,
    key_type: str,
    stored: StoredCertificate | None,
    state: CertificateState,
    circumstances: Circumstances,
) -> Plan:
    """When the next certificate is ordered, and why then."""
    now = circumstances.now
    reason = reason_to_issue(
        request, key_type, stored, circumstances.directories, circumstances.compromised
    )
    if stored is None or reason is not None:
        reason = reason or "there is no certificate yet"
        if state.retry_at is None or state.retry_at <= now:
            return Plan(Action.ISSUE, now, reason)
        return Plan(Action.ISSUE, state.retry_at, f"{_why_it_waits(state)}; {reason}")
    own = state.about(stored.fingerprint)
    renewal = renewal_time(
        stored.not_before,
        stored.not_after,
        own.window,
        spread_of(stored.fingerprint),
        hurried=own.hurried,
        out_of_turn=own.out_of_turn,
    )
    if state.retry_at is not None and state.retry_at > renewal.at:
        reason = f"{_why_it_waits(state)}; due since {renewal.at:%Y-%m-%d}: {renewal.rule}"
        return Plan(Action.RENEW, state.retry_at, reason)
    return Plan(Action.RENEW, renewal.at, renewal.rule)


def _why_it_waits(state: CertificateState) -> str:
    """The rule that set the date of the next try; see ``backoff``."""
    if state.failures:
        return f"waits after {_counted(state.failures, 'failure')}"
    if state.interruptions:
        return f"waits after {_counted(state.interruptions, 'attempt')} that were cut off"
    return "waits for the date at which the CA may be asked again"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def reason_to_issue(
    request: CertificateRequest,
    key_type: str,
    stored: StoredCertificate | None,
    directories: Collection[str],
    compromised: Collection[str],
) -> str | None:
    """Why the stored certificate is not the one that is asked for, or None when it is."""
    if stored is None:
        return "there is no certificate yet"
    if frozenset(stored.names) != frozenset(request.names):
        return "the names changed"
    if stored.key_type != key_type:
        return f"the key type changed from {stored.key_type} to {key_type}"
    if stored.directory not in directories:
        return "the certificate is from a CA that is no longer configured"
    if request.profile is not None and request.profile != stored.profile:
        return f"the profile changed to {request.profile}"
    if stored.key_fingerprint in compromised:
        return "its key is compromised"
    return None
