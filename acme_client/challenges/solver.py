"""What answers a challenge: puts the answer where the CA will look, and takes it away again."""

from __future__ import annotations

from typing import Protocol


class DnsSolver(Protocol):
    """Answers DNS-01 (RFC 8555 §8.4).

    Both methods may be called several times for one domain with different values, at once: a
    certificate for ``example.com`` and ``*.example.com`` needs two TXT records at the same name.
    A record that is already there, or already gone, is no error.
    """

    async def present(self, domain: str, value: str) -> None:
        """Make ``_acme-challenge.<domain>`` hold a TXT record of this value.

        ``domain`` is the identifier in A-label form without any ``*.``. Returns when the zone's
        authoritative servers give the record out; raises what is wrong when they do not.
        """

    async def clean_up(self, domain: str, value: str) -> None:
        """Remove that record again."""
