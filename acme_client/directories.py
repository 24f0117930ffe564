"""The CAs that have a name, and what is known of their limits.

A limit that is not known is not invented: an order to such a CA is sent, and its answer obeyed.
Those of Let's Encrypt are as published (https://letsencrypt.org/docs/rate-limits/); each is a
bucket that refills steadily.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many in this time; the bucket refills by one every ``period / count``."""

    count: int
    period: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A CA's limits; None where it has or tells none."""

    orders: Limit | None = None
    """New orders of an account."""
    certificates: Limit | None = None
    """Certificates of a registered domain."""
    duplicates: Limit | None = None
    """Certificates of one exact set of names."""
    failures: Limit | None = None
    """Failed validations of a name."""
    accounts: Limit | None = None
    """New accounts of an IP address."""


NO_LIMITS = Limits()

OWN_PACE = Limit(100, timedelta(seconds=100))
"""What any CA is spared: one order a second, after a first burst for a hundred names."""

LETS_ENCRYPT = Limits(
    orders=Limit(300, timedelta(hours=3)),
    certificates=Limit(50, timedelta(days=7)),
    duplicates=Limit(5, timedelta(days=7)),
    failures=Limit(5, timedelta(hours=1)),
    accounts=Limit(10, timedelta(hours=3)),
)

LETS_ENCRYPT_STAGING = Limits(
    orders=Limit(1500, timedelta(hours=3)),
    certificates=Limit(30_000, timedelta(days=7)),
    duplicates=Limit(30_000, timedelta(days=7)),
    failures=Limit(200, timedelta(hours=1)),
    accounts=Limit(50, timedelta(hours=3)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDirectory:
    """A CA that the configuration can name."""

    url: str
    staging: str | None = None
    """The name of the directory to rehearse in."""
    limits: Limits = NO_LIMITS


DIRECTORIES = {
    "letsencrypt": NamedDirectory(
        url="https://acme-v02.api.letsencrypt.org/directory",
        staging="letsencrypt-staging",
        limits=LETS_ENCRYPT,
    ),
    "letsencrypt-staging": NamedDirectory(
        url="https://acme-staging-v02.api.letsencrypt.org/directory",
        limits=LETS_ENCRYPT_STAGING,
    ),
    "zerossl": NamedDirectory(url="https://acme.zerossl.com/v2/DV90"),
    "google": NamedDirectory(
        url="https://dv.acme-v02.api.pki.goog/directory", staging="google-staging"
    ),
    "google-staging": NamedDirectory(url="https://dv.acme-v02.test-api.pki.goog/directory"),
    "buypass": NamedDirectory(
        url="https://api.buypass.com/acme/directory", staging="buypass-staging"
    ),
    "buypass-staging": NamedDirectory(url="https://api.test4.buypass.no/acme/directory"),
}

DIRECTORY_NAMES = (*DIRECTORIES, INTERNAL)
