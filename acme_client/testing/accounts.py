"""Accounts: newAccount, external binding, update, deactivation, key change (RFC 8555 §7.3)."""

from __future__ import annotations

import json
import re
from typing import Any

from josepy.errors import Error as JoseError
from josepy.jwk import JWK

from acme_client.testing import jws
from acme_client.testing.calls import Call, created
from acme_client.testing.objects import Account, Status
from acme_client.testing.problems import Problem, malformed
from acme_client.testing.wire import Reply, json_reply

_MAIL = re.compile(r"mailto:[^@\s,?]+@[^@\s,?]+\.[^@\s,?]+\Z")


def new_account(call: Call) -> Reply:
    state, payload = call.state, call.payload()
    if call.account_found is not None or call.key is None:
        raise malformed("newAccount is signed with jwk, not kid")
    thumbprint = jws.thumbprint(call.key)
    known = state.accounts_by_key.get(thumbprint)
    if known is not None:
        # RFC 8555 §7.3.1: the key is the account.
        if known.status is not Status.VALID:
            raise Problem("unauthorized", f"the account of this key is {known.status}")
        call.record.account = known.id
        return _account_reply(call, known, 200, location=True)
    if payload.get("onlyReturnExisting") is True:
        raise Problem("accountDoesNotExist", "no account exists with this key")
    contact = _contact(payload)
    agreed = payload.get("termsOfServiceAgreed") is True
    if state.settings.terms_of_service is not None and not agreed:
        raise malformed("the terms of service must be agreed to (termsOfServiceAgreed)")
    binding = payload.get("externalAccountBinding")
    if binding is not None:
        _check_binding(call, binding)
    elif state.settings.external_account_required:
        raise Problem("externalAccountRequired", "this CA needs an external account binding")
    if state.settings.limits is not None:
        state.settings.limits.new_account(call.request.peer, state.clock.time())
    account = Account(
        id=state.number(),
        key=call.key,
        thumbprint=thumbprint,
        created=state.now(),
        contact=contact,
        agreed=agreed,
        external_account=binding,
    )
    state.accounts[account.id] = account
    state.accounts_by_key[thumbprint] = account
    call.record.account = account.id
    return _account_reply(call, account, 201, location=True)


def update_account(call: Call) -> Reply:
    account = call.find(call.state.accounts)
    if call.post_as_get:
        return _account_reply(call, account, 200)
    payload = call.payload()
    status = payload.get("status")
    if status == Status.DEACTIVATED:
        # RFC 8555 §7.3.6
        account.status = Status.DEACTIVATED
        return _account_reply(call, account, 200)
    if status is not None and status != account.status:
        raise malformed(f"an account cannot be made {status!r}, only deactivated")
    if "contact" in payload:
        account.contact = _contact(payload)
    return _account_reply(call, account, 200)


def orders_of_account(call: Call) -> Reply:
    """RFC 8555 §7.1.2.1, in one page."""
    account = call.find(call.state.accounts)
    call.require_post_as_get()
    state = call.state
    for order in account.orders:
        state.settle(order)
    listed = [order for order in account.orders if order.status is not Status.INVALID]
    return json_reply({"orders": [state.urls.of("order", order.id) for order in listed]})


def key_change(call: Call) -> Reply:
    """RFC 8555 §7.3.5: the new key signs inside, the old one outside."""
    state, account = call.state, call.account
    inner = jws.parse(call.payload(), nonce=False)
    if "jwk" not in inner.header:
        raise malformed("the inner JWS names the new key as jwk")
    new_key = jws.public_key(inner.header["jwk"])
    jws.check_signature(inner, new_key)
    if inner.header["url"] != call.jws.header["url"]:
        raise malformed("inner and outer JWS must have the same url")
    body = inner.object()
    if body.get("account") != state.urls.of("account", account.id):
        raise malformed("the inner JWS names another account")
    old_key = body.get("oldKey")
    if not isinstance(old_key, dict) or not _same_key(old_key, account.key):
        raise malformed("oldKey is not the key of this account")
    thumbprint = jws.thumbprint(new_key)
    holder = state.accounts_by_key.get(thumbprint)
    if holder is not None:
        problem = malformed("the new key is that of an account already", status=409)
        problem.headers["Location"] = state.urls.of("account", holder.id)
        raise problem
    del state.accounts_by_key[account.thumbprint]
    account.key, account.thumbprint = new_key, thumbprint
    state.accounts_by_key[thumbprint] = account
    return _account_reply(call, account, 200)


def _account_reply(call: Call, account: Account, status: int, *, location: bool = False) -> Reply:
    state = call.state
    reply = json_reply(account.document(state.urls), status)
    if state.settings.terms_of_service is not None:
        reply.links.append(("terms-of-service", state.settings.terms_of_service))
    return created(state, reply, "account", account.id) if location else reply


def _contact(payload: dict[str, Any]) -> tuple[str, ...]:
    contact = payload.get("contact", [])
    if not isinstance(contact, list) or not all(isinstance(url, str) for url in contact):
        raise malformed("contact is a list of URLs")
    for url in contact:
        if not url.startswith("mailto:"):
            raise Problem("unsupportedContact", f"{url!r} is not a mailto URL")
        if not _MAIL.match(url):
            # RFC 8555 §7.3: no hfields, one address.
            raise Problem("invalidContact", f"{url!r} is not one plain address")
    return tuple(contact)


def _check_binding(call: Call, binding: Any) -> None:
    """RFC 8555 §7.3.4."""
    inner = jws.parse(binding, algorithms=jws.MAC_ALGORITHMS, nonce=False)
    if "kid" not in inner.header:
        raise malformed("the external account binding needs a kid")
    if inner.header["url"] != call.jws.header["url"]:
        raise malformed("the external account binding must have the url of newAccount")
    secret = call.state.settings.external_accounts.get(str(inner.header["kid"]))
    if secret is None or not jws.check_mac(inner, secret):
        raise Problem("unauthorized", "the external account binding's kid or MAC is not right")
    assert call.key is not None
    try:
        bound = json.loads(inner.payload)
    except ValueError:
        raise malformed("the external account binding's payload is not JSON") from None
    if not isinstance(bound, dict) or not _same_key(bound, call.key):
        raise malformed("the external account binding is for another account key")


def _same_key(value: dict[str, Any], key: JWK) -> bool:
    try:
        return jws.thumbprint(jws.read_key(value)) == jws.thumbprint(key)
    except (JoseError, ValueError, TypeError, KeyError):
        return False
