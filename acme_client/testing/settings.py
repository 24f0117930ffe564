"""What a test may set about the CA, before it starts or at any time later.

The defaults are those of a CA like Let's Encrypt, but without rate limits, and with all three
challenge kinds of everyday use.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from acme_client.testing.limits import RateLimits


@dataclass(frozen=True, slots=True)
class Profile:
    """A certificate profile (draft-ietf-acme-profiles)."""

    lifetime: timedelta
    description: str = "https://ca.example/docs/profiles"
    identifier_types: tuple[str, ...] = ("dns", "ip")
    common_name: bool = False
    """Whether the first name stands in the subject too."""


def default_profiles() -> dict[str, Profile]:
    return {
        "classic": Profile(timedelta(days=90), identifier_types=("dns",), common_name=True),
        "tlsserver": Profile(timedelta(days=45), identifier_types=("dns",)),
        "shortlived": Profile(timedelta(hours=160)),
    }


@dataclass(slots=True, kw_only=True)
class Settings:
    # -- the directory's meta object
    terms_of_service: str | None = "https://ca.example/terms/v1"
    website: str | None = "https://ca.example"
    caa_identities: tuple[str, ...] = ("ca.example",)
    external_account_required: bool = False
    external_accounts: dict[str, bytes] = field(default_factory=dict)
    """Key identifier to HMAC key (RFC 8555 §7.3.4)."""

    # -- issuance
    profiles: dict[str, Profile] = field(default_factory=default_profiles)
    """Emptied, the CA offers no profiles at all, and every certificate lives ``lifetime``."""
    default_profile: str = "classic"
    lifetime: timedelta = timedelta(days=90)
    lifetimes: dict[str, timedelta] = field(default_factory=dict)
    """A lifetime by name, for the certificates that hold it; stronger than the profile."""
    backdate: timedelta = timedelta(hours=1)
    order_lifetime: timedelta = timedelta(days=7)
    authorization_lifetime: timedelta = timedelta(days=30)
    reuse_valid_authorizations: bool = False
    reuse_pending_authorizations: bool = False
    issuance_time: timedelta | None = None
    """How long, by the CA's clock, an order stays in processing; ``None`` issues at once."""
    poll_after: int | None = 1
    """The Retry-After of what is still processing; ``None`` leaves the header out."""

    # -- validation
    challenges: tuple[str, ...] = ("http-01", "tls-alpn-01", "dns-01")
    validate: bool = True
    """Switched off, every answered challenge is valid at once and nothing is asked."""
    http_port: int = 80
    tls_port: int = 443
    hosts: dict[str, str] = field(default_factory=dict)
    """Name to address. Names not in it are at ``default_address``."""
    default_address: str | None = "127.0.0.1"
    """``None``: names that are not in ``hosts`` do not exist."""
    resolve: Callable[[str], str | None] | None = None
    """In place of ``hosts``; ``None`` returned is NXDOMAIN."""
    txt_records: dict[str, list[str]] = field(default_factory=dict)
    """Name to TXT strings, for dns-01 and dns-persist-01."""
    lookup_txt: Callable[[str], Sequence[str]] | None = None
    """In place of ``txt_records``; called in a thread, see :mod:`acme_client.testing.dns`."""
    validation_timeout: float = 10.0
    """Seconds of real time for one validation."""

    # -- renewal information (RFC 9773)
    renewal_info: bool = True
    renewal_retry_after: int | None = 6 * 3600

    # -- restraint and records
    limits: RateLimits | None = None
    """Set to ``RateLimits()`` for those of Let's Encrypt."""
    keep_requests: int = 100_000

    def address_of(self, name: str) -> str | None:
        if self.resolve is not None:
            return self.resolve(name)
        if name in self.hosts:
            return self.hosts[name]
        if self.default_address is None and _is_address(name):
            return name
        return self.default_address

    def texts_of(self, name: str) -> Sequence[str]:
        if self.lookup_txt is not None:
            return self.lookup_txt(name)
        return self.txt_records.get(name, [])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
