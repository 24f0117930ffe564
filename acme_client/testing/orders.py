"""Orders, authorizations and challenges: from newOrder to finalize (RFC 8555 §7.4, §7.5)."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from acme_client.testing import jws
from acme_client.testing.calls import Call, created
from acme_client.testing.faults import (
    BadCertificate,
    FailOrder,
    FailValidation,
    HangValidation,
    PassValidation,
    StuckOrder,
)
from acme_client.testing.identifiers import Identifier, parse_identifiers
from acme_client.testing.objects import Account, Authorization, Certificate, Order, Status
from acme_client.testing.problems import Problem, malformed
from acme_client.testing.state import State, spki
from acme_client.testing.wire import Reply, json_reply


def new_order(call: Call) -> Reply:
    state, account, payload = call.state, call.account, call.payload()
    identifiers = parse_identifiers(payload.get("identifiers"))
    profile = _profile(state, payload.get("profile"), identifiers)
    replaces = _replaced(state, account, payload.get("replaces"), identifiers)
    if state.settings.limits is not None:
        state.settings.limits.new_order(
            account.id, identifiers, state.clock.time(), replaces=replaces is not None
        )
    order = Order(
        id=state.number(),
        account=account,
        identifiers=identifiers,
        authorizations=[state.authorization_for(account, i) for i in identifiers],
        created=state.now(),
        expires=state.now() + state.settings.order_lifetime,
        profile=profile,
        replaces=replaces,
    )
    state.orders[order.id] = order
    account.orders.append(order)
    state.settle(order)
    return created(state, _order_reply(state, order, 201), "order", order.id)


def read_order(call: Call) -> Reply:
    order = call.find(call.state.orders)
    call.require_post_as_get()
    call.state.settle(order)
    return _order_reply(call.state, order)


def finalize(call: Call) -> Reply:
    state, order = call.state, call.find(call.state.orders)
    payload = call.payload()
    state.settle(order)
    if order.status is not Status.READY:
        raise Problem("orderNotReady", f"the order is {order.status}, not ready")
    order.csr = _check_csr(state, order, payload.get("csr"))
    now, faults = state.now(), state.faults
    failed = faults.outcome((FailOrder,), call.record, now)
    if isinstance(failed, FailOrder):
        order.status, order.error = Status.INVALID, failed.problem
        return created(state, _order_reply(state, order), "order", order.id)
    bad = faults.outcome((BadCertificate,), call.record, now)
    defect = bad.defect if isinstance(bad, BadCertificate) else None
    stuck = faults.outcome((StuckOrder,), call.record, now)
    if isinstance(stuck, StuckOrder):
        state.postpone(order, stuck.until, defect)
    elif state.settings.issuance_time is not None:
        state.postpone(order, now + state.settings.issuance_time, defect)
    else:
        state.issue(order, defect)
    return created(state, _order_reply(state, order), "order", order.id)


def authorization(call: Call) -> Reply:
    state, found = call.state, call.find(call.state.authorizations)
    state.settle_authorization(found)
    if not call.post_as_get:
        if call.payload().get("status") != Status.DEACTIVATED:
            raise malformed("an authorization can only be read or deactivated")
        # RFC 8555 §7.5.2
        if found.status not in (Status.PENDING, Status.VALID):
            raise malformed(f"an authorization that is {found.status} cannot be deactivated")
        found.status = Status.DEACTIVATED
    return _with_retry_after(state, json_reply(found.document(state.urls)), _is_in_work(found))


def challenge(call: Call) -> Reply:
    """RFC 8555 §7.5.1: the client says that it is ready."""
    state, found = call.state, call.find(call.state.challenges)
    owner = found.authorization
    state.settle_authorization(owner)
    if not call.post_as_get:
        call.payload()
        if owner.status not in (Status.PENDING, Status.VALID):
            raise malformed(f"the authorization is {owner.status}, no longer pending")
        if owner.status is Status.PENDING and found.status is Status.PENDING:
            found.status = Status.PROCESSING
            verdict = state.faults.outcome(
                (FailValidation, PassValidation, HangValidation), call.record, state.now()
            )
            match verdict:
                case FailValidation(problem):
                    state.decide(found, problem)
                case HangValidation():
                    pass
                case PassValidation():
                    state.decide(found, None)
                case _ if not state.settings.validate:
                    state.decide(found, None)
                case _:
                    state.start_validation(found)
    reply = json_reply(found.document(state.urls))
    reply.links.append(("up", state.urls.of("authorization", owner.id)))
    return _with_retry_after(state, reply, _is_in_work(owner))


def _is_in_work(found: Authorization) -> bool:
    return found.status is Status.PENDING and any(
        challenge.status is Status.PROCESSING for challenge in found.challenges
    )


def _order_reply(state: State, order: Order, status: int = 200) -> Reply:
    reply = json_reply(order.document(state.urls), status)
    return _with_retry_after(state, reply, order.status is Status.PROCESSING)


def _with_retry_after(state: State, reply: Reply, in_work: bool) -> Reply:
    if in_work and state.settings.poll_after is not None:
        reply.headers["Retry-After"] = str(state.settings.poll_after)
    return reply


def _profile(state: State, asked: Any, identifiers: tuple[Identifier, ...]) -> str | None:
    profiles = state.settings.profiles
    if asked is not None and asked not in profiles:
        known = ", ".join(profiles) or "none"
        raise Problem("invalidProfile", f"there is no profile {asked!r}; known: {known}")
    if not profiles:
        return None
    chosen = str(asked or state.settings.default_profile)
    for identifier in identifiers:
        if identifier.type not in profiles[chosen].identifier_types:
            raise Problem(
                "rejectedIdentifier",
                f"the profile {chosen!r} does not allow {identifier.type} identifiers",
                identifier=identifier.document(),
            )
    return chosen


def _replaced(
    state: State, account: Account, renewal_id: Any, identifiers: tuple[Identifier, ...]
) -> Certificate | None:
    """RFC 9773 §5: the certificate that the order replaces, checked as the server should."""
    if renewal_id is None:
        return None
    if not state.settings.renewal_info:
        # A CA without renewal information does not know the member, and ignores it.
        return None
    found = state.by_renewal_id.get(renewal_id) if isinstance(renewal_id, str) else None
    if found is None:
        raise malformed(f"no certificate {renewal_id!r} is known to replace", status=404)
    if found.account is not account:
        raise Problem("unauthorized", "the certificate to replace belongs to another account")
    if set(found.order.identifiers).isdisjoint(identifiers):
        raise malformed("the order shares no identifier with the certificate it replaces")
    if found.replaced_by is not None:
        raise Problem("alreadyReplaced", f"certificate {renewal_id} has been replaced already")
    return found


def _check_csr(state: State, order: Order, encoded: Any) -> x509.CertificateSigningRequest:
    """RFC 8555 §7.4: the CSR must ask for exactly what the order holds."""
    try:
        csr = x509.load_der_x509_csr(jws.decode(encoded, "the csr"))
        valid = csr.is_signature_valid
        names = _names_of(csr)
        key = csr.public_key()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Problem("badCSR", f"the CSR cannot be read: {error}") from None
    if not valid:
        raise Problem("badCSR", "the CSR's signature does not verify")
    if not (
        (isinstance(key, rsa.RSAPublicKey) and key.key_size in (2048, 3072, 4096))
        or (
            isinstance(key, ec.EllipticCurvePublicKey)
            and key.curve.name in ("secp256r1", "secp384r1")
        )
    ):
        raise Problem("badCSR", "keys are P-256, P-384 or RSA of 2048, 3072 or 4096 bits")
    if names != set(order.identifiers):
        asked = ", ".join(sorted(identifier.value for identifier in names)) or "nothing"
        raise Problem("badCSR", f"the CSR asks for {asked}, the order {', '.join(order.names)}")
    # RFC 8555 §11.1: the account key is not for certificates.
    if key.public_numbers() == order.account.key.key.public_numbers():
        raise Problem("badCSR", "the account key may not be used in a certificate")
    if spki(csr) in state.blocked_keys:
        raise Problem("badCSR", "this key has been reported as compromised")
    return csr


def _names_of(csr: x509.CertificateSigningRequest) -> set[Identifier]:
    found: set[Identifier] = set()
    for attribute in csr.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
        found.add(Identifier("dns", str(attribute.value).lower()))
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return found
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    # An address may stand in the common name as well, where it has no type.
    found = {i for i in found if i.value not in addresses}
    found.update(Identifier("ip", address) for address in addresses)
    found.update(
        Identifier("dns", name.lower()) for name in names.get_values_for_type(x509.DNSName)
    )
    return found
