"""The CA, one short request per method (RFC 8555). The only module that imports ``acme``.

``acme`` signs (JWS, external account binding) and knows the wire form of what we send. What is
around that is ours, because its network class logs what it sends, reads without end, tries a bad
nonce once and keeps one session for all threads, and because its client waits inside its calls
and lacks ``replaces``, TLS-ALPN-01 and key roll-over. Answers are read by ``wire``.

Methods block; call them in worker threads. They may be called from several threads at once.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from acme import jws, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64decode, b64encode
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.json_util import field as jose_field
from josepy.jwa import ES256, ES384, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from acme_client.errors import (
    AccountUnknown,
    IssuerUnreachable,
    Problem,
    ProtocolViolation,
    RateLimited,
    Refused,
    RequestError,
)
from acme_client.keys import CertificateKey
from acme_client.names import ip_address
from acme_client.renewal import RenewalWindow
from acme_client.resources import Account, Authorization, Challenge, Directory, Download, Order
from acme_client.transport import Answer, Transport, check_url
from acme_client.wire import (
    parse_account,
    parse_authorization,
    parse_directory,
    parse_links,
    parse_object,
    parse_order,
    parse_problem,
    parse_renewal_info,
)

logger = logging.getLogger(__name__)

NONCE_TRIES = 10
"""Each refusal brings a fresh nonce. Of a hundred orders, some 600 requests, at a CA that refuses
15 % of all nonces, one would meet five refusals in a row in every twentieth run; ten in a row come
once in hundreds of thousands."""

KEPT_NONCES = 32

_NONCE = re.compile(r"[A-Za-z0-9_-]{1,512}\Z")

Message = JSONDeSerializable | dict[str, str]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests are signed with: the account's key and, once it is known, its URL."""

    key: CertificateKey = field(repr=False)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """External account binding (RFC 8555 §7.3.4): what the CA's website gave out."""

    key_id: str
    hmac_key: str = field(repr=False)
    """base64url"""
    algorithm: str = "HS256"


class NewOrder(messages.NewOrder):
    """The order of RFC 8555 §7.4 with the field of RFC 9773 §5."""

    replaces: str | None = jose_field("replaces", omitempty=True)


