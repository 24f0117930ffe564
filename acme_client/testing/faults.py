"""Faults that a test orders, and the book of those still to come.

Three kinds, by the moment at which they strike:

- *before* the request is looked at (:class:`Refuse`, :class:`Disconnect`, :class:`Redirect`):
  it has no effect at all;
- *outcome*: the request works, but the world goes wrong (:class:`StuckOrder`,
  :class:`FailOrder`, :class:`BadCertificate`, :class:`FailValidation`, ...);
- *after* it took effect, the answer suffers (:class:`Disconnect` with ``after=True``,
  :class:`Delay`, :class:`Rewrite`, :class:`SetHeader`, :class:`ReplaceBody`, :class:`CutBody`,
  :class:`Pad`).

::

    ca.faults.add(rate_limited(retry_after=120), at="newOrder", times=2)
    ca.faults.add(bad_nonce(), rate=0.15, times=None)
    ca.faults.add(StuckOrder(until=ca.clock.now() + timedelta(hours=3)), names=["a.example"])
    outage = ca.faults.add(Disconnect(), times=None, until=ca.clock.now() + timedelta(days=7))
    outage.cancel()
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from acme_client.testing.pki import Defect
from acme_client.testing.problems import Problem
from acme_client.testing.records import Record
from acme_client.testing.wire import Endpoint, Reply

JSON_SAFE_PAD = 1 << 20


# -- before ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this problem document, as if the CA had decided so."""

    problem: Problem
    nonce: bool = True
    """A refusal by something in front of the CA carries no Replay-Nonce."""


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str
    status: int = 302


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection without an answer; with ``after``, the request has taken effect."""

    after: bool = False


def rate_limited(
    retry_after: int | str | datetime | None = 60, detail: str = "slow down"
) -> Refuse:
    return Refuse(Problem("rateLimited", detail, retry_after=retry_after))


def server_error(status: int = 500, retry_after: int | str | datetime | None = None) -> Refuse:
    return Refuse(
        Problem("serverInternal", "The service is down.", status=status, retry_after=retry_after)
    )


def bad_nonce() -> Refuse:
    return Refuse(Problem("badNonce", "the nonce was refused as ordered by the test"))


def already_replaced() -> Refuse:
    return Refuse(Problem("alreadyReplaced", "the certificate has been replaced already"))


def account_unknown() -> Refuse:
    return Refuse(Problem("accountDoesNotExist", "no account is registered under this URL"))


# -- outcome -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StuckOrder:
    """The finalized order stays in processing until that time by the CA's clock, or for ever."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailOrder:
    """The finalized order becomes invalid, with this problem."""

    problem: Problem = field(
        default_factory=lambda: Problem("serverInternal", "the certificate could not be issued")
    )


@dataclass(frozen=True, slots=True)
class BadCertificate:
    defect: Defect


@dataclass(frozen=True, slots=True)
class FailValidation:
    """The challenge fails with this problem, whatever the name's server answers."""

    problem: Problem = field(
        default_factory=lambda: Problem("connection", "Timeout during connect (firewall?)")
    )


@dataclass(frozen=True, slots=True)
class PassValidation:
    """The challenge succeeds without being looked at."""


@dataclass(frozen=True, slots=True)
class HangValidation:
    """The challenge stays in processing; the authorization in the end expires."""


# -- after -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer comes so many seconds of real time later; the effect came at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Rewrite:
    """These members of the JSON answer are replaced; ``None`` removes one. For hostile URLs."""

    members: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SetHeader:
    name: str
    value: str | None
    """``None`` removes the header."""


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    body: bytes
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class CutBody:
    """The connection breaks in the middle of the answer's body."""


@dataclass(frozen=True, slots=True)
class Pad:
    """So many spaces follow the body, which stays readable for a client that takes them all."""

    size: int = JSON_SAFE_PAD


Before = Refuse | Redirect | Disconnect
Verdict = FailValidation | PassValidation | HangValidation
Outcome = StuckOrder | FailOrder | BadCertificate | Verdict
After = Delay | Rewrite | SetHeader | ReplaceBody | CutBody | Pad | Disconnect
Fault = Before | Outcome | After

_Phase = Literal["before", "outcome", "after"]

_FIXED_ENDPOINTS: dict[type, Endpoint] = {
    StuckOrder: Endpoint.FINALIZE,
    FailOrder: Endpoint.FINALIZE,
    BadCertificate: Endpoint.FINALIZE,
    FailValidation: Endpoint.CHALLENGE,
    PassValidation: Endpoint.CHALLENGE,
    HangValidation: Endpoint.CHALLENGE,
}


