"""An HTTPS server that answers with the bytes it is told to, for tests of the transport."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

Script = Callable[["Connection", bytes], None]
"""Called with each request's head and body; it sends what it likes."""


@dataclass(slots=True)
class Connection:
    """One connection, as a script sees it."""

    sock: ssl.SSLSocket
    gone: threading.Event

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"", status: int = 200, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
        self.send("\r\n".join(lines).encode() + body)


@dataclass(slots=True)
class HttpsServer:
    """A running server. ``requests`` holds what it was sent."""

    port: int
    ca_file: Path
    script: Script
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/") -> str:
        return f"https://localhost:{self.port}{path}"


@contextmanager
def https_server(folder: Path, script: Script) -> Iterator[HttpsServer]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpsServer(listener.getsockname()[1], folder / "ca.pem", script)
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            server.connections += 1
            thread = threading.Thread(target=_serve, args=(server, context, plain))
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        server.stopping.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def _serve(server: HttpsServer, context: ssl.SSLContext, plain: socket.socket) -> None:
    plain.settimeout(10)
    try:
        with context.wrap_socket(plain, server_side=True) as sock:
            while request := _read_request(sock, server.stopping):
                server.requests.append(request)
                server.script(Connection(sock, server.stopping), request)
    except OSError:
        return  # the client went away, or did not like our certificate
    finally:
        plain.close()


def _read_request(sock: ssl.SSLSocket, stopping: threading.Event) -> bytes:
    data = b""
    sock.settimeout(0.05)
    while b"\r\n\r\n" not in data:
        try:
            chunk = sock.recv(65536)
        except TimeoutError:
            if stopping.is_set():
                return b""
            continue
        if not chunk:
            return b""
        data += chunk
    sock.settimeout(10)
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body
