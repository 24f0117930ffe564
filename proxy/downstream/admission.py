"""Which connections are let in: a count in total and per client address (pure).

An IPv6 client counts by its /64, which is what one customer is given (RFC 6177); an IPv4 address
mapped into IPv6 counts as itself.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def bare_address(host: str) -> str:
    """The address as logs and headers show it: without zone, IPv4-mapped addresses unmapped."""
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    return host.partition("%")[0]


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

    def enter(self, address: str) -> str | None:
        """The key to leave with, or None when the connection is one too many."""
        if self.total >= self.limit:
            self.refused += 1
            return None
        key = counting_key(address)
        count = self._by_key.get(key, 0)
        if count >= self.limit_per_address:
            self.refused += 1
            return None
        self._by_key[key] = count + 1
        self.total += 1
        return key

    def leave(self, key: str) -> None:
        """A connection that had entered is gone."""
        self.total -= 1
        count = self._by_key[key] - 1
        if count:
            self._by_key[key] = count
        else:
            del self._by_key[key]
