"""One authenticated request on its way to a handler, and the questions handlers ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from josepy.jwk import JWK

from acme_client.testing.jws import Jws
from acme_client.testing.objects import Account, Authorization, Certificate, Challenge, Order
from acme_client.testing.problems import Problem, malformed
from acme_client.testing.records import Record
from acme_client.testing.state import State
from acme_client.testing.wire import Endpoint, Reply, Request

Thing = TypeVar("Thing", Account, Authorization, Certificate, Challenge, Order)


@dataclass(slots=True)
class Call:
    state: State
    request: Request
    record: Record
    endpoint: Endpoint
    arguments: tuple[str, ...]
    """What follows the resource's name in the path."""
    signed: Jws | None = None
    key: JWK | None = None
    """The key that signed the request."""
    account_found: Account | None = None

    @property
    def jws(self) -> Jws:
        assert self.signed is not None, f"{self.endpoint} is reached by POST only"
        return self.signed

    @property
    def account(self) -> Account:
        if self.account_found is None:
            raise malformed("this request is signed with kid, the URL of the account")
        return self.account_found

    @property
    def post_as_get(self) -> bool:
        """RFC 8555 §6.3: the payload is the empty string."""
        return not self.jws.payload

    def payload(self) -> dict[str, Any]:
        if self.post_as_get:
            raise malformed("this request needs a JSON object as its payload")
        return self.jws.object()

    def require_post_as_get(self) -> None:
        if not self.post_as_get:
            raise malformed("this resource is read by POST-as-GET, with an empty payload")

    def find(self, things: dict[int, Thing]) -> Thing:
        """The object that the path names, which must belong to the account."""
        text = self.arguments[0]
        thing = things.get(int(text)) if text.isdecimal() else None
        if thing is None:
            raise malformed(f"there is no {self.endpoint} {text}", status=404)
        if owner_of(thing) is not self.account:
            raise Problem("unauthorized", f"that {self.endpoint} belongs to another account")
        return thing


def owner_of(thing: Account | Authorization | Certificate | Challenge | Order) -> Account:
    match thing:
        case Account():
            return thing
        case Challenge():
            return thing.authorization.account
        case _:
            return thing.account


def created(state: State, reply: Reply, kind: str, number: int) -> Reply:
    reply.headers["Location"] = state.urls.of(kind, number)
    return reply
