"""What answers challenges in the place of a proxy: two small servers that read the store."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

from acme_client.challenges.tls_alpn import ALPN_PROTOCOL
from acme_client.store.interface import Store
from acme_client.trial import secret_file

PREFIX = "/.well-known/acme-challenge/"


@contextmanager
def http_responder(store: Store) -> Iterator[int]:
    """Answer HTTP-01; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.path.removeprefix(PREFIX)
            answer = store.get_challenge("http-01", token)
            body = (answer or "nothing here").encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
