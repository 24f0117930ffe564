"""The backends: cheap enough that a proxy in front is what is measured.

An nginx with a fixed response of 12 bytes, files of 1 MiB and 1 GiB, and a place for uploads; and
for WebSocket a program that answers 101 and then sends back whatever comes, byte for byte. (A
tunnel does not look at frames, so neither need its backend.)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import cast

from benchmarks.processes import Program

MIB = 1024 * 1024

_NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/backend.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type text/plain;
  upstream self {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "hello world\\n"; }}
    location = /1m {{ root {folder}/files; }}
    location = /1g {{ root {folder}/files; }}
    # The whole body is read before the answer comes ('return' alone would answer at once).
    location = /upload {{
      proxy_pass http://self/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_pass_request_body off;
    }}
  }}
}}
"""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def start_http_backend(folder: Path, cores: frozenset[int]) -> tuple[Program, int]:
    """The nginx behind the proxies, and its port."""
    folder.mkdir()
    files = folder / "files"
    files.mkdir()
    (files / "1m").write_bytes(os.urandom(MIB))
    with (files / "1g").open("wb") as big:
        big.truncate(1024 * MIB)
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    config = folder / "backend.conf"
    config.write_text(_NGINX.format(user=user, folder=folder, port=port))
    nginx = shutil.which("nginx") or "nginx"
    return Program([nginx, "-c", str(config)], log=folder / "backend.log", cores=cores), port


def start_echo_backend(folder: Path, cores: frozenset[int]) -> tuple[Program, int]:
    """The WebSocket backend, and its port."""
    port = free_port()
    arguments = [sys.executable, "-m", "benchmarks.backend", str(port)]
    root = Path(__file__).resolve().parent.parent
    return Program(arguments, log=folder / "echo.log", cores=cores, folder=root), port


class _Echo(asyncio.Protocol):
    """Answers an upgrade with 101, then sends back what comes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._upgraded = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says without being one.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._upgraded:
            self._transport.write(data)
            return
        self._head += data
        if not self._head.endswith(b"\r\n\r\n"):
            return
        key = _field(bytes(self._head), b"sec-websocket-key")
        if key is None:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            self._head.clear()
            return
        # RFC 6455 §4.2.2
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self._upgraded = True


def _field(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return None


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
