"""What is asked of the manager: a certificate for these names.

A request is one entry of the configuration. It may ask for several key types; each is a
certificate of its own, with its own id, schedule and folder in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from acme_client.challenges.kinds import CHALLENGE_KINDS, DNS_01, usable_kinds
from acme_client.challenges.solver import DnsSolver
from acme_client.errors import RequestError
from acme_client.keys import check_key_type
from acme_client.names import certificate_id, normalise

MAX_NAMES = 100
"""What Let's Encrypt allows in one certificate (25 under its newer profiles)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """A certificate that the manager shall keep fresh. Names are brought to canonical form."""

    names: tuple[str, ...]
    key_types: tuple[str, ...] = ("p256",)
    challenges: tuple[str, ...] = CHALLENGE_KINDS
    """The challenge kinds that may be answered, in order of preference."""
    dns: DnsSolver | None = field(default=None, repr=False, compare=False)
    """Answers DNS-01 for these names; without one that kind is not used."""
    issuers: tuple[str, ...] = ()
    """Names of the manager's issuers to use, in order; empty means all of them."""
    profile: str | None = None
    """The CA's certificate profile; None leaves it to the issuer."""
    preferred_chain: str | None = None
    """The common name of the root (or topmost issuer) that the chain should lead to."""

    def __post_init__(self) -> None:
        if not self.names:
            raise RequestError("a certificate needs at least one name")
        names = tuple(dict.fromkeys(map(normalise, self.names)))
        if len(names) > MAX_NAMES:
            raise RequestError(f"{names[0]}: {len(names)} names; a certificate holds {MAX_NAMES}")
        object.__setattr__(self, "names", names)
        if not self.key_types or len(set(self.key_types)) != len(self.key_types):
            raise RequestError(f"{names[0]}: key types must be given, each once")
        for key_type in self.key_types:
            check_key_type(key_type)
        for kind in self.challenges:
            if kind not in CHALLENGE_KINDS:
                raise RequestError(
                    f"{names[0]}: challenge {kind!r}: allowed are {', '.join(CHALLENGE_KINDS)}"
                )

    @property
    def id(self) -> str:
        """Stable, safe as a file name, and the id of the first key type's certificate."""
        return certificate_id(self.names[0])

    @property
    def certificate_ids(self) -> tuple[str, ...]:
        """One id per key type, in their order; what a server loads for these names."""
        return tuple(map(self.certificate_id, self.key_types))

    def certificate_id(self, key_type: str) -> str:
        return self.id if key_type == self.key_types[0] else f"{self.id}+{key_type}"

    def challenge_kinds(self, name: str) -> tuple[str, ...]:
        """The kinds that may be tried for one of the names, in order of preference."""
        allowed = [kind for kind in self.challenges if kind != DNS_01 or self.dns is not None]
        return usable_kinds(name, allowed)
