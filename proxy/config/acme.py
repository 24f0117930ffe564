"""``[acme]`` and ``on_demand``: where certificates come from, and how names are proved.

``[acme]`` speaks for all sites; the table ``acme`` of a site says what is different there
(:func:`for_site` puts the two together). ``[acme]`` itself is the first CA; ``[[acme.fallbacks]]``
are those asked in order when it does not deliver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from proxy.config.fields import (
    INTERNAL,
    Ask,
    Call,
    Count,
    Directory,
    Email,
    File,
    PortNumber,
    Seconds,
    SecondsOrNone,
    SecretSource,
    Section,
    Text,
    issuer_name,
)

Challenge = Literal["tls-alpn-01", "http-01", "dns-01"]
KeyType = Literal["p256", "p384", "rsa2048", "rsa4096"]
HookEvent = Literal["issued", "renewed", "failed", "expiring"]
DnsProvider = Literal["rfc2136", "lexicon", "command"]


class Eab(Section):
    """External account binding (RFC 8555 §7.3.4): what the CA's website gave out."""

    key_id: Text
    """As it is, or ``env:NAME`` or ``file:/path``."""
    hmac_key: SecretSource
    """base64url."""
    algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"


class DnsTable(Section):
    """How DNS-01 is answered."""

    provider: DnsProvider
    options: dict[str, Any] = Field(default_factory=dict)
    """The provider's own."""
    credentials: dict[str, SecretSource] = Field(default_factory=dict)
    credentials_file: File | None = None
    """A TOML file with several, instead."""
    resolvers: tuple[Text, ...] = ()
    """Empty: those of the system."""
    authoritative: tuple[Text, ...] = ()
    """Asked instead of the servers that the zone's NS records name."""
    authoritative_port: PortNumber = 53
    provider_seconds: Seconds = 60.0
    """For one change by the provider."""
    propagation_seconds: SecondsOrNone = 180.0
    """Until all servers of the zone have the record; 0: not looked at."""


class FallbackTable(Section):
    """A further CA."""

    directory: Directory
    name: Text | None = None
    """What sites call it; None: the directory's name, or the host of its URL."""
    email: Email | None = None
    """None: that of ``[acme]``."""
    eab: Eab | None = None
    profile: Text | None = None
    ca_certificates: File | None = None


class HookTable(Section):
    """Who is told what happened to a certificate."""

    on: tuple[HookEvent, ...] = Field(default=("issued", "renewed"), min_length=1)
    command: tuple[Text, ...] | None = Field(default=None, min_length=1)
    """The program and its arguments; no shell."""
    call: Call | None = None
    """Or a Python function, sync or async."""
    timeout: Seconds = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One CA, whichever table it stands in."""

    name: str
    directory: str
    email: str | None
    eab: Eab | None
    profile: str | None
    ca_certificates: File | None
    key: str
    """Where it stands, for messages."""

    @property
    def is_internal(self) -> bool:
        return self.directory == INTERNAL


class AcmeTable(Section):
    """``[acme]``: where certificates come from."""

    directory: Directory = "letsencrypt"
    email: Email | None = None
    ca_certificates: File | None = None
    """Trust for the CA's own HTTPS, where it is not public."""
    eab: Eab | None = None
    profile: Text | None = None
    """The CA's certificate profile; None leaves it to the CA."""
    fallbacks: tuple[FallbackTable, ...] = ()
    """The CAs to ask, in order, when the first does not deliver."""
    key_types: tuple[KeyType, ...] = Field(default=("p256",), min_length=1)
    """A certificate for each."""
    preferred_chain: Text | None = None
    """The common name of the root that the chain should lead to, where the CA offers several."""
    challenges: tuple[Challenge, ...] = Field(
        default=("http-01", "tls-alpn-01", "dns-01"), min_length=1
    )
    """How to prove that a name is ours; tried in this order. dns-01 only where ``dns`` is set."""
    dns: DnsTable | None = None
    hooks: tuple[HookTable, ...] = ()

    @property
    def is_internal(self) -> bool:
        """Whether the embedded CA is the first choice."""
        return self.directory == INTERNAL

    @property
    def issuers(self) -> tuple[IssuerSettings, ...]:
        """All CAs, in the order in which they are asked."""
        first = IssuerSettings(
            name=issuer_name(self.directory),
            directory=self.directory,
            email=self.email,
            eab=self.eab,
            profile=self.profile,
            ca_certificates=self.ca_certificates,
            key="acme",
        )
        return (
            first,
            *(
                IssuerSettings(
                    name=table.name or issuer_name(table.directory),
                    directory=table.directory,
                    email=table.email or self.email,
                    eab=table.eab,
                    profile=table.profile,
                    ca_certificates=table.ca_certificates,
                    key=f"acme.fallbacks[{place}]",
                )
                for place, table in enumerate(self.fallbacks)
            ),
        )


class SiteAcme(Section):
    """What a site has its own way of. None everywhere: as ``[acme]`` says."""

    issuers: tuple[Text, ...] | None = Field(default=None, min_length=1)
    """Names of CAs of ``[acme]`` and its fallbacks, in the order to ask."""
    profile: Text | None = None
    key_types: tuple[KeyType, ...] | None = Field(default=None, min_length=1)
    preferred_chain: Text | None = None
    challenges: tuple[Challenge, ...] | None = Field(default=None, min_length=1)
    dns: DnsTable | None = None


class OnDemandTable(Section):
    """Certificates for names that are not in the configuration, when they are first asked for."""

    ask: Ask
    """Who says whether a name is ours: a URL, or ``module:function``."""
    ask_timeout: Seconds = 5.0
    remember_yes: Seconds = 3600.0
    remember_no: Seconds = 300.0
    names_per_hour: Count = 60
    """New names for which a certificate is ordered."""
    wait: Seconds = 15.0
    """How long a client's handshake waits for its certificate."""
    waiting: Count = 64
    """Names for which handshakes wait at a time, per worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForSite:
    """What holds for one site."""

    issuers: tuple[IssuerSettings, ...]
    profile: str | None
    key_types: tuple[KeyType, ...]
    preferred_chain: str | None
    challenges: tuple[Challenge, ...]
    """Those that can be answered here."""
    dns: DnsTable | None


def for_site(acme: AcmeTable, own: SiteAcme | None, *, has_http: bool) -> ForSite:
    """Put ``[acme]`` and a site's own table together.

    ``has_http``: whether there is a port on which HTTP-01 could be answered. A name of a CA that
    does not exist is left out; that is told elsewhere.
    """
    own = own or SiteAcme()
    by_name = {issuer.name: issuer for issuer in acme.issuers}
    chosen = own.issuers if own.issuers is not None else tuple(by_name)
    dns = own.dns or acme.dns
    possible = {"http-01": has_http, "dns-01": dns is not None, "tls-alpn-01": True}
    return ForSite(
        issuers=tuple(by_name[name] for name in chosen if name in by_name),
        profile=own.profile,
        key_types=own.key_types or acme.key_types,
        preferred_chain=own.preferred_chain or acme.preferred_chain,
        challenges=tuple(k for k in own.challenges or acme.challenges if possible[k]),
        dns=dns,
    )
