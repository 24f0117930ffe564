"""One request and one reply, free of any transport.

The responder turns a :class:`Request` into a :class:`Reply`; the HTTPS server and the in-process
adapter carry them. What a fault does to the transport (a late, cut or missing answer) is noted in
the reply, and only the carrier acts on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Endpoint(StrEnum):
    """The resources of RFC 8555 §7.1 and RFC 9773, by their name in the directory if any."""

    DIRECTORY = "directory"
    NEW_NONCE = "newNonce"
    NEW_ACCOUNT = "newAccount"
    ACCOUNT = "account"
    ORDERS = "orders"
    NEW_ORDER = "newOrder"
    ORDER = "order"
    FINALIZE = "finalize"
    AUTHORIZATION = "authorization"
    CHALLENGE = "challenge"
    CERTIFICATE = "certificate"
    REVOKE_CERT = "revokeCert"
    KEY_CHANGE = "keyChange"
    RENEWAL_INFO = "renewalInfo"

    @classmethod
    def _missing_(cls, value: object) -> Endpoint:
        raise ValueError(f"{value!r} is no resource of the CA; there are {', '.join(cls)}")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    peer: str = "127.0.0.1"


@dataclass(slots=True)
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of relation and URL, each sent as a Link header of its own."""
    body: bytes = b""

    delay: float = 0.0
    """Seconds of real time until the reply is sent."""
    disconnect: bool = False
    """Nothing is sent; the connection is closed."""
    cut_body: bool = False
    """Half of the body is sent, then the connection is closed."""
    padding: int = 0
    """So many spaces follow the body: JSON and PEM stay readable, only large."""

    def fields(self) -> list[tuple[str, str]]:
        links = [("Link", f'<{url}>;rel="{relation}"') for relation, url in self.links]
        return [*self.headers.items(), *links]


def json_reply(
    value: Mapping[str, Any],
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> Reply:
    return Reply(
        status,
        {"Content-Type": content_type, **(headers or {})},
        body=json.dumps(value).encode(),
    )
