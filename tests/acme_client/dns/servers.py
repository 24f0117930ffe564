"""DNS servers for tests: one made of a function, and a real BIND 9."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Handler = Callable[[dns.message.Message], dns.message.Message | None]

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="
KEY_NAME = "acme-key"


def free_port(*addresses: str) -> int:
    """A port that is free for UDP and TCP on all these addresses."""
    for _ in range(50):
        sockets: list[socket.socket] = []
        try:
            port = 0
            for address in addresses:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    sockets.append(found := socket.socket(socket.AF_INET, kind))
                    found.bind((address, port))
                    port = found.getsockname()[1]
            return port
        except OSError:
            continue
        finally:
            for found in sockets:
                found.close()
    raise RuntimeError("no free port found")


def zone(*lines: str, refuse: tuple[str, ...] = ()) -> Handler:
    """Answers from lines ``name kind value``; a name without any does not exist."""
    records: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        name, kind, value = line.split(" ", 2)
        records.setdefault((name, kind), []).append(value)

    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        question = query.question[0]
        name = question.name.to_text()
        kind = dns.rdatatype.to_text(question.rdtype)
        if name in refuse:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        for _ in range(20):
            if values := records.get((name, kind)):
                response.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, values))
                return response
            alias = records.get((name, "CNAME"))
            if alias is None or kind == "CNAME":
                break
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "CNAME", alias))
            name = alias[0]
        if not any(known == name for known, _ in records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for (apex, known), values in records.items():
            if known == "SOA" and (name == apex or name.endswith("." + apex)):
                response.authority.append(dns.rrset.from_text_list(apex, 60, "IN", known, values))
        return response

    return answer


class Listener(ABC):
    """UDP and TCP on one port; ``reply`` gives the answer to a message, None is silence."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        port = port or free_port(address)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, port))
        self._tcp = socket.create_server((address, port))
        self.address, self.port = address, port
        self._threads = [
            threading.Thread(target=self._serve_udp),
            threading.Thread(target=self._serve_tcp),
        ]

    @abstractmethod
    def reply(self, data: bytes, *, tcp: bool) -> bytes | None: ...

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Empty messages wake the threads up to end.
        self._udp.sendto(b"", (self.address, self.port))
        with socket.create_connection((self.address, self.port)) as last:
            send_tcp(last, b"")
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(4096)
            if not data:
                return
            if (answer := self.reply(data, tcp=False)) is not None:
                self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection:
                if not (data := receive_tcp(connection)):
                    return
                if (answer := self.reply(data, tcp=True)) is not None:
                    send_tcp(connection, answer)


def send_tcp(connection: socket.socket, message: bytes) -> None:
    connection.sendall(struct.pack("!H", len(message)) + message)


def receive_tcp(connection: socket.socket) -> bytes:
    (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
    return connection.recv(length, socket.MSG_WAITALL) if length else b""


class DnsServer(Listener):
    """What the handler gives for a query is the answer."""

    def __init__(self, handler: Handler, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(address, port)
        self.handler = handler
        self.asked: list[dns.message.Message] = []

    def reply(self, data: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        answer = self.handler(query)
        if answer is None:
            return None
        try:
            return answer.to_wire(max_size=65535 if tcp else 512)
        except dns.exception.TooBig:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
            return answer.to_wire()


class Relay(Listener):
    """Another address and port of a server on 127.0.0.1."""

    def __init__(self, address: str, port: int, target: int) -> None:
        super().__init__(address, port)
        self._target = target

    def reply(self, data: bytes, *, tcp: bool) -> bytes | None:
        where = ("127.0.0.1", self._target)
        if tcp:
            with socket.create_connection(where, timeout=10) as connection:
                send_tcp(connection, data)
                return receive_tcp(connection)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
            onward.settimeout(10)
            onward.sendto(data, where)
            return onward.recv(65535)


# -- BIND 9

NAMED = shutil.which("named", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

OPTIONS = """
options {{
    directory "{folder}";
    pid-file none;
    session-keyfile none;
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    notify {notify};
    empty-zones-enable no;
    allow-transfer {{ 127.0.0.0/8; }};
}};
controls {{ }};
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
"""

ZONE_FILE = """$TTL 60
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
{lines}
"""


class Bind:
    """A named on 127.0.0.1 with zones of its own."""

    def __init__(self, folder: Path, port: int, *, notify: str = "no") -> None:
        self.folder, self.port = folder, port
        folder.mkdir(parents=True, exist_ok=True)
        self._config = OPTIONS.format(
            folder=folder, port=port, notify=notify, key=KEY_NAME, secret=SECRET
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def primary(self, name: str, *lines: str, policy: str = "", extra: str = "") -> None:
        """A zone of its own; ``policy`` is the update-policy, without it updates are refused."""
        file = self.folder / f"{name}.zone"
        file.write_text(ZONE_FILE.format(lines="\n".join(lines)))
        update = f"update-policy {{ {policy} }};" if policy else ""
        self._config += f'zone "{name}" {{ type primary; file "{file}"; {update} {extra} }};\n'

    def secondary(self, name: str, primary_port: int) -> None:
        self._config += (
            f'zone "{name}" {{ type secondary; file "{self.folder / name}.copy"; '
            f"primaries {{ 127.0.0.1 port {primary_port}; }}; allow-notify {{ 127.0.0.1; }}; }};\n"
        )

    def start(self) -> None:
        assert NAMED is not None
        config = self.folder / "named.conf"
        config.write_text(self._config)
        self._process = subprocess.Popen(
            [NAMED, "-g", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        seen: list[bytes] = []
        for line in self._process.stderr:
            seen.append(line)
            if line.rstrip().endswith(b" running"):
                break
        else:
            self._process.wait()
            raise RuntimeError(b"".join(seen).decode("utf-8", "replace"))
        # Read on, or it would stop at a full pipe.
        self._reader = threading.Thread(target=_drain, args=(self._process.stderr,))
        self._reader.start()

    def stop(self) -> None:
        if self._process is None or self._reader is None:
            return
        self._process.terminate()
        self._process.wait(30)
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


def _drain(pipe: IO[bytes]) -> None:
    for _ in pipe:
        pass


@contextmanager
def running(*servers: Bind) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()
