"""From configuration values to a solver; every mistake is named with its key and what is allowed.

::

    provider = "rfc2136"                        # or "lexicon", "command"
    options = { server = "192.0.2.1" }
    credentials = { key_name = "env:TSIG_NAME", key_secret = "file:/run/credentials/tsig" }
    credentials_file = "/etc/vestibule/dns-example.toml"      # instead, or for the others
    resolvers = ["192.0.2.53"]                  # default: those of the system
    propagation_seconds = 180.0                 # 0: do not wait, do not look
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acme_client.dns.addresses import ServerAddress
from acme_client.dns.command import CommandProvider
from acme_client.dns.credentials import Credentials
from acme_client.dns.provider import DnsProvider
from acme_client.dns.solver import PROPAGATION_SECONDS, PROVIDER_SECONDS, Dns01Solver
from acme_client.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings:
    """How DNS-01 is answered for some names."""

    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own keys."""
    credentials: Mapping[str, str] = field(default_factory=dict)
    """Names to ``env:NAME`` or ``file:/path``."""
    credentials_file: Path | None = None
    resolvers: Sequence[str] = ()
    authoritative: Sequence[str] = ()
    """Asked instead of the servers that the zone's NS records name."""
    authoritative_port: int = 53
    provider_seconds: float = PROVIDER_SECONDS
    propagation_seconds: float = PROPAGATION_SECONDS


def build_solver(settings: DnsSettings) -> Dns01Solver:
    """Make the solver; RequestError when the settings are wrong or a package is missing.

    Credentials are not read here, only when a record is written.
    """
    if settings.provider not in _BUILDERS:
        raise RequestError(f"provider {settings.provider!r}: allowed are {', '.join(_BUILDERS)}")
    build, allowed, others = _BUILDERS[settings.provider]
    if not others:
        for key in settings.options:
            if key not in allowed:
                raise RequestError(
                    f"{key!r}: the provider {settings.provider} has {', '.join(allowed)}"
                )
    credentials = Credentials(settings.credentials, file=settings.credentials_file)
    provider = build(settings, credentials)
    lookup = None
    if settings.propagation_seconds > 0:
        from acme_client.dns.lookup import Lookup

        lookup = Lookup(
            [ServerAddress.parse(text) for text in settings.resolvers],
            authoritative=[ServerAddress.parse(text) for text in settings.authoritative],
            authoritative_port=settings.authoritative_port,
        )
    return Dns01Solver(
        provider,
        lookup,
        provider_seconds=settings.provider_seconds,
        propagation_seconds=settings.propagation_seconds,
    )


def _rfc2136(settings: DnsSettings, credentials: Credentials) -> DnsProvider:
    from acme_client.dns.rfc2136 import DEFAULT_ALGORITHM, TTL_SECONDS, Rfc2136Provider

    return Rfc2136Provider(
        ServerAddress.parse(_option(settings, "server", str)),
        credentials,
        algorithm=_option(settings, "algorithm", str, DEFAULT_ALGORITHM),
        zone=_option(settings, "zone", str, "") or None,
        ttl=_option(settings, "ttl", int, TTL_SECONDS),
    )


def _lexicon(settings: DnsSettings, credentials: Credentials) -> DnsProvider:
    from acme_client.dns.lexicon import TTL_SECONDS, LexiconProvider, check_service
    from acme_client.dns.lookup import Lookup

    service = _option(settings, "service", str)
    check_service(service)
    own = ("service", "zone", "ttl")
    return LexiconProvider(
        service,
        credentials,
        options={key: str(value) for key, value in settings.options.items() if key not in own},
        zone=_option(settings, "zone", str, "") or None,
        ttl=_option(settings, "ttl", int, TTL_SECONDS),
        lookup=Lookup([ServerAddress.parse(text) for text in settings.resolvers]),
    )


def _command(settings: DnsSettings, credentials: Credentials) -> DnsProvider:
    command = _option(settings, "command", list)
    if not command or not all(isinstance(part, str) for part in command):
        raise RequestError("'command' must be a list of strings: the program, its arguments")
    return CommandProvider(command, credentials, seconds=settings.provider_seconds)


_Builder = Callable[[DnsSettings, Credentials], DnsProvider]

_BUILDERS: dict[str, tuple[_Builder, tuple[str, ...], bool]] = {
    "rfc2136": (_rfc2136, ("server", "algorithm", "zone", "ttl"), False),
    # Lexicon's services have options of their own.
    "lexicon": (_lexicon, ("service", "zone", "ttl"), True),
    "command": (_command, ("command",), False),
}

PROVIDERS = tuple(_BUILDERS)


def _option(settings: DnsSettings, key: str, kind: type, default: Any = None) -> Any:
    value = settings.options.get(key, default)
    if value is None:
        raise RequestError(f"the provider {settings.provider} needs {key!r}")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RequestError(f"{key!r} must be a {_KINDS[kind]}, not {value!r}")
    return value


_KINDS = {str: "string", int: "whole number", list: "list"}
