"""What answers challenges in the place of a proxy: two small servers that read the store."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trustme

from acme_client.challenges.tls_alpn import ALPN_PROTOCOL
from acme_client.store.interface import Store
from acme_client.trial import secret_file
from tests.http_server import Answer, http_server

PREFIX = "/.well-known/acme-challenge/"


@contextmanager
def http_responder(store: Store) -> Iterator[int]:
    """Answer HTTP-01; yields the port."""

    def answer(host: str, target: str) -> Answer:
        found = store.get_challenge("http-01", target.removeprefix(PREFIX))
        return (404, {}, b"nothing here") if found is None else (200, {}, found.encode())

    with http_server(answer) as port:
        yield port


@contextmanager
def tls_alpn_responder(store: Store) -> Iterator[int]:
    """Answer TLS-ALPN-01; yields the port."""
    base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    base.set_alpn_protocols([ALPN_PROTOCOL])
    trustme.CA().issue_cert("nobody.invalid").configure_cert(base)

    def choose(sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        pem = store.get_challenge("tls-alpn-01", name or "")
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with secret_file(pem) as path:
                context.load_cert_chain(path)
            # OpenSSL asks the new context which protocol to choose.
            context.set_alpn_protocols([ALPN_PROTOCOL])
            sock.context = context

    base.sni_callback = choose
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                plain.settimeout(10)
                base.wrap_socket(plain, server_side=True).close()
            except OSError:
                continue  # the validator is done with us when it has seen the certificate
            finally:
                plain.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextmanager
def responders(store: Store) -> Iterator[tuple[int, int]]:
    """Both; yields the HTTP and the TLS port."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(http_responder(store)),
            stack.enter_context(tls_alpn_responder(store)),
        )
