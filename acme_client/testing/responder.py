"""From request to reply: routes, JWS checks, nonces, faults and records. No I/O.

The order of checks for a POST follows RFC 8555 §6: media type, JWS form, algorithm, nonce, URL,
account, signature; then the resource's handler has the word. A fault of the *before* kind comes
ahead of all checks; one of the *after* kind spoils the finished reply.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from acme_client.testing import accounts, certificates, jws, orders
from acme_client.testing.calls import Call
from acme_client.testing.faults import Disconnect, Redirect, Refuse
from acme_client.testing.objects import Account, Status
from acme_client.testing.problems import CONTENT_TYPE, Problem, malformed
from acme_client.testing.records import Record, Records
from acme_client.testing.state import State
from acme_client.testing.wire import Endpoint, Reply, Request, json_reply

MAX_REQUEST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    endpoint: Endpoint
    handler: Callable[[Call], Reply]
    arguments: tuple[int, ...] = (0,)
    """How many path segments may follow."""
    methods: tuple[str, ...] = ("POST",)
    signed_by: tuple[str, ...] = ("kid",)


def directory(call: Call) -> Reply:
    """RFC 8555 §7.1.1."""
    state, base = call.state, call.state.urls.base
    settings = state.settings
    document: dict[str, Any] = {
        "newNonce": f"{base}/new-nonce",
        "newAccount": f"{base}/new-account",
        "newOrder": f"{base}/new-order",
        "revokeCert": f"{base}/revoke-cert",
        "keyChange": f"{base}/key-change",
    }
    if settings.renewal_info:
        document["renewalInfo"] = f"{base}/renewal-info"
    meta: dict[str, Any] = {
        "termsOfService": settings.terms_of_service,
        "website": settings.website,
        "caaIdentities": list(settings.caa_identities) or None,
        "externalAccountRequired": settings.external_account_required or None,
        "profiles": {name: p.description for name, p in settings.profiles.items()} or None,
    }
    document["meta"] = {name: value for name, value in meta.items() if value is not None}
    # As Let's Encrypt does: a client must bear members that it does not know.
    document[jws.encode(state.rng.randbytes(8))] = "https://ca.example/unknown-members"
    return json_reply(document)


def new_nonce(call: Call) -> Reply:
    """RFC 8555 §7.2."""
    return Reply(
        200 if call.request.method == "HEAD" else 204,
        {"Cache-Control": "no-store", "Replay-Nonce": call.state.new_nonce()},
    )


ROUTES = {
    "directory": Route(Endpoint.DIRECTORY, directory, methods=("GET", "HEAD")),
    "new-nonce": Route(Endpoint.NEW_NONCE, new_nonce, methods=("GET", "HEAD")),
    "new-account": Route(Endpoint.NEW_ACCOUNT, accounts.new_account, signed_by=("jwk",)),
    "account": Route(Endpoint.ACCOUNT, accounts.update_account, (1,)),
    "orders": Route(Endpoint.ORDERS, accounts.orders_of_account, (1,)),
    "key-change": Route(Endpoint.KEY_CHANGE, accounts.key_change),
    "new-order": Route(Endpoint.NEW_ORDER, orders.new_order),
    "order": Route(Endpoint.ORDER, orders.read_order, (1,)),
    "finalize": Route(Endpoint.FINALIZE, orders.finalize, (1,)),
    "authorization": Route(Endpoint.AUTHORIZATION, orders.authorization, (1,)),
    "challenge": Route(Endpoint.CHALLENGE, orders.challenge, (1,)),
    "certificate": Route(Endpoint.CERTIFICATE, certificates.download, (1, 2)),
    "revoke-cert": Route(Endpoint.REVOKE_CERT, certificates.revoke, signed_by=("kid", "jwk")),
    "renewal-info": Route(
        Endpoint.RENEWAL_INFO, certificates.renewal_info, (1,), methods=("GET", "HEAD")
    ),
}


class Responder:
    """Answers one request at a time, from whichever thread it comes."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.records = Records(state.settings.keep_requests)
        self.changed = threading.Condition(threading.RLock())
        """Held while a request is answered; notified after each request and validation."""

    def respond(self, request: Request) -> Reply:
        with self.changed:
            reply = self._respond(request)
            self.changed.notify_all()
            return reply

    def _respond(self, request: Request) -> Reply:
        state = self.state
        path, _, _ = request.target.partition("?")
        name, *arguments = path.removeprefix("/").split("/")
        route = ROUTES.get(name)
        record = Record(
            at=state.now(),
            method=request.method,
            path=path,
            endpoint=None if route is None else route.endpoint,
            headers=request.headers,
        )
        self.records.add(record)
        call = None
        if route is not None and len(arguments) in route.arguments:
            call = Call(state, request, record, route.endpoint, tuple(arguments))
        nonce = request.method == "POST"
        unreadable = None
        try:
            if call is not None:
                unreadable = self._read(call)
            match state.faults.before(record, record.at):
                case Refuse(problem, fault_nonce):
                    nonce = nonce and fault_nonce
                    raise problem
                case Disconnect():
                    return Reply(disconnect=True)
                case Redirect(location, status):
                    return self._finish(Reply(status, {"Location": location}), record, nonce=False)
                case _:
                    pass
            if call is None or route is None:
                raise malformed(f"there is no resource at {path}", status=404)
            self._check(call, route, unreadable)
            reply = route.handler(call)
        except Problem as problem:
            record.problem = problem.kind
            reply = _problem_reply(problem)
        return self._finish(reply, record, nonce=nonce)

    def _finish(self, reply: Reply, record: Record, *, nonce: bool) -> Reply:
        state = self.state
        if nonce:
            # RFC 8555 §6.5: on every response to a POST, also on errors.
            reply.headers["Replay-Nonce"] = state.new_nonce()
        reply.headers["Date"] = format_datetime(state.now(), usegmt=True)
        if record.endpoint is not Endpoint.DIRECTORY:
            reply.links.append(("index", f"{state.urls.base}/directory"))
        state.faults.after(record, reply, state.now())
        record.status = 0 if reply.disconnect else reply.status
        return reply

    def _read(self, call: Call) -> Problem | None:
        """Look into the message for the record and the faults, before anything is decided."""
        record = call.record
        record.names = self._names(call)
        if call.request.method != "POST":
            return None
        try:
            call.signed = jws.parse(_json(call.request.body))
            record.protected = call.signed.header
            if call.signed.payload:
                record.payload = call.signed.object()
        except Problem as problem:
            return problem
        if call.endpoint is Endpoint.NEW_ORDER and record.payload is not None:
            record.names = _asked_names(record.payload)
        return None

    def _names(self, call: Call) -> tuple[str, ...]:
        state, text = self.state, call.arguments[0] if call.arguments else ""
        if call.endpoint is Endpoint.RENEWAL_INFO:
            certificate = state.by_renewal_id.get(text)
            return certificate.names if certificate else ()
        if not text.isdecimal():
            return ()
        number = int(text)
        match call.endpoint:
            case Endpoint.ORDER | Endpoint.FINALIZE if order := state.orders.get(number):
                return order.names
            case Endpoint.AUTHORIZATION if authorization := state.authorizations.get(number):
                return (authorization.requested.value,)
            case Endpoint.CHALLENGE if challenge := state.challenges.get(number):
                return (challenge.authorization.requested.value,)
            case Endpoint.CERTIFICATE if certificate := state.certificates.get(number):
                return certificate.names
            case _:
                return ()

    def _check(self, call: Call, route: Route, unreadable: Problem | None) -> None:
        request = call.request
        # RFC 8555 §6.1
        if not request.headers.get("user-agent"):
            raise malformed("an ACME client sends a User-Agent")
        if request.method not in route.methods:
            # RFC 8555 §6.3: resources are read by POST-as-GET.
            problem = malformed(f"use {' or '.join(route.methods)} here", status=405)
            problem.headers["Allow"] = ", ".join(route.methods)
            raise problem
        if request.method != "POST":
            return
        # RFC 8555 §6.2
        if request.headers.get("content-type") != "application/jose+json":
            raise malformed("the Content-Type must be application/jose+json", status=415)
        if unreadable is not None:
            raise unreadable
        self._authenticate(call, route)

    def _authenticate(self, call: Call, route: Route) -> None:
        state, header = self.state, call.jws.header
        state.use_nonce(header["nonce"])
        # RFC 8555 §6.4
        if header["url"] != state.urls.base + call.request.target:
            raise Problem("unauthorized", "the url in the JWS is not that of the request")
        form = "jwk" if "jwk" in header else "kid"
        if form not in route.signed_by:
            raise malformed(f"{call.endpoint} is signed with {' or '.join(route.signed_by)}")
        if form == "jwk":
            call.key = jws.public_key(header["jwk"])
        else:
            account = self._account(header["kid"])
            call.account_found, call.key = account, account.key
            call.record.account = account.id
        jws.check_signature(call.jws, call.key)
        if call.account_found is not None and call.account_found.status is not Status.VALID:
            # RFC 8555 §7.3.6
            raise Problem("unauthorized", f"the account is {call.account_found.status}")

    def _account(self, kid: Any) -> Account:
        prefix = self.state.urls.base + "/account/"
        number = kid.removeprefix(prefix) if isinstance(kid, str) else ""
        account = self.state.accounts.get(int(number)) if number.isdecimal() else None
        if account is None:
            raise Problem("accountDoesNotExist", f"no account is registered under {kid}")
        return account


def _problem_reply(problem: Problem) -> Reply:
    return json_reply(
        problem.document(), problem.status, headers=problem.headers, content_type=CONTENT_TYPE
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise malformed("the request body is not JSON") from None


def _asked_names(payload: Any) -> tuple[str, ...]:
    raw = payload.get("identifiers")
    if not isinstance(raw, list):
        return ()
    return tuple(
        item["value"]
        for item in raw
        if isinstance(item, dict) and isinstance(item.get("value"), str)
    )
