"""A client of Python's ``ssl``, joined to a :class:`TlsSession` in memory."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from proxy.tls.session import TlsSession


def client_context(
    root_pem: str,
    *,
    alpn: Sequence[str] = (),
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=root_pem)
    context.maximum_version = maximum
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class MemoryClient:
    """The client's end; what it sends and gets passes through :meth:`exchange`."""

    def __init__(
        self,
        context: ssl.SSLContext,
        server_name: str = "a.example.com",
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=server_name, session=session
        )
        self.established = False
        self.received = b""

    def progress(self) -> None:
        """Shake hands or read, as far as the bytes at hand allow."""
        try:
            self.tls.do_handshake()
            self.established = True
            while piece := self.tls.read(65536):
                self.received += piece
        except ssl.SSLWantReadError:
            return

    def exchange(self, session: TlsSession) -> bytes:
        """Pass bytes in both directions until both have nothing more to say."""
        plaintext = b""
        while True:
            self.progress()
            to_server = self.outgoing.read()
            if to_server:
                plaintext += session.receive(to_server)
            to_client = session.ciphertext_to_send()
            if to_client:
                self.incoming.write(to_client)
            if not to_server and not to_client:
                return plaintext


def connect(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    server_name: str = "a.example.com",
    session: ssl.SSLSession | None = None,
) -> tuple[TlsSession, MemoryClient]:
    """A session and a client that have shaken hands, tickets included."""
    ours = TlsSession(server)
    theirs = MemoryClient(client, server_name, session)
    assert theirs.exchange(ours) == b""
    assert ours.established
    return ours, theirs
