"""Problem documents (RFC 7807 in the form of RFC 8555 §6.7), raised as exceptions.

A handler that refuses raises :class:`Problem`; the responder turns it into the response. The HTTP
status follows from the type, as Let's Encrypt sends it, unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Any

PREFIX = "urn:ietf:params:acme:error:"
CONTENT_TYPE = "application/problem+json"

STATUS = {
    # RFC 8555 §6.7
    "accountDoesNotExist": 400,
    "alreadyRevoked": 400,
    "badCSR": 400,
    "badNonce": 400,
    "badPublicKey": 400,
    "badRevocationReason": 400,
    "badSignatureAlgorithm": 400,
    "caa": 403,
    "compound": 400,
    "connection": 400,
    "dns": 400,
    "externalAccountRequired": 403,
    "incorrectResponse": 403,
    "invalidContact": 400,
    "malformed": 400,
    "orderNotReady": 403,
    "rateLimited": 429,
    "rejectedIdentifier": 400,
    "serverInternal": 500,
    "tls": 400,
    "unauthorized": 403,
    "unsupportedContact": 400,
    "unsupportedIdentifier": 400,
    "userActionRequired": 403,
    # RFC 9773 §7.4
    "alreadyReplaced": 409,
    # draft-ietf-acme-profiles
    "invalidProfile": 400,
}


class Problem(Exception):
    """A refusal: ``kind`` is the type without its prefix; ``status`` follows from it."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        status: int | None = None,
        identifier: Mapping[str, str] | None = None,
        subproblems: Sequence[Problem] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: int | str | datetime | None = None,
    ) -> None:
        if status is None and kind not in STATUS:
            raise ValueError(f"{kind!r} is no ACME error type; known: {', '.join(sorted(STATUS))}")
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.status = STATUS[kind] if status is None else status
        self.identifier = identifier
        self.subproblems = tuple(subproblems)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = retry_after_value(retry_after)

    def document(self) -> dict[str, Any]:
        # RFC 8555 §6.7.1: a subproblem names its identifier and has no status of its own.
        document: dict[str, Any] = {
            "type": PREFIX + self.kind,
            "detail": self.detail,
            "status": self.status,
            **self.extra,
        }
        if self.subproblems:
            document["subproblems"] = [
                {
                    "type": PREFIX + problem.kind,
                    "detail": problem.detail,
                    **({"identifier": dict(problem.identifier)} if problem.identifier else {}),
                }
                for problem in self.subproblems
            ]
        return document


def retry_after_value(value: int | str | datetime) -> str:
    """RFC 9110 §10.2.3: seconds, or a date; a string goes out as it is, however odd."""
    if isinstance(value, datetime):
        return format_datetime(value, usegmt=True)
    return str(value)


def malformed(detail: str, *, status: int = 400) -> Problem:
    return Problem("malformed", detail, status=status)
