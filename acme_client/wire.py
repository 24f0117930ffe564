"""Reading what a CA sends (RFC 8555 §7.1, RFC 7807, RFC 9773; pure).

Every field is checked for what it must be before anything is done with it. What is missing or of
another type is a ProtocolViolation that names the field; what is unknown (fields, challenge kinds,
identifier types of our own order aside) is left alone, as RFC 8555 §7.1 asks. Text that will reach
a log or a person is cut short and made printable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

from acme_client.errors import Problem, ProtocolViolation, RequestError
from acme_client.names import normalise
from acme_client.renewal import RenewalWindow
from acme_client.resources import Account, Authorization, Challenge, Directory, Order
from acme_client.transport import check_url

ORDER_STATUSES = ("pending", "ready", "processing", "valid", "invalid")
AUTHORIZATION_STATUSES = ("pending", "valid", "invalid", "deactivated", "expired", "revoked")
CHALLENGE_STATUSES = ("pending", "processing", "valid", "invalid")

TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}\Z")
"""RFC 8555 §8: base64url of at least 128 bits; it ends up in a path, so nothing else passes."""

MAX_TEXT = 1000
MAX_SUBPROBLEMS = 100
MAX_ITEMS = 200
"""More authorisations or challenges than any order of ours can have."""

_FRACTION = re.compile(r"\.(\d+)")

Json = Mapping[str, Any]


def parse_object(body: bytes, what: str) -> Json:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"the CA's {what} is not JSON") from error
    if not isinstance(document, dict):
        raise ProtocolViolation(f"the CA's {what} is not a JSON object")
    return document


def parse_directory(url: str, document: Json) -> Directory:
    what = "directory"
    meta = document.get("meta", {})
    if not isinstance(meta, dict):
        raise ProtocolViolation("the CA's directory has a 'meta' that is no object")
    profiles = meta.get("profiles", {})
    if not isinstance(profiles, dict):
        raise ProtocolViolation("the CA's directory has 'profiles' that are no object")
    return Directory(
        url=url,
        new_nonce=_url(document, "newNonce", what),
        new_account=_url(document, "newAccount", what),
        new_order=_url(document, "newOrder", what),
        revoke_cert=_url(document, "revokeCert", what),
        key_change=_optional_url(document, "keyChange", what),
        renewal_info=_optional_url(document, "renewalInfo", what),
        terms_of_service=_optional_text(meta, "termsOfService"),
        external_account_required=meta.get("externalAccountRequired") is True,
        profiles={printable(str(name)): printable(str(text)) for name, text in profiles.items()},
        caa_identities=_texts(meta.get("caaIdentities")),
    )


def parse_account(url: str, document: Json) -> Account:
    contact = document.get("contact", [])
    if not isinstance(contact, list):
        contact = []
    return Account(
        url=url,
        # Some CAs leave it out of the answer to newAccount; then it is what it should be.
        status=printable(str(document.get("status", "valid"))),
        contact=tuple(printable(str(item)) for item in contact[:MAX_ITEMS]),
    )


def parse_order(url: str, document: Json, retry_after: timedelta | None) -> Order:
    what = "order"
    status = _status(document, ORDER_STATUSES, what)
    certificate = _optional_url(document, "certificate", what)
    if status == "valid" and certificate is None:
        raise ProtocolViolation("the CA's order is valid and has no certificate")
    return Order(
        url=url,
        status=status,
        names=tuple(_identifier(item, what) for item in _list(document, "identifiers", what)),
        authorizations=tuple(
            _checked_url(item, "authorizations", what)
            for item in _list(document, "authorizations", what)
        ),
        finalize=_url(document, "finalize", what),
        certificate=certificate,
        expires=_optional_date(document, "expires", what),
        problem=_optional_problem(document),
        retry_after=retry_after,
    )


def parse_authorization(url: str, document: Json, retry_after: timedelta | None) -> Authorization:
    what = "authorization"
    name = _identifier(document.get("identifier"), what)
    challenges = [
        challenge
        for item in _list(document, "challenges", what)
        if (challenge := parse_challenge(item)) is not None
    ]
    return Authorization(
        url=url,
        name=f"*.{name}" if document.get("wildcard") is True else name,
        status=_status(document, AUTHORIZATION_STATUSES, what),
        challenges=tuple(challenges),
        retry_after=retry_after,
    )


def parse_challenge(document: object) -> Challenge | None:
    """A challenge, or None for one of a kind that has no token (and so is none of ours)."""
    what = "challenge"
    if not isinstance(document, dict):
        raise ProtocolViolation("the CA's challenge is not a JSON object")
    kind, token = document.get("type"), document.get("token")
    if not isinstance(kind, str) or not isinstance(token, str):
        return None
    if not TOKEN.match(token):
        raise ProtocolViolation(f"the CA's {printable(kind)} token is not base64url of 22 to 128")
    return Challenge(
        kind=printable(kind),
        url=_url(document, "url", what),
        token=token,
        status=_status(document, CHALLENGE_STATUSES, what),
        problem=_optional_problem(document),
    )


def parse_renewal_info(document: Json) -> RenewalWindow:
    """RFC 9773 §4.2."""
    what = "suggested window"
    window = document.get("suggestedWindow")
    if not isinstance(window, dict):
        raise ProtocolViolation("the CA's renewal information has no suggestedWindow")
    start = _optional_date(window, "start", what)
    end = _optional_date(window, "end", what)
    if start is None or end is None:
        raise ProtocolViolation("the CA's suggested window lacks its start or end")
    return RenewalWindow(start, end, _optional_text(document, "explanationURL"))


def parse_problem(document: object, depth: int = 0) -> Problem:
    """RFC 7807 and RFC 8555 §6.7.1; anything that is no problem document makes an empty one."""
    if not isinstance(document, dict):
        return Problem("about:blank")
    status, identifier = document.get("status"), document.get("identifier")
    name = identifier.get("value") if isinstance(identifier, dict) else None
    inner = document.get("subproblems")
    return Problem(
        type=printable(str(document.get("type", "about:blank"))),
        detail=printable(str(document.get("detail", document.get("title", "")))),
        status=status if isinstance(status, int) else None,
        identifier=printable(name) if isinstance(name, str) else None,
        subproblems=tuple(parse_problem(item, depth + 1) for item in inner[:MAX_SUBPROBLEMS])
        if isinstance(inner, list) and depth == 0
        else (),
    )


def parse_links(header: str | None, relation: str, base: str) -> tuple[str, ...]:
    """The targets of Link fields with this relation (RFC 8288 §3), made absolute."""
    found = []
    for target, parameters in re.findall(r"<([^<>]*)>([^<]*)", header or ""):
        if re.search(rf';\s*rel\s*=\s*"?{re.escape(relation)}"?\s*(?:[;,]|\Z)', parameters):
            url = urljoin(base, target)
            check_url(url)
            found.append(url)
    return tuple(found[:MAX_ITEMS])


def printable(text: str) -> str:
    """Text that may be shown: no control characters, no more than a few lines."""
    shown = "".join(char if char.isprintable() else " " for char in text[:MAX_TEXT])
    return shown + "…" if len(text) > MAX_TEXT else shown


def _identifier(document: object, what: str) -> str:
    value = document.get("value") if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise ProtocolViolation(f"the CA's {what} has an identifier without a value")
    try:
        return normalise(value)
    except RequestError as error:
        raise ProtocolViolation(f"the CA's {what} has a bad identifier: {error}") from error


def _status(document: Json, allowed: tuple[str, ...], what: str) -> str:
    status = document.get("status")
    if status not in allowed:
        raise ProtocolViolation(f"the CA's {what} has the unknown status {str(status)[:40]!r}")
    return str(status)


def _list(document: Json, name: str, what: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise ProtocolViolation(f"the CA's {what} has no proper list of {name}")
    return value


def _url(document: Json, name: str, what: str) -> str:
    return _checked_url(document.get(name), name, what)


def _optional_url(document: Json, name: str, what: str) -> str | None:
    return None if document.get(name) is None else _url(document, name, what)


def _checked_url(value: object, name: str, what: str) -> str:
    if not isinstance(value, str):
        raise ProtocolViolation(f"the CA's {what} has no {name}")
    check_url(value)
    return value


def _optional_text(document: Json, name: str) -> str | None:
    value = document.get(name)
    return printable(value) if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    """A list of texts that nothing depends on: what is none is left out."""
    items = value[:MAX_ITEMS] if isinstance(value, list) else []
    return tuple(printable(item) for item in items if isinstance(item, str))


def _optional_date(document: Json, name: str, what: str) -> datetime | None:
    """An RFC 3339 date, which Python reads but for fractions of more than six digits."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        text = _FRACTION.sub(lambda found: "." + found[1][:6].ljust(6, "0"), value, count=1)
        try:
            date = datetime.fromisoformat(text.upper())
            return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ProtocolViolation(f"the CA's {what} has {name} {str(value)[:60]!r}, which is no date")


def _optional_problem(document: Json) -> Problem | None:
    return None if document.get("error") is None else parse_problem(document["error"])
