"""The resources of ACME (RFC 8555 §7.1) as plain values.

``authority`` makes them from what the CA sends, after checking; everybody else reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from acme_client.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """RFC 8555 §7.1.1."""

    url: str
    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str
    key_change: str | None
    renewal_info: str | None
    terms_of_service: str | None = None
    external_account_required: bool = False
    profiles: Mapping[str, str] = field(default_factory=dict)
    """Certificate profiles by name, with a description (draft-ietf-acme-profiles)."""
    caa_identities: tuple[str, ...] = ()
    """What the CA calls itself in CAA records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """RFC 8555 §7.1.2, as far as we look at it."""

    url: str
    status: str
    contact: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """RFC 8555 §7.1.5."""

    kind: str
    url: str
    token: str
    status: str
    problem: Problem | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """RFC 8555 §7.1.4."""

    url: str
    name: str
    """The identifier, behind ``*.`` again when the authorisation is for a wildcard."""
    status: str
    challenges: tuple[Challenge, ...]
    retry_after: timedelta | None

    @property
    def domain(self) -> str:
        """The identifier as such."""
        return self.name.removeprefix("*.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """RFC 8555 §7.1.3."""

    url: str
    status: str
    names: tuple[str, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None
    expires: datetime | None
    problem: Problem | None
    retry_after: timedelta | None


@dataclass(frozen=True, slots=True)
class Download:
    """A chain, and where the CA has others that lead to another root (RFC 8555 §7.4.2)."""

    chain_pem: str
    alternates: tuple[str, ...]
