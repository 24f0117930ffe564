"""What went wrong, in words for who has to mend it (pure).

A CA's problem document says what it saw, in its own terms (RFC 8555 §6.7). Here each type of
problem gets the sentence that leads to the cause; the CA's own text stands beside it, never
replaced.
"""

from __future__ import annotations

from acme_client.errors import Problem
from acme_client.state import Failure

PROBLEMS = {
    "accountDoesNotExist": "The CA does not know our account any more; a new one is made "
    "by itself.",
    "alreadyRevoked": "This certificate was revoked before.",
    "badCSR": "The CA does not accept our request for the certificate: the key type or the names.",
    "badNonce": "The CA refused our requests as replayed, again and again: a fault on its side, "
    "or a proxy in between that repeats requests.",
    "badPublicKey": "The CA does not accept this key: too weak, or known to be compromised.",
    "badRevocationReason": "The CA does not allow this reason for revoking.",
    "badSignatureAlgorithm": "The CA does not know the kind of key that our account has.",
    "caa": "A CAA record of the domain does not allow this CA. Add one that does, or remove it.",
    "compound": "Several names failed, each for a reason of its own.",
    "connection": "The CA could not connect to this name. Is its address in DNS that of this "
    "machine, is the port open in every firewall, and is Vestibule running?",
    "dns": "The CA could not look this name up in DNS. Does the record exist, does every name "
    "server of the zone answer, and is DNSSEC valid?",
    "externalAccountRequired": "This CA wants external account binding: set acme.eab with the key "
    "id and HMAC key from its website.",
    "incorrectResponse": "Something answered at this name, but not we: another server, a CDN or a "
    "redirect. Does the name lead to this machine, and does everything under "
    "/.well-known/acme-challenge/ reach Vestibule?",
    "invalidContact": "The CA does not accept the e-mail address in acme.email.",
    "malformed": "The CA could not make sense of what it was sent, or of what it found at this "
    "name; its own text says which.",
    "orderNotReady": "The CA was asked for the certificate before it had validated all names.",
    "rateLimited": "The CA's limit is reached. Nothing helps but to wait; it is tried again by "
    "itself when it may be.",
    "rejectedIdentifier": "The CA issues no certificate for this name: it is on a list of blocked "
    "ones, no public name, or not allowed under the profile.",
    "serverInternal": "The CA has a fault on its side; it is tried again.",
    "tls": "The CA's TLS connection to this name failed. Does its port 443 lead to Vestibule "
    "itself, and to nothing before it that ends TLS?",
    "unauthorized": "The CA did not find our answer at this name: it leads to another server, "
    "or the record in DNS is old.",
    "unsupportedContact": "The CA does not accept this kind of contact.",
    "unsupportedIdentifier": "The CA certifies no names of this kind (an IP address, perhaps).",
    "userActionRequired": "The CA wants somebody to do something, often to agree to new terms: "
    "open the link in its text.",
}

KINDS = {
    "unreachable": "The CA did not answer. Does this machine reach the internet, and is the CA up?",
    "protocol": "The CA's answer broke the protocol; what answers under its URL may be no CA.",
    "no-challenge": "The CA offers no challenge that is allowed and possible here: look at "
    "acme.challenges, and whether acme.dns is set.",
    "not-presented": "Our answer could not be put into DNS: look at the provider's settings and "
    "credentials.",
    "dns": "DNS gave no usable answer while the record was put in place.",
    "stuck": "The CA took too long; the order is kept and goes on at the next try.",
    "budget": "By our own count the CA would refuse, so nothing was sent.",
    "bad-certificate": "The CA's certificate is not what was ordered, and was not used.",
    "store": "The folder of the store cannot be read or written.",
}


def explain_problem(problem: Problem) -> str | None:
    """The sentence for a problem's type, or None for one that nobody foresaw."""
    return PROBLEMS.get(problem.code)


def explain_failure(failure: Failure) -> tuple[str, ...]:
    """The sentences for a failed attempt: one for each kind of problem in it."""
    found = [text for problem in _all(failure.problems) if (text := explain_problem(problem))]
    if not found and failure.kind in KINDS:
        found.append(KINDS[failure.kind])
    return tuple(dict.fromkeys(found))


def _all(problems: tuple[Problem, ...]) -> list[Problem]:
    flat = []
    for problem in problems:
        # What a compound says is in its parts.
        if not (problem.code == "compound" and problem.subproblems):
            flat.append(problem)
        flat += _all(problem.subproblems)
    return flat
