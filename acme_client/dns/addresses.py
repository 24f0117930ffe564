"""Addresses of DNS servers, as people write them: host, or host and port. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from acme_client.errors import RequestError

DNS_PORT = 53


@dataclass(frozen=True, slots=True, order=True)
class ServerAddress:
    """An IP address and a port."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return host if self.port == DNS_PORT else f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int = DNS_PORT) -> ServerAddress:
        """Read ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` or ``[2001:db8::1]:5353``."""
        host, port = text.strip(), ""
        if host.startswith("["):
            host, bracket, rest = host[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise _unreadable(text)
            port = rest[1:] if rest else ""
            if rest == ":":
                raise _unreadable(text)
        elif host.count(":") == 1:
            host, _, port = host.partition(":")
            if not port:
                raise _unreadable(text)
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            # A name would have to be looked up in DNS, to learn which DNS server to ask.
            raise _unreadable(text) from None
        if not port:
            return cls(address, default_port)
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise _unreadable(text)
        return cls(address, int(port))


def _unreadable(text: str) -> RequestError:
    return RequestError(
        f"DNS server {text!r}: write an IP address, with or without a port, such as 192.0.2.1, "
        "192.0.2.1:5353 or [2001:db8::1]:5353"
    )