@dataclass(slots=True, eq=False)
class Rule:
    """A fault on order. ``struck`` counts how often it has happened."""

    fault: Fault
    endpoints: frozenset[Endpoint]
    """Empty: all."""
    names: frozenset[str]
    """Only requests about one of these names; empty: all."""
    when: Callable[[Record], bool] | None
    times: int | None
    skip: int
    rate: float
    until: datetime | None
    struck: int = 0
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    @property
    def spent(self) -> bool:
        return self.cancelled or (self.times is not None and self.struck >= self.times)

    @property
    def phase(self) -> _Phase:
        match self.fault:
            case Disconnect(after=True):
                return "after"
            case Refuse() | Redirect() | Disconnect():
                return "before"
            case Delay() | Rewrite() | SetHeader() | ReplaceBody() | CutBody() | Pad():
                return "after"
            case _:
                return "outcome"

    @property
    def _about_nonces(self) -> bool:
        """A badNonce answers a nonce, which only a POST has."""
        return isinstance(self.fault, Refuse) and self.fault.problem.kind == "badNonce"

    def applies(self, record: Record, now: datetime) -> bool:
        return (
            not self.spent
            and (record.method == "POST" or not self._about_nonces)
            and (self.until is None or now < self.until)
            and (not self.endpoints or record.endpoint in self.endpoints)
            and (not self.names or not self.names.isdisjoint(record.names))
            and (self.when is None or self.when(record))
        )


class Faults:
    """The faults that a test has ordered. Those added first strike first."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rules: list[Rule] = []

    def add(
        self,
        fault: Fault,
        *,
        at: str | Endpoint | Iterable[str | Endpoint] = (),
        names: Collection[str] = (),
        when: Callable[[Record], bool] | None = None,
        times: int | None = 1,
        skip: int = 0,
        rate: float = 1.0,
        until: datetime | None = None,
    ) -> Rule:
        """Order a fault.

        ``at`` names endpoints (none: all), ``names`` the identifiers that a request must be
        about, ``when`` any further condition. It strikes ``times`` times (``None``: without end),
        after ``skip`` requests that it spares, each time with probability ``rate``, and only
        before ``until`` by the CA's clock.
        """
        endpoints = frozenset(Endpoint(e) for e in ([at] if isinstance(at, str) else at))
        fixed = _FIXED_ENDPOINTS.get(type(fault))
        if fixed is not None:
            if endpoints - {fixed}:
                raise ValueError(f"{type(fault).__name__} strikes at {fixed}, nowhere else")
            endpoints = frozenset({fixed})
        if isinstance(names, str):
            raise TypeError("names is a collection of names, not one string")
        rule = Rule(
            fault=fault,
            endpoints=endpoints,
            names=frozenset(names),
            when=when,
            times=times,
            skip=skip,
            rate=rate,
            until=until,
        )
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        for rule in self._rules:
            rule.cancel()
        self._rules.clear()

    @property
    def pending(self) -> list[Rule]:
        """What has been ordered and may still strike."""
        return [rule for rule in self._rules if not rule.spent]

    def before(self, record: Record, now: datetime) -> Before | None:
        for rule in self._striking("before", record, now):
            assert isinstance(rule.fault, Before)
            return rule.fault
        return None

    def outcome(self, kinds: tuple[type, ...], record: Record, now: datetime) -> Outcome | None:
        """The first outcome fault of one of these kinds, used up."""
        for rule in self._striking("outcome", record, now, kinds):
            assert isinstance(rule.fault, Outcome)
            return rule.fault
        return None

    def after(self, record: Record, reply: Reply, now: datetime) -> None:
        """Spoil the reply in every way that is on order."""
        for rule in self._striking("after", record, now):
            _spoil(rule.fault, reply)

    def _striking(
        self, phase: _Phase, record: Record, now: datetime, kinds: tuple[type, ...] = ()
    ) -> Iterable[Rule]:
        if not self._rules:
            return
        for rule in list(self._rules):
            if rule.phase != phase or not rule.applies(record, now):
                continue
            if kinds and not isinstance(rule.fault, kinds):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.rate < 1.0 and self._rng.random() >= rule.rate:
                continue
            rule.struck += 1
            if rule.spent:
                self._rules.remove(rule)
            yield rule


def _spoil(fault: Fault, reply: Reply) -> None:
    match fault:
        case Delay(seconds):
            reply.delay += seconds
        case Disconnect():
            reply.disconnect = True
        case CutBody():
            reply.cut_body = True
        case Pad(size):
            reply.padding += size
        case SetHeader(name, value):
            for known in [key for key in reply.headers if key.lower() == name.lower()]:
                del reply.headers[known]
            if name.lower() == "link":
                reply.links.clear()
            if value is not None:
                reply.headers[name] = value
        case ReplaceBody(body, content_type):
            reply.body = body
            if content_type is not None:
                reply.headers["Content-Type"] = content_type
        case Rewrite(members):
            document = json.loads(reply.body)
            document.update(members)
            document = {key: value for key, value in document.items() if value is not None}
            reply.body = json.dumps(document).encode()
        case _:
            raise TypeError(f"{fault!r} does nothing to a reply")
