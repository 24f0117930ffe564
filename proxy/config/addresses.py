"""Addresses as the configuration writes them: ``host:port``, ``[v6]:port``, ``unix:/path``.

``h2c://host:port`` is a backend that is spoken to in HTTP/2 without TLS, as gRPC servers are.

Reading one is pure: no name is resolved here, so a backend that is not in DNS yet is no fault of
the configuration. An upstream may be a host name (resolved when connecting, anew each time); an
address to listen on must be an IP literal, because a name could mean several or change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

MAX_PORT = 65535

# sun_path has 108 bytes on Linux, the closing NUL among them (unix(7)).
MAX_UNIX_PATH_BYTES = 107

# Underscores are no part of a DNS host name (RFC 952), but container networks use them.
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """``host:port``; an IPv6 host is held without its brackets."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.is_ipv6 else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """``unix:/path``, always an absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class H2cAddress:
    """``h2c://host:port``: HTTP/2 with prior knowledge, without TLS (RFC 9113 §3.3)."""

    tcp: TcpAddress

    def __str__(self) -> str:
        return f"{H2C}{self.tcp}"


H2C = "h2c://"

UpstreamAddress = TcpAddress | UnixAddress | H2cAddress


def parse_upstream(text: str) -> UpstreamAddress:
    """Read the address of a backend; ValueError says what is wrong and what is allowed."""
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith(H2C):
        return H2cAddress(_parse_tcp(text, text.removeprefix(H2C), "h2c://host:port"))
    if "://" in text:
        raise ValueError(
            f"{text!r} is a URL; write only host:port, such as 127.0.0.1:8000, or unix:/path"
            " (h2c://host:port for a gRPC server)"
        )
    return _parse_tcp(text, text, "host:port, [v6]:port, h2c://host:port or unix:/path")


def _parse_tcp(text: str, authority: str, allowed: str) -> TcpAddress:
    host, port = _split(authority, allowed, text)
    if port == 0:
        raise ValueError(f"{text!r} has port 0; a backend needs a port from 1 to {MAX_PORT}")
    if not _is_ip(host) and not _is_host_name(host):
        raise ValueError(f"{text!r}: {host!r} is neither an IP address nor a host name")
    return TcpAddress(host, port)


def parse_listen(text: str) -> TcpAddress:
    """Read an address to listen on; port 0 lets the system choose one."""
    allowed = "IP:port, such as [::]:443 (all addresses) or 127.0.0.1:8443"
    host, port = _split(text, allowed, text)
    if host == "localhost":
        raise ValueError(f"{text!r}: write 127.0.0.1:{port} or [::1]:{port} instead of localhost")
    if not _is_ip(host):
        raise ValueError(
            f"{text!r}: {host!r} is no IP address; to listen on all addresses write [::]:{port}"
        )
    return TcpAddress(host, port)


def _split(authority: str, allowed: str, text: str) -> tuple[str, int]:
    """Host and port of an authority, which is all of ``text`` or the end of it."""
    host, colon, digits = authority.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is no address; write {allowed}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host) or not isinstance(ip_address(host), IPv6Address):
            raise ValueError(f"{text!r}: only an IPv6 address stands in brackets")
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, such as [::1]:8000")
    # str.isdigit alone would let digits of other scripts pass.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 5 or int(digits) > MAX_PORT:
        raise ValueError(f"{text!r}: {digits!r} is no port; allowed are 0 to {MAX_PORT}")
    return host, int(digits)


def _parse_unix(text: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        raise ValueError(f"{text!r}: write a unix socket as unix:/path, with one slash")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{text!r}: the path of a unix socket must be absolute, as in unix:/path")
    if len(path.encode(errors="surrogateescape")) > MAX_UNIX_PATH_BYTES:
        raise ValueError(
            f"{text!r}: the path of a unix socket has at most {MAX_UNIX_PATH_BYTES} bytes"
        )
    return UnixAddress(path)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_host_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        return False
    # All digits in the last label is a mistyped IPv4 address (RFC 3696 §2).
    return not labels[-1].isdigit()