class Authority:
    """One CA, seen by one account. ``credentials`` are set when there are some."""

    def __init__(self, directory_url: str, transport: Transport) -> None:
        self.directory_url = directory_url
        self.transport = transport
        self.credentials: Credentials | None = None
        self._directory: Directory | None = None
        self._nonces: list[str] = []
        self._lock = threading.Lock()

    # The directory (RFC 8555 §7.1.1).

    def directory(self) -> Directory:
        if self._directory is None:
            answer = self._check(self.transport.request("GET", self.directory_url))
            document = parse_object(answer.body, "directory")
            self._directory = parse_directory(self.directory_url, document)
        return self._directory

    def forget_directory(self) -> None:
        """Fetch it afresh next time: CAs add features and move things."""
        self._directory = None

    # Accounts (RFC 8555 §7.3).

    def register(
        self, key: CertificateKey, contact: Sequence[str], external: ExternalAccount | None
    ) -> Account:
        """Make an account for this key, or find the one there is (§7.3, §7.3.1)."""
        directory = self.directory()
        binding = None
        if external is not None:
            binding = _external_account_binding(key, external, directory)
        elif directory.external_account_required:
            raise RequestError(
                f"{directory.url} wants external account binding: set the key id and HMAC key "
                "that the CA gives to its customers"
            )
        message = messages.NewRegistration(
            contact=tuple(contact),
            terms_of_service_agreed=True,
            external_account_binding=binding,
        )
        return self._account(self._post(directory.new_account, message, Credentials(key)))

    def find_account(self, key: CertificateKey) -> Account:
        """The account of this key, or AccountUnknown (§7.3.1)."""
        message = messages.NewRegistration(only_return_existing=True)
        return self._account(self._post(self.directory().new_account, message, Credentials(key)))

    def update_contact(self, contact: Sequence[str]) -> None:
        """§7.3.2"""
        url = self._account_url()
        self._post(url, messages.UpdateRegistration(contact=tuple(contact)))

    def deactivate_account(self) -> None:
        """§7.3.6"""
        self._post(self._account_url(), {"status": "deactivated"})

    def change_key(self, new_key: CertificateKey) -> None:
        """Key roll-over (§7.3.5): the new key signs what the old key then signs again."""
        url = self.directory().key_change
        if url is None or self.credentials is None:
            raise RequestError(f"{self.directory_url} offers no key roll-over")
        inner = {"account": self._account_url(), "oldKey": _public_jwk(self.credentials.key)}
        signed = jws.JWS.sign(
            json.dumps(inner).encode(),
            key=_jwk(new_key),
            alg=_algorithm(new_key),
            nonce=None,
            url=url,
        )
        self._post(url, signed)

    # Orders (RFC 8555 §7.4) and authorisations (§7.5).

    def new_order(self, names: Sequence[str], profile: str | None, replaces: str | None) -> Order:
        identifiers = [
            messages.Identifier(
                typ=messages.IDENTIFIER_IP if ip_address(name) else messages.IDENTIFIER_FQDN,
                value=name,
            )
            for name in names
        ]
        message = NewOrder(identifiers=identifiers, profile=profile, replaces=replaces)
        answer = self._post(self.directory().new_order, message)
        return self._order(_location(answer), answer)

    def order(self, url: str) -> Order:
        return self._order(url, self._post_as_get(url))

    def finalize(self, order: Order, csr: x509.CertificateSigningRequest) -> Order:
        answer = self._post(order.finalize, messages.CertificateRequest(csr=csr))
        return self._order(order.url, answer)

    def download(self, url: str) -> Download:
        """§7.4.2"""
        answer = self._post_as_get(url, accept="application/pem-certificate-chain")
        links = parse_links(answer.headers.get("Link"), "alternate", url)
        return Download(answer.body.decode("ascii", "replace"), links)

    def authorization(self, url: str) -> Authorization:
        answer = self._post_as_get(url)
        document = parse_object(answer.body, "authorization")
        return parse_authorization(url, document, answer.retry_after)

    def answer(self, challenge: Challenge) -> None:
        """Tell the CA that the answer is in place (§7.5.1)."""
        self._post(challenge.url, {})

    def key_authorization(self, token: str) -> str:
        """§8.1"""
        assert self.credentials is not None
        thumbprint = _jwk(self.credentials.key).thumbprint(hash_function=hashes.SHA256)
        return f"{token}.{b64encode(thumbprint).decode('ascii')}"

    # Afterwards.

    def revoke(
        self, certificate: x509.Certificate, reason: int, key: CertificateKey | None = None
    ) -> None:
        """§7.6, signed by the account or, with ``key``, by the certificate's own key."""
        message = messages.Revocation(certificate=certificate, reason=reason)
        signer = None if key is None else Credentials(key)
        self._post(self.directory().revoke_cert, message, signer)

    def renewal_info(self, identifier: str) -> tuple[RenewalWindow, timedelta | None]:
        """The suggested window and the wait before asking again (RFC 9773 §4.1: a plain GET)."""
        base = self.directory().renewal_info
        assert base is not None
        answer = self._check(self.transport.request("GET", f"{base.rstrip('/')}/{identifier}"))
        window = parse_renewal_info(parse_object(answer.body, "renewal information"))
        return window, answer.retry_after

    # Signed requests (RFC 8555 §6).

    def _post_as_get(self, url: str, accept: str | None = None) -> Answer:
        """§6.3: a signed request without a payload."""
        return self._post(url, None, accept=accept)

    def _post(
        self,
        url: str,
        message: Message | None,
        credentials: Credentials | None = None,
        accept: str | None = None,
    ) -> Answer:
        credentials = credentials or self.credentials
        assert credentials is not None
        payload = _payload(message)
        headers = {"Content-Type": "application/jose+json"}
        if accept is not None:
            headers["Accept"] = accept
        for _ in range(NONCE_TRIES - 1):
            try:
                return self._post_once(url, payload, credentials, headers)
            except Refused as error:
                # §6.5: the answer holds a fresh nonce; the request is the same, signed anew.
                if error.problems[0].code != "badNonce":
                    raise
        return self._post_once(url, payload, credentials, headers)

    def _post_once(
        self, url: str, payload: bytes, credentials: Credentials, headers: dict[str, str]
    ) -> Answer:
        signed = jws.JWS.sign(
            payload,
            key=_jwk(credentials.key),
            alg=_algorithm(credentials.key),
            nonce=b64decode(self._take_nonce()),
            url=url,
            kid=credentials.url,
        )
        data = signed.json_dumps().encode()
        answer = self.transport.request("POST", url, data=data, headers=headers)
        self._keep_nonce(answer)
        return self._check(answer)

    def _take_nonce(self) -> str:
        with self._lock:
            if self._nonces:
                return self._nonces.pop()  # the newest: old ones expire
        answer = self._check(self.transport.request("HEAD", self.directory().new_nonce))
        nonce = answer.headers.get("Replay-Nonce")
        if nonce is None or not _is_base64url(nonce):
            raise ProtocolViolation(f"{answer.url} gives no usable Replay-Nonce")
        return nonce

    def _keep_nonce(self, answer: Answer) -> None:
        nonce = answer.headers.get("Replay-Nonce")
        if nonce is not None and _is_base64url(nonce):
            with self._lock:
                self._nonces.append(nonce)
                del self._nonces[:-KEPT_NONCES]

    def _check(self, answer: Answer) -> Answer:
        """Let a success pass; make the right error of everything else."""
        if 200 <= answer.status < 300:
            return answer
        host = urlsplit(answer.url).netloc
        retry_at = None if answer.retry_after is None else self.transport.now() + answer.retry_after
        try:
            problem = parse_problem(parse_object(answer.body, "error"))
        except ProtocolViolation:
            problem = Problem("about:blank", f"HTTP status {answer.status}", answer.status)
        text = f"{host} answers {answer.status} to {urlsplit(answer.url).path}: {problem}"
        if answer.status == 429 or problem.code == "rateLimited":
            raise RateLimited(text, problems=(problem,), retry_at=retry_at)
        if answer.status >= 500:
            raise IssuerUnreachable(text, problems=(problem,), retry_at=retry_at)
        if problem.code == "accountDoesNotExist":
            raise AccountUnknown(text, problems=(problem,))
        if answer.status < 400:
            raise ProtocolViolation(text)
        raise Refused(text, problems=(problem,), retry_at=retry_at)

    # Reading answers.

    def _account(self, answer: Answer) -> Account:
        return parse_account(_location(answer), parse_object(answer.body, "account"))

    def _order(self, url: str, answer: Answer) -> Order:
        return parse_order(url, parse_object(answer.body, "order"), answer.retry_after)

    def _account_url(self) -> str:
        assert self.credentials is not None
        assert self.credentials.url is not None
        return self.credentials.url


