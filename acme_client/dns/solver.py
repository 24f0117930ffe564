"""DNS-01 from beginning to end (RFC 8555 §8.4), whatever the provider.

``present``: the challenge's name is followed through its aliases (so a zone that no one lets a
program write to needs one CNAME into a zone that may be written, as acme-dns has it), the provider
adds the record there, and the zone's authoritative servers are asked until they give it out.
Whatever goes wrong on the way, or when the task is cancelled, the record is taken away again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from acme_client.dns.provider import DnsProvider
from acme_client.errors import AcmeClientError, NotPresented

if TYPE_CHECKING:
    # At run time only those who look things up need dnspython.
    from acme_client.dns.lookup import Lookup

logger = logging.getLogger(__name__)

LABEL = "_acme-challenge"

PROVIDER_SECONDS = 60.0
"""For one call of a provider."""
PROPAGATION_SECONDS = 180.0


def challenge_name(domain: str) -> str:
    """RFC 8555 §8.4: where the CA looks for a domain's record."""
    return f"{LABEL}.{domain.removeprefix('*.').rstrip('.')}"


class Dns01Solver:
    """Answers DNS-01 with one provider; a ``DnsSolver`` for certificate requests.

    Without a ``lookup`` nothing is asked of DNS: aliases are not followed, and the CA is told to
    look as soon as the provider is done.
    """

    def __init__(
        self,
        provider: DnsProvider,
        lookup: Lookup | None = None,
        *,
        provider_seconds: float = PROVIDER_SECONDS,
        propagation_seconds: float = PROPAGATION_SECONDS,
    ) -> None:
        self._provider = provider
        self._lookup = lookup
        self._provider_seconds = provider_seconds
        self._propagation_seconds = propagation_seconds
        self._placed: dict[tuple[str, str], str] = {}
        """Domain and value to the name that holds the record."""
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}
        """Name to its lock and how many hold or want it."""

    def __repr__(self) -> str:
        return f"<Dns01Solver with {self._provider!r}>"

    async def present(self, domain: str, value: str) -> None:
        name = await self._where(domain)
        # Noted first: a call that fails, or is cancelled, may have had its effect all the same.
        self._placed[domain, value] = name
        try:
            async with self._alone(name):
                await self._call("present", name, value)
            if self._lookup is not None:
                await self._wait(self._lookup, name, value)
        except BaseException:
            await self._take_back(domain, value)
            raise

    async def clean_up(self, domain: str, value: str) -> None:
        name = self._placed.get((domain, value))
        if name is None:
            # Placed by a process before this one.
            name = await self._where(domain)
        # RFC 8555 §8.4 asks for nothing here, but a zone should not fill up.
        with anyio.CancelScope(shield=True):
            async with self._alone(name):
                await self._call("clean_up", name, value)
        self._placed.pop((domain, value), None)

    async def _where(self, domain: str) -> str:
        name = challenge_name(domain)
        if self._lookup is None:
            return name
        return await self._lookup.follow_aliases(name)

    async def _wait(self, lookup: Lookup, name: str, value: str) -> None:
        from acme_client.dns.propagation import wait_until_served

        await wait_until_served(lookup, name, value, seconds=self._propagation_seconds)

    async def _call(self, method: str, name: str, value: str) -> None:
        """One call of the provider, with a time limit; its errors become ours."""
        call = self._provider.present if method == "present" else self._provider.clean_up
        try:
            with anyio.fail_after(self._provider_seconds):
                await call(name, value)
        except AcmeClientError:
            raise
        except TimeoutError:
            raise NotPresented(
                f"{self._provider!r} did not {method} {name} within {self._provider_seconds:g} s"
            ) from None
        except Exception as error:
            # Other people's code, which may raise anything.
            raise NotPresented(
                f"{self._provider!r} could not {method} {name}: {type(error).__name__}: {error}"
            ) from error

    async def _take_back(self, domain: str, value: str) -> None:
        """After a failure, which is what the caller is to hear of."""
        try:
            await self.clean_up(domain, value)
        except AcmeClientError as error:
            logger.warning("%s: the DNS record stays: %s", domain, error)

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One call at a time per name: many services replace the whole set of a name's records."""
        lock, users = self._locks.get(name, (anyio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)
