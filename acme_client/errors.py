"""The one error tree of ``acme_client``.

::

    AcmeClientError
    ├── RequestError             what was asked for is wrong: a name, a key type, a setting
    ├── BadCertificate           a chain and key that do not fit each other or the request
    ├── StoreError               the store cannot be read or written
    │   ├── DamagedDocument      what is kept there makes no sense
    │   ├── LockHeld             another process works on this certificate
    │   ├── LockLost             the lock is no longer ours; nothing was written
    │   └── UnsafeKeyFile        a private key that others may read
    └── IssuerError              no certificate could be had this time
        ├── IssuerUnreachable    the CA does not answer: network, TLS, time-out, 5xx
        ├── ProtocolViolation    its answer breaks RFC 8555 or our caps
        ├── Refused              it answered with a problem document
        │   ├── RateLimited      ... that says when to come again
        │   └── AccountUnknown   ... that says our account does not exist
        ├── ValidationFailed     it could not validate our answers to its challenges
        ├── NoChallenge          it offers no challenge that we may or can answer
        ├── NotPresented         we could not put our answer where it looks (DNS)
        ├── OrderStuck           the order did not move in time; it is kept and resumed
        └── BudgetSpent          our own ledger says it would refuse; nothing was sent

Where they are used: ``ask.AskFailed`` (no answer whether a name is ours) and
``failover.AttemptFailed`` (no issuer delivered; it holds what each of them raised).

Every ``IssuerError`` is a failure of one attempt: it is recorded, told to the hooks and tried
again later. Foreign exceptions (``acme``, ``josepy``, ``requests``, ``OSError``, ``cryptography``)
are translated into these where they occur, once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class AcmeClientError(Exception):
    """Base of all errors that ``acme_client`` raises on purpose. ``kind`` goes into records."""

    kind: ClassVar[str] = "error"
    problems: tuple[Problem, ...] = ()
    names: tuple[str, ...] = ()


class RequestError(AcmeClientError):
    """What was asked for is wrong; trying again cannot help."""


class BadCertificate(AcmeClientError):
    """A certificate chain and key that do not fit each other or the request."""

    kind = "bad-certificate"


class StoreError(AcmeClientError):
    """The store cannot be read or written."""

    kind = "store"


class DamagedDocument(StoreError):
    """A document of the store that makes no sense. ``place`` is where, ``fault`` why."""

    def __init__(self, place: str, fault: str) -> None:
        super().__init__(
            f"{place} is damaged ({fault}): restore it from a backup, or move it away to begin anew"
        )
        self.place = place
        self.fault = fault


class LockHeld(StoreError):
    """Another process works on this."""


class LockLost(StoreError):
    """The lock is no longer ours; nothing was written."""


class UnsafeKeyFile(StoreError):
    """A private key on disk that others may read: it counts as known to them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A CA's problem document (RFC 7807, RFC 8555 §6.7)."""

    type: str
    detail: str = ""
    status: int | None = None
    identifier: str | None = None
    subproblems: tuple[Problem, ...] = field(default=())

    PREFIX: ClassVar[str] = "urn:ietf:params:acme:error:"

    @property
    def code(self) -> str:
        """The last part of an ACME error type (``rateLimited``), or the whole of another."""
        return self.type.removeprefix(self.PREFIX)

    def __str__(self) -> str:
        where = f"{self.identifier}: " if self.identifier else ""
        text = f"{where}{self.code}: {self.detail}" if self.detail else f"{where}{self.code}"
        return "; ".join([text, *map(str, self.subproblems)])

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "detail": self.detail,
            "status": self.status,
            "identifier": self.identifier,
            "subproblems": [problem.to_json() for problem in self.subproblems],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Problem:
        return cls(
            type=document["type"],
            detail=document["detail"],
            status=document["status"],
            identifier=document["identifier"],
            subproblems=tuple(map(cls.from_json, document["subproblems"])),
        )


def innermost(reason: object) -> str:
    """The sentence that says why: requests and urllib3 wrap it into descriptions of their objects,
    and the system's errors have numbers."""
    return _ERRNO.sub("", str(reason).rpartition(": ")[2])


def said_of(subject: str, text: str) -> str:
    """A text with its subject before it, unless it begins with that itself."""
    return text if text.startswith(f"{subject} ") else f"{subject}: {text}"


class IssuerError(AcmeClientError):
    """No certificate could be had this time.

    ``problems`` holds what the CA said; ``retry_at`` the date before which trying is pointless;
    ``names`` the names at fault, where only some of the certificate's are.
    """

    kind = "failed"

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[Problem, ...] = (),
        retry_at: datetime | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.problems = problems
        self.retry_at = retry_at
        self.names = names


class IssuerUnreachable(IssuerError):
    """The CA does not answer. ``connected`` tells whether a request can have reached it."""

    kind = "unreachable"

    def __init__(
        self,
        message: str,
        *,
        connected: bool = True,
        problems: tuple[Problem, ...] = (),
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message, problems=problems, retry_at=retry_at)
        self.connected = connected


class ProtocolViolation(IssuerError):
    """The CA's answer breaks RFC 8555 or one of our caps."""

    kind = "protocol"


class Refused(IssuerError):
    """The CA answered with a problem document."""

    kind = "refused"


class RateLimited(Refused):
    """The CA says that it was asked too often."""

    kind = "rate-limited"


class AccountUnknown(Refused):
    """The CA does not know our account (any more)."""

    kind = "account-unknown"


class ValidationFailed(IssuerError):
    """The CA could not validate our answers to its challenges."""

    kind = "validation"


class NoChallenge(IssuerError):
    """The CA offers no challenge that we may and can answer."""

    kind = "no-challenge"


class NotPresented(IssuerError):
    """Our answer to a challenge could not be put where the CA will look; it was not asked to."""

    kind = "not-presented"


class OrderStuck(IssuerError):
    """The order did not move in time; its URL and key are kept, and it is resumed."""

    kind = "stuck"


class BudgetSpent(IssuerError):
    """Our own ledger says that the CA would refuse; nothing was sent."""

    kind = "budget"