def _payload(message: Message | None) -> bytes:
    if message is None:
        return b""
    if isinstance(message, dict):
        return json.dumps(message).encode()
    return message.json_dumps().encode()


def _location(answer: Answer) -> str:
    """§7.3, §7.4: the URL of what was just made."""
    url = answer.headers.get("Location")
    if url is None:
        raise ProtocolViolation(f"{answer.url} answers without a Location")
    check_url(url)
    return url


def _jwk(key: CertificateKey) -> JWK:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return JWKEC(key=key)
    return JWKRSA(key=key)


def _public_jwk(key: CertificateKey) -> Any:
    return _jwk(key).public_key().to_json()


def _algorithm(key: CertificateKey) -> JWASignature:
    """RFC 7518 §3.1"""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ES256 if key.curve.key_size == 256 else ES384
    return RS256


def _external_account_binding(
    key: CertificateKey, external: ExternalAccount, directory: Directory
) -> dict[str, Any]:
    where = messages.Directory({"newAccount": directory.new_account})
    # Other characters are skipped when it is decoded, which makes another key of it.
    if not _is_base64url(external.hmac_key.rstrip("=")):
        raise RequestError(
            f"external account binding of {directory.url}: the HMAC key is no base64url "
            "(A-Z, a-z, 0-9, - and _); copy it from the CA's website as it stands there"
        )
    try:
        return messages.ExternalAccountBinding.from_data(
            _jwk(key).public_key(), external.key_id, external.hmac_key, where, external.algorithm
        )
    except (ValueError, JoseError) as error:
        raise RequestError(f"external account binding of {directory.url}: {error}") from error


def _is_base64url(text: str) -> bool:
    """RFC 4648 §5, without padding; a client must ignore other nonces (RFC 8555 §6.5.1)."""
    return bool(_NONCE.match(text))
