"""Who the client is when other proxies stand in front: the forwarded headers, read with suspicion.

Each proxy appends the address it saw to X-Forwarded-For, so the entries on the right were written
by proxies near to us and those on the left by whoever sent them. The only safe reading is from
right to left (RFC 7239 §8.1 says why): while the one who wrote an entry is trusted, the entry is
true; the first address that is not a trusted proxy is the client. An untrusted peer has written
all of it, so nothing of it counts and the peer is the client.

X-Forwarded-Proto is believed from a trusted peer when it is one of the four words that Uvicorn
knows, in lower case, once. X-Forwarded-Host, X-Forwarded-Port, X-Real-IP and Forwarded (RFC 7239)
are read from nobody: what the backend needs of them is in Host and in what we set ourselves.

Addresses come out in canonical form: IPv4-mapped IPv6 as IPv4, no zone, no port, no brackets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

MAX_ENTRIES: Final = 32
"""How many entries of X-Forwarded-For are looked at, empty ones included, from the right."""

MAX_CACHED: Final = 4096
"""How many peers' verdicts are remembered; past it all are forgotten, which costs microseconds."""

SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})

_MAX_ENTRY_CHARS: Final = 64  # "[" + the longest IPv6 text (45) + "]:" + five digits, and some


class TrustedProxies:
    """The networks whose forwarded headers are believed."""

    __slots__ = ("_networks", "_verdicts")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Take addresses and networks as text; raises ValueError naming a bad one."""
        self._networks = tuple(_network(text) for text in networks)
        self._verdicts: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<TrustedProxies {', '.join(map(str, self._networks)) or 'none'}>"

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether ``address`` (canonical text) is one of the trusted proxies."""
        if not self._networks:
            return False
        verdict = self._verdicts.get(address)
        if verdict is None:
            if len(self._verdicts) >= MAX_CACHED:
                self._verdicts.clear()
            parsed = parse_address(address)
            verdict = parsed is not None and any(
                parsed.version == network.version and parsed in network
                for network in self._networks
            )
            self._verdicts[address] = verdict
        return verdict

    def client_address(self, peer: str, forwarded_for: Sequence[bytes]) -> str:
        """The client's address, from the peer's and the values of its X-Forwarded-For lines."""
        if not forwarded_for or not self.trusts(peer):
            return peer
        client = peer
        # RFC 9110 §5.3: several lines are one list, in their order.
        joined = b",".join(forwarded_for)
        for entry in reversed(joined.rsplit(b",", MAX_ENTRIES)[-MAX_ENTRIES:]):
            entry = entry.strip(b" \t")
            if not entry:
                continue  # RFC 9110 §5.6.1.2: empty elements mean nothing
            address = _entry_address(entry)
            if address is None:
                break  # "unknown", "_hidden" or garbage: who is before it cannot be known
            client = address
            if not self.trusts(client):
                break
        return client

    def scheme(self, peer: str, forwarded_proto: Sequence[bytes], own: str) -> str:
        """The scheme the client used: a trusted peer's word, else ``own`` (that of this side)."""
        if len(forwarded_proto) != 1 or not self.trusts(peer):
            return own
        word = forwarded_proto[0].decode("latin-1")
        return word if word in SCHEMES else own


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address in canonical form, or None; the zone of a link-local one is dropped."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def canonical_address(text: str) -> str:
    """The canonical form of what the socket calls its peer; other text stays as it is."""
    address = parse_address(text)
    return text if address is None else str(address)


def _entry_address(entry: bytes) -> str | None:
    """The address in one X-Forwarded-For entry: bare, or with a port, or in brackets."""
    if len(entry) > _MAX_ENTRY_CHARS:
        return None
    text = entry.decode("latin-1")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not _is_port(rest)):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _is_port(":" + port):
            return None
    else:
        host = text
    # A zone names an interface of the sender: it means nothing here.
    address = None if "%" in host else parse_address(host)
    return None if address is None else str(address)


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[0] == ":" and 1 <= len(digits) <= 5 and digits.isascii() and digits.isdigit()


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"trusted proxy {text!r}: {error}; allowed: an IP address or network, as in 10.0.0.0/8"
        ) from error
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        # ::ffff:10.0.0.0/104 is how a dual-stack socket would see 10.0.0.0/8. (A shorter prefix
        # than 96 would leave host bits set, which is refused above.)
        return ipaddress.IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network
