"""The client's side as an exchange sees it: who the client is, and how it is answered."""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.forwarded import TrustedProxies
from proxy.http.head import RequestFields, ResponseHead
from proxy.http.headers import END, Field, Trailers, connection_fields, field_lines
from proxy.routing import SiteRoutes
from proxy.upstream.pool import Pool


def bare_address(host: str) -> str:
    """The address as logs and headers show it: without zone, IPv4-mapped addresses unmapped."""
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    return host.partition("%")[0]


class ClientInfo:
    """What is known of the client and its connection, before any request.

    Attributes:
        address: the client's address, one bare IP.
        port: its port.
        scheme: ``https`` or ``http``.
        local_port: where it connected to.
        site: the site whose certificate was shown; None when that covers no site in particular.
        trusted: the proxies whose forwarded headers are believed, when the peer is one of them.
    """

    __slots__ = (
        "_forwarded",
        "_local_address",
        "_transport",
        "address",
        "local_port",
        "port",
        "scheme",
        "site",
        "trusted",
    )

    def __init__(
        self,
        address: str,
        port: int,
        scheme: str,
        local_address: str = "",
        local_port: int = 0,
        trusted: TrustedProxies | None = None,
        transport: asyncio.BaseTransport | None = None,
    ) -> None:
        self.address = address
        self.port = port
        self.scheme = scheme
        self._local_address = local_address
        self._transport = transport
        self.local_port = local_port
        self.site: SiteRoutes[Pool] | None = None
        self.trusted = trusted
        self._forwarded = b""

    @property
    def local_address(self) -> str:
        """Where it connected to; empty when that is not known.

        Asked of the transport when it is wanted: most connections need no such system call.
        """
        transport = self._transport
        if not self._local_address and transport is not None:
            local = transport.get_extra_info("sockname")
            if local:
                self._local_address = bare_address(local[0])
        return self._local_address

    @property
    def forwarded(self) -> bytes:
        """``forwarded_fields`` as lines, and the empty line behind them: the end of every head
        that goes on.

        Made with the first request: not every connection brings one.
        """
        known = self._forwarded
        if not known:
            known = self._forwarded = field_lines(self.forwarded_fields()) + END
        return known

    def forwarded_fields(self) -> list[Field]:
        """The forwarded headers that are the same for all its requests."""
        return connection_fields(client=self.address, scheme=self.scheme, port=self.local_port)

    def behind_proxy(self, fields: RequestFields) -> ClientInfo:
        """The client of one request, as a trusted proxy tells it."""
        trusted = self.trusted
        assert trusted is not None
        address = trusted.client_address(self.address, fields.get_all(b"x-forwarded-for"))
        scheme = trusted.scheme(self.address, fields.get_all(b"x-forwarded-proto"), self.scheme)
        port = self.port if address == self.address else 0
        info = ClientInfo(
            address, port, scheme, self._local_address, self.local_port, None, self._transport
        )
        info.site = self.site
        return info


class Downstream(Protocol):
    """The client's side of one exchange: an HTTP/1.1 connection or an HTTP/2 stream."""

    @property
    def info(self) -> ClientInfo: ...

    def send_informational(self, head: ResponseHead) -> None:
        """A 1xx other than 101 (RFC 9110 §15.2)."""
        ...

    def send_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        """A whole response that came at once: head, body and end; the exchange is over."""
        ...

    def send_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response's head. ``length`` as for ``framing_field``."""
        ...

    def send_data(self, data: bytes | memoryview) -> None:
        """A piece of the body; a memoryview is only valid until the next flush."""
        ...

    def send_end(self, trailers: Trailers = ()) -> None:
        """The response is complete; the exchange is over. Only HTTP/2 passes trailers on."""
        ...

    def send_local(
        self, status: int, reason: str, fields: list[tuple[bytes, bytes]], body: bytes, close: bool
    ) -> None:
        """A whole response of our own; the exchange is over."""
        ...

    def send_upgrade(self, head: ResponseHead) -> None:
        """The backend has switched protocols: from now on bytes pass through."""
        ...

    def send_continue(self) -> None:
        """The client may send its body (RFC 9110 §10.1.1)."""
        ...

    def send_tunnel_end(self) -> None:
        """The backend sends no more through the tunnel; the other direction may go on."""
        ...

    def reset(self) -> None:
        """The response cannot be completed; the exchange is over."""
        ...

    def pause_request(self) -> None:
        """No more body for now."""
        ...

    def resume_request(self) -> None: ...

    def unsent(self) -> int:
        """Bytes that wait for the client to read them."""
        ...

    def flush(self) -> None: ...
