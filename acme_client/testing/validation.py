"""Validation of challenges as a CA does it, over the network, against the test's own servers.

Each function returns when the proof is good and raises the :class:`Problem` that the client will
find in the challenge otherwise. Names resolve and ports are mapped as the settings say: what the
CA would ask on port 80 of ``a.example`` it asks on ``settings.http_port`` of
``settings.address_of("a.example")``.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from acme_client.testing.fetch import FetchError, abort, fetch
from acme_client.testing.identifiers import Identifier
from acme_client.testing.jws import encode
from acme_client.testing.objects import Challenge, Urls
from acme_client.testing.persist import check_record
from acme_client.testing.problems import Problem
from acme_client.testing.settings import Settings

ACME_TLS_1 = "acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

MAX_HTTP_REDIRECTS = 10
MAX_HTTP_BODY = 4096


async def validate(
    challenge: Challenge, settings: Settings, urls: Urls, now: datetime
) -> Problem | None:
    """``None`` when the challenge is met; otherwise why it is not."""
    try:
        async with asyncio.timeout(settings.validation_timeout):
            match challenge.kind:
                case "http-01":
                    await _http_01(challenge, settings)
                case "tls-alpn-01":
                    await _tls_alpn_01(challenge, settings)
                case "dns-01":
                    await _dns_01(challenge, settings)
                case "dns-persist-01":
                    await _dns_persist_01(challenge, settings, urls, now)
                case kind:
                    raise ValueError(f"no validation is known for {kind!r}")
    except Problem as problem:
        return problem
    except TimeoutError:
        return Problem("connection", f"no answer within {settings.validation_timeout:g} s")
    return None


async def _http_01(challenge: Challenge, settings: Settings) -> None:
    """RFC 8555 §8.3."""
    name = challenge.authorization.identifier.value
    host = f"[{name}]" if ":" in name else name
    url = f"http://{host}/.well-known/acme-challenge/{challenge.token}"
    try:
        response = await fetch(
            url,
            address_of=lambda target: _address(target, settings),
            ports={80: settings.http_port, 443: settings.tls_port},
            max_redirects=MAX_HTTP_REDIRECTS,
            max_body=MAX_HTTP_BODY,
        )
    except FetchError as error:
        raise Problem("connection", f"{url}: {error}") from None
    if response.status != 200:
        raise Problem("unauthorized", f"Invalid response from {response.url}: {response.status}")
    # RFC 8555 §8.3: whitespace at the end is ignored.
    if response.body.rstrip() != challenge.key_authorization.encode():
        shown = response.body[:64].decode("ascii", "replace")
        raise Problem(
            "unauthorized",
            f"The key authorization file from the server did not match this challenge. Expected "
            f"{challenge.key_authorization!r} (got {shown!r})",
        )


async def _tls_alpn_01(challenge: Challenge, settings: Settings) -> None:
    """RFC 8737 §3."""
    identifier = challenge.authorization.identifier
    address = await _address(identifier.value, settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ACME_TLS_1])
    try:
        _, writer = await asyncio.open_connection(
            address, settings.tls_port, ssl=context, server_hostname=_server_name(identifier)
        )
    except ssl.SSLError as error:
        raise Problem("tls", f"TLS with {identifier.value} failed: {error.reason}") from None
    except OSError as error:
        raise Problem("connection", f"{identifier.value} ({address}): {error}") from None
    session = writer.get_extra_info("ssl_object")
    protocol = session.selected_alpn_protocol()
    der = session.getpeercert(binary_form=True)
    await abort(writer)
    if protocol != ACME_TLS_1:
        raise Problem("unauthorized", f"Cannot negotiate ALPN protocol {ACME_TLS_1!r}")
    _check_challenge_certificate(
        x509.load_der_x509_certificate(der), identifier, challenge.key_authorization
    )


def _check_challenge_certificate(
    certificate: x509.Certificate, identifier: Identifier, key_authorization: str
) -> None:
    wrong = Problem(
        "unauthorized",
        "Incorrect validation certificate for tls-alpn-01 challenge.",
        identifier=identifier.document(),
    )
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        proof = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except x509.ExtensionNotFound as error:
        wrong.detail += f" It has no extension {error.oid.dotted_string}."
        raise wrong from None
    # RFC 8737 §3: exactly one name, and the extension critical with the digest as OCTET STRING.
    expected: list[object] = (
        [ipaddress.ip_address(identifier.value)] if identifier.type == "ip" else [identifier.value]
    )
    found = [str(n.value).lower() if isinstance(n, x509.DNSName) else n.value for n in names]
    if found != expected:
        wrong.detail += f" It names {found}, not {expected}."
        raise wrong
    digest = b"\x04\x20" + hashlib.sha256(key_authorization.encode()).digest()
    value = proof.value
    if not isinstance(value, x509.UnrecognizedExtension) or value.value != digest:
        wrong.detail += " Its acmeIdentifier is not that of this challenge."
        raise wrong
    if not proof.critical:
        wrong.detail += " Its acmeIdentifier is not critical."
        raise wrong


def _server_name(identifier: Identifier) -> str:
    """RFC 8738 §6: an address is named in its reverse-mapping form."""
    if identifier.type == "dns":
        return identifier.value
    return ipaddress.ip_address(identifier.value).reverse_pointer


async def _dns_01(challenge: Challenge, settings: Settings) -> None:
    """RFC 8555 §8.4."""
    name = f"_acme-challenge.{challenge.authorization.identifier.value}"
    expected = encode(hashlib.sha256(challenge.key_authorization.encode()).digest())
    found = await _texts(name, settings)
    if not found:
        raise Problem("dns", f"no TXT record found at {name}")
    if expected not in found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Problem("unauthorized", f"Incorrect TXT record {found[0]!r}{more} found at {name}")


async def _dns_persist_01(
    challenge: Challenge, settings: Settings, urls: Urls, now: datetime
) -> None:
    authorization = challenge.authorization
    name = f"_validation-persist.{authorization.identifier.value}"
    reasons = []
    for text in await _texts(name, settings):
        reason = check_record(
            text,
            issuers=challenge.issuer_names,
            account_url=urls.of("account", authorization.account.id),
            wildcard=authorization.wildcard,
            now=now,
        )
        if reason is None:
            return
        reasons.append(f"{text!r}: {reason}")
    raise Problem("unauthorized", f"no valid record at {name}: {'; '.join(reasons) or 'none'}")


async def _texts(name: str, settings: Settings) -> Sequence[str]:
    # In a thread, because the test's own look-up may well block.
    try:
        return await asyncio.to_thread(settings.texts_of, name)
    except (OSError, LookupError) as error:
        raise Problem("dns", f"DNS problem: looking up TXT for {name}: {error}") from None


async def _address(name: str, settings: Settings) -> str:
    address = await asyncio.to_thread(settings.address_of, name)
    if address is None:
        raise Problem("dns", f"DNS problem: NXDOMAIN looking up A for {name}")
    return address
