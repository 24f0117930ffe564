"""The services that ``dns-lexicon`` knows: Cloudflare, Route 53, OVH, Gandi and some ninety more.

Options and credentials go to lexicon under the names it gives them (``auth_token``,
``auth_username``, ...; see its documentation). Only what is configured here reaches it: none of
its own environment variables or files, so that two sites can have two accounts.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import anyio

from acme_client.dns.credentials import Credentials, Secrets
from acme_client.dns.extras import MissingExtra
from acme_client.dns.lookup import Lookup
from acme_client.dns.provider import in_thread
from acme_client.errors import NotPresented, RequestError

# Lexicon has the Public Suffix List fetched, the result of which it then does not need; where that
# network is closed it must not wait for ever. Read by tldextract when it is imported.
os.environ.setdefault("TLDEXTRACT_CACHE_TIMEOUT", "5")

try:
    import lexicon.client
    import lexicon.config
    import lexicon.exceptions
except ModuleNotFoundError as error:
    raise MissingExtra("the provider lexicon", "dns-lexicon", "lexicon") from error

MAX_THREADS = 4
"""A service that hangs holds up this provider, and not every thread of the process."""

TTL_SECONDS = 120
"""The shortest that most services accept without complaint."""


def check_service(service: str) -> None:
    """RequestError unless lexicon knows this service, and has what it needs for it."""
    known = _services()
    if known is None or known.get(service):
        return
    if service in known:
        raise RequestError(
            f"'service': lexicon needs more packages for {service}: "
            f"install them with pip install 'dns-lexicon[{service}]'"
        )
    close = get_close_matches(service, known, n=1)
    if close:
        raise RequestError(f"'service': lexicon has no {service!r}; did you mean {close[0]!r}?")
    raise RequestError(f"'service': lexicon has no {service!r}; it has {', '.join(known)}")


def _services() -> Mapping[str, bool] | None:
    """Every service, and whether its packages are installed; None where lexicon does not tell."""
    for module in ("lexicon._private.discovery", "lexicon.discovery"):
        try:
            found: Mapping[str, bool] = importlib.import_module(module).find_providers()
        except ImportError:
            continue
        return found
    return None


class LexiconProvider:
    """One account at one service."""

    def __init__(
        self,
        service: str,
        credentials: Credentials | None = None,
        *,
        options: Mapping[str, str] | None = None,
        zone: str | None = None,
        ttl: int = TTL_SECONDS,
        lookup: Lookup | None = None,
    ) -> None:
        """``zone`` is looked up when it is not given."""
        self._service = service
        self._credentials = credentials
        self._options = dict(options or {})
        self._zone = zone
        self._ttl = ttl
        self._lookup = lookup or Lookup()
        self._threads = anyio.CapacityLimiter(MAX_THREADS)

    def __repr__(self) -> str:
        return f"<lexicon {self._service}>"

    async def present(self, name: str, value: str) -> None:
        await self._run(name, lambda account: account.create_record("TXT", name, value))

    async def clean_up(self, name: str, value: str) -> None:
        await self._run(
            name, lambda account: account.delete_record(rtype="TXT", name=name, content=value)
        )

    async def _run(self, name: str, call: Callable[[Any], object]) -> None:
        zone = self._zone or await self._lookup.zone_of(name)
        await in_thread(lambda: self._call(zone, call), self._threads)

    def _call(self, zone: str, call: Callable[[Any], object]) -> None:
        secrets = Secrets() if self._credentials is None else self._credentials.load()
        try:
            with lexicon.client.Client(self._config(zone, secrets)) as account:
                done = call(account)
        except lexicon.exceptions.ProviderNotAvailableError as error:
            raise RequestError(f"{self!r}: {error}") from None
        except Exception as error:
            # Each service raises what its library raises. The cause is not chained: requests'
            # errors hold the URL and the headers, and with them the credentials.
            text = secrets.blot_out(f"{type(error).__name__}: {error}")
            raise NotPresented(f"{self!r}: {text}") from None
        if done is False:
            raise NotPresented(f"{self!r} says that it did not do it, and not why")

    def _config(self, zone: str, secrets: Secrets) -> lexicon.config.ConfigResolver:
        return _Config(zone).with_dict(
            {
                "provider_name": self._service,
                "ttl": self._ttl,
                # Its "ddns" looks for the domain among its own options.
                self._service: {"domain": zone, **self._options, **secrets},
            }
        )


class _Config(lexicon.config.ConfigResolver):
    """Lexicon guesses zones from the Public Suffix List; ours has been looked up and is right."""

    def __init__(self, zone: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._zone = zone

    def resolve(self, config_key: str) -> str | None:
        return self._zone if config_key == "lexicon:domain" else super().resolve(config_key)
