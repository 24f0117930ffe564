"""Small, clean answers of our own: error pages and redirects, in HTML or JSON.

They say what happened to the client's request and nothing about what stands behind the proxy: no
address, no software version, no exception text.
"""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import quote

_EXPLANATIONS: dict[int, str] = {
    400: "The request could not be understood.",
    403: "This is not open to you.",
    404: "Nothing is served here.",
    405: "This method is not supported.",
    408: "The request did not arrive in time.",
    413: "The request body is larger than allowed.",
    414: "The request target is too long.",
    417: "The expectation cannot be met.",
    421: "This host is not served on this connection.",
    429: "Too many requests.",
    431: "The request header fields are too large.",
    500: "Something went wrong on our side.",
    502: "The application could not be reached or gave no valid answer.",
    503: "The application is busy or not available. Please try again soon.",
    504: "The application did not answer in time.",
    505: "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
}

_PHRASES: dict[int, str] = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Those of RFC 9110 that Python's are older than."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{status} {phrase}</title></head>
<body><h1>{status} {phrase}</h1><p>{text}</p></body></html>
"""


_GRPC_STATUS: dict[int, int] = {
    400: 13,  # INTERNAL
    403: 7,  # PERMISSION_DENIED
    404: 12,  # UNIMPLEMENTED
    405: 12,
    408: 1,  # CANCELLED
    413: 8,  # RESOURCE_EXHAUSTED
    421: 5,  # NOT_FOUND
    429: 14,  # UNAVAILABLE
    502: 14,
    503: 14,
    504: 4,  # DEADLINE_EXCEEDED
}
_GRPC_UNKNOWN = 2


def grpc_error(status: int, detail: str | None = None) -> list[tuple[bytes, bytes]]:
    """The fields of a "Trailers-Only" response: to a gRPC client HTTP's status is 200 always.

    Args:
        status: what another client would get.
        detail: as for ``error_page``.
    """
    text = detail or _EXPLANATIONS.get(status, reason_phrase(status))
    code = _GRPC_STATUS.get(status, _GRPC_UNKNOWN)
    return [
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"%d" % code),
        (b"grpc-message", quote(text, safe=" !#$&'()*+,/:;=?@[]").encode("ascii")),
    ]


def error_fields(status: int) -> list[tuple[bytes, bytes]]:
    """What a status says in the headers too (RFC 9110 §15.5.6, §15.6.4)."""
    if status == 405:
        return [(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
    if status == 503:
        return [(b"Retry-After", b"1")]
    return []


def reason_phrase(status: int) -> str:
    """The standard reason phrase, or an empty string for an unregistered status."""
    try:
        return _PHRASES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def error_page(status: int, wants_json: bool, detail: str | None = None) -> tuple[bytes, bytes]:
    """Content type and body of the page for a status.

    Args:
        status: a 4xx or 5xx.
        wants_json: as the client's Accept header says; FastAPI's ``{"detail": …}`` form.
        detail: a fixed text in place of the status's own; never anything a client sent.
    """
    text = detail or _EXPLANATIONS.get(status, reason_phrase(status))
    if wants_json:
        return b"application/json", json.dumps({"detail": text}).encode()
    page = _PAGE.format(status=status, phrase=reason_phrase(status), text=text)
    return b"text/html; charset=utf-8", page.encode()
