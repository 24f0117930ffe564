"""Which connections are let in: a count in total and per client address (pure).

An IPv6 client counts by its /64, which is what one customer is given (RFC 6177); an IPv4 address
mapped into IPv6 counts as itself. A trusted proxy speaks for many clients, so its connections count
in total only; one that tells of its client by the PROXY protocol counts under that client's
address as soon as it has told.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

NOBODYS: Final = ""
"""The key of a connection that counts in total only."""


def counting_key(address: str) -> str:
    """What connections of this bare address are counted under."""
    if ":" not in address:
        return address
    network = int(IPv6Address(ip_address(address))) >> 64
    return f"{network:x}/64"


class Admission:
    """The counts of one worker."""

    __slots__ = ("_by_key", "limit", "limit_per_address", "refused", "total")

    def __init__(self, limit: int, limit_per_address: int) -> None:
        self.limit = limit
        self.limit_per_address = limit_per_address
        self.total = 0
        self.refused = 0
        self._by_key: dict[str, int] = {}

    def enter(self, address: str, *, for_many: bool = False) -> str | None:
        """The key to leave with, or None when the connection is one too many.

        Args:
            address: whose it is.
            for_many: of a trusted proxy.
        """
        if self.total >= self.limit:
            self.refused += 1
            return None
        key = NOBODYS if for_many else self._count(address)
        if key is not None:
            self.total += 1
        return key

    def announce(self, address: str) -> str | None:
        """A trusted proxy has told whose a connection is that has entered: the key from now on.

        None when that client has too many; the connection then leaves with the key that it had.
        """
        return self._count(address)

    def leave(self, key: str) -> None:
        """A connection that had entered is gone."""
        self.total -= 1
        if key == NOBODYS:
            return
        count = self._by_key[key] - 1
        if count:
            self._by_key[key] = count
        else:
            del self._by_key[key]

    def _count(self, address: str) -> str | None:
        key = counting_key(address)
        count = self._by_key.get(key, 0)
        if count >= self.limit_per_address:
            self.refused += 1
            return None
        self._by_key[key] = count + 1
        return key
