"""Putting the answer to a challenge in place, and taking it away.

HTTP-01 and TLS-ALPN-01 answers go into the store, where every worker of every machine finds them
at the moment it is asked; nothing has to be told to anybody. DNS-01 answers go to the solver of
the request.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from datetime import timedelta
from typing import Protocol

import anyio

from acme_client.challenges.kinds import HTTP_01, TLS_ALPN_01
from acme_client.challenges.solver import DnsSolver
from acme_client.challenges.tls_alpn import challenge_pem, server_name
from acme_client.errors import AcmeClientError, NotPresented
from acme_client.issuer import Environment
from acme_client.store.interface import Lock
from acme_client.waiting import in_turn
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

ANSWER_LIFETIME = timedelta(hours=1)
"""Longer than any validation; what a crash leaves behind ends by itself."""

CLEAN_UP_SECONDS = 60.0

LOCK_WAIT = 1.0
LOCK_TRIES = 300


class Answer(Protocol):
    """One answer to one challenge."""

    async def present(self) -> None: ...

    async def clean_up(self) -> None: ...


def make_answer(
    kind: str,
    domain: str,
    token: str,
    key_authorization: str,
    dns: DnsSolver | None,
    environment: Environment,
) -> Answer:
    """The answer to a challenge of this kind; ``domain`` is the identifier, without a star."""
    if kind == HTTP_01:
        return HttpAnswer(token, key_authorization, environment)
    if kind == TLS_ALPN_01:
        return TlsAlpnAnswer(domain, key_authorization, environment)
    assert dns is not None  # DNS-01 is chosen only with a solver
    return DnsAnswer(domain, dns_value(key_authorization), dns)


async def clean_up(answer: Answer) -> None:
    """Take an answer away, come what may: the validation is over, and what stays does no harm."""
    with anyio.move_on_after(CLEAN_UP_SECONDS, shield=True) as scope:
        try:
            await answer.clean_up()
        except Exception as error:
            # A DNS solver may be anybody's and raise anything.
            logger.warning("%s, if it is in place, stays there: %s", answer, error)
    if scope.cancelled_caught:
        logger.warning("%s may stay in place: removing it took too long", answer)


def dns_value(key_authorization: str) -> str:
    """The TXT record of DNS-01 (RFC 8555 §8.4)."""
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


class HttpAnswer:
    """A file under ``/.well-known/acme-challenge/`` (RFC 8555 §8.3)."""

    def __init__(self, token: str, key_authorization: str, environment: Environment) -> None:
        self._token = token
        self._key_authorization = key_authorization
        self._environment = environment

    async def present(self) -> None:
        store, expires = self._environment.store, self._environment.clock.now() + ANSWER_LIFETIME
        await on_disk(
            lambda: store.put_challenge(HTTP_01, self._token, self._key_authorization, expires)
        )

    async def clean_up(self) -> None:
        store = self._environment.store
        await on_disk(lambda: store.delete_challenge(HTTP_01, self._token))

    def __str__(self) -> str:
        return "an http-01 answer"


class TlsAlpnAnswer:
    """A certificate for ``acme-tls/1`` (RFC 8737).

    There is one such answer per name at a time, because a handshake carries no token to choose
    by; so presenting takes a lock of that name. Two certificates may well share a name: an ECDSA
    and an RSA one do.
    """

    def __init__(self, domain: str, key_authorization: str, environment: Environment) -> None:
        self._domain = domain
        self._name = server_name(domain)
        self._key_authorization = key_authorization
        self._environment = environment
        self._lock: Lock | None = None

    async def present(self) -> None:
        self._lock = await self._take_name()
        store, now = self._environment.store, self._environment.clock.now()

        def put() -> None:
            pem = challenge_pem(self._domain, self._key_authorization, now)
            store.put_challenge(TLS_ALPN_01, self._name, pem, now + ANSWER_LIFETIME)

        await on_disk(put)

    async def clean_up(self) -> None:
        if self._lock is None:
            return  # the answer in place, if any, is another order's
        store = self._environment.store
        with self._lock:
            await on_disk(lambda: store.delete_challenge(TLS_ALPN_01, self._name))

    async def _take_name(self) -> Lock:
        store, clock = self._environment.store, self._environment.clock
        return await in_turn(
            lambda: on_disk(lambda: store.lock(f"{TLS_ALPN_01}+{self._name}")),
            clock,
            every=LOCK_WAIT,
            tries=LOCK_TRIES,
            too_long=NotPresented(
                f"{self._domain}: another order answers {TLS_ALPN_01} for too long"
            ),
        )

    def __str__(self) -> str:
        return f"the tls-alpn-01 answer for {self._domain}"


class DnsAnswer:
    """A TXT record at ``_acme-challenge`` (RFC 8555 §8.4)."""

    def __init__(self, domain: str, value: str, solver: DnsSolver) -> None:
        self._domain = domain
        self._value = value
        self._solver = solver

    async def present(self) -> None:
        try:
            await self._solver.present(self._domain, self._value)
        except Exception as error:
            # A solver may be anybody's; whatever it raises, this attempt is what failed. Where it
            # failed is worth telling only of what nobody foresaw.
            if not isinstance(error, AcmeClientError):
                logger.warning("%s: the DNS solver failed", self._domain, exc_info=True)
            raise NotPresented(
                f"{self._domain}: the DNS record is not in place: {error}", names=(self._domain,)
            ) from error

    async def clean_up(self) -> None:
        await self._solver.clean_up(self._domain, self._value)

    def __str__(self) -> str:
        return f"the dns-01 record of {self._domain}"
