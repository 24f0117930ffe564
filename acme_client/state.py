"""What is remembered about a certificate between attempts, and over restarts.

The certificate itself is in the store; this is the rest: failures in a row, when to try again and
why the last try failed, the CA's renewal window. One JSON document per certificate.

``attempt_started`` is written before an attempt and cleared after it. A process that finds it set
at its start knows that its predecessor died in mid-attempt. Once is an accident, and the order is
resumed at once; again and again is a crash loop, which must not become a loop of orders: from the
second time in a row on it counts as a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from acme_client.documents import to_date
from acme_client.errors import AcmeClientError, Problem
from acme_client.renewal import RenewalWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the last attempt failed."""

    at: datetime
    issuer: str
    kind: str
    message: str
    problems: tuple[Problem, ...] = ()
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "issuer": self.issuer,
            "kind": self.kind,
            "message": self.message,
            "problems": [problem.to_json() for problem in self.problems],
            "names": list(self.names),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Failure:
        return cls(
            at=to_date(document["at"]),
            issuer=document["issuer"],
            kind=document["kind"],
            message=document["message"],
            problems=tuple(map(Problem.from_json, document["problems"])),
            names=tuple(document["names"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateState:
    """See the module's docstring."""

    failures: int = 0
    interruptions: int = 0
    retry_at: datetime | None = None
    attempt_started: datetime | None = None
    last_failure: Failure | None = None
    window: RenewalWindow | None = None
    ask_at: datetime | None = None
    fingerprint: str | None = None
    """The certificate that what follows, ``window`` and ``ask_at`` are about."""
    alerted: bool = False
    hurried: bool = False
    """Whether its predecessor was replaced early; see ``renewal``."""
    out_of_turn: bool = False
    """Whether it was issued at a moment that many may have shared; see ``renewal``."""

    def about(self, fingerprint: str) -> CertificateState:
        """This state, without what it says about another certificate."""
        if self.fingerprint == fingerprint:
            return self
        return replace(
            self,
            fingerprint=fingerprint,
            window=None,
            ask_at=None,
            alerted=False,
            hurried=False,
            out_of_turn=False,
        )

    def to_json(self) -> dict[str, Any]:
        window = self.window
        return {
            "failures": self.failures,
            "interruptions": self.interruptions,
            "retry_at": _to_text(self.retry_at),
            "attempt_started": _to_text(self.attempt_started),
            "last_failure": self.last_failure and self.last_failure.to_json(),
            "window": window
            and {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "explanation_url": window.explanation_url,
            },
            "ask_at": _to_text(self.ask_at),
            "fingerprint": self.fingerprint,
            "alerted": self.alerted,
            "hurried": self.hurried,
            "out_of_turn": self.out_of_turn,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CertificateState:
        window, failure = document["window"], document["last_failure"]
        return cls(
            failures=_to_number(document["failures"]),
            interruptions=_to_number(document["interruptions"]),
            retry_at=_from_text(document["retry_at"]),
            attempt_started=_from_text(document["attempt_started"]),
            last_failure=failure and Failure.from_json(failure),
            window=window
            and RenewalWindow(
                to_date(window["start"]),
                to_date(window["end"]),
                window["explanation_url"],
            ),
            ask_at=_from_text(document["ask_at"]),
            fingerprint=document["fingerprint"],
            alerted=document["alerted"],
            # Documents of earlier versions do not have these.
            hurried=document.get("hurried", False),
            out_of_turn=document.get("out_of_turn", False),
        )


def failure_of(error: AcmeClientError, issuer: str, at: datetime) -> Failure:
    return Failure(
        at=at,
        issuer=issuer,
        kind=error.kind,
        message=str(error),
        problems=error.problems,
        names=error.names,
    )


def document_name(certificate_id: str) -> str:
    return f"certificates/{certificate_id}"


def _to_text(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else to_date(text)


def _to_number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"{value!r} is no number")
    return value
