"""The four proxies, each with the configuration that its users would write for this job.

Equal for all: one worker (one thread), the same certificate, TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2
to clients, HTTP/1.1 with kept connections to the backend, the client's address, scheme and host
in X-Forwarded headers. Where a default would close connections in the middle of a measurement
(nginx after 1,000 requests) or disconnect idle upstream connections (Caddy keeps 32), it is
raised, which favours the peer. nginx's temporary files are off, so that its disk is not measured.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backend import free_port
from benchmarks.certificates import Pair
from benchmarks.processes import Program

_START_SECONDS = 60.0
HOST = "localhost"


@dataclass(frozen=True, slots=True)
class Site:
    """A name and its certificate."""

    name: str
    pair: Pair


@dataclass(frozen=True, slots=True)
class Setup:
    """What a proxy is started with. The first site is the one that is measured."""

    folder: Path
    port: int
    backend_port: int
    sites: Sequence[Site]
    access_log: bool = False
    grpc: bool = False
    """The backend speaks HTTP/2 without TLS (h2c), and has no plain page to be asked for."""


class Peer(ABC):
    """One of the proxies."""

    name: str
    program: str

    @property
    def available(self) -> bool:
        return shutil.which(self.program) is not None

    @abstractmethod
    def arguments(self, setup: Setup) -> list[str]:
        """Write the configuration into the setup's folder; the command line that runs it."""

    def environment(self, setup: Setup) -> dict[str, str]:
        """What the program needs in its environment."""
        return {}


class Nginx(Peer):
    name = "nginx"
    program = "nginx"

    def arguments(self, setup: Setup) -> list[str]:
        folder = setup.folder
        log = f"access_log {folder}/access.log combined;" if setup.access_log else "access_log off;"
        servers = "\n".join(
            f"""  server {{
    listen 127.0.0.1:{setup.port} ssl http2{" backlog=4096" if number == 0 else ""};
    server_name {site.name};
    ssl_certificate {site.pair.chain};
    ssl_certificate_key {site.pair.key};
    location / {{ {"grpc_pass grpc" if setup.grpc else "proxy_pass http"}://backend; }}
  }}"""
            for number, site in enumerate(setup.sites)
        )
        config = folder / "nginx.conf"
        config.write_text(f"""\
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 1;
worker_rlimit_nofile 19000;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 18000; }}
http {{
  {log}
  sendfile on;
  tcp_nopush on;
  server_names_hash_max_size 65536;
  server_names_hash_bucket_size 128;
  ssl_protocols TLSv1.2 TLSv1.3;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  grpc_set_header X-Forwarded-For $remote_addr;
  grpc_set_header X-Forwarded-Proto $scheme;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  upstream backend {{
    server 127.0.0.1:{setup.backend_port};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_read_timeout 600s;
  proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port;
{servers}
}}
""")
        return [shutil.which("nginx") or "nginx", "-c", str(config)]


class HAProxy(Peer):
    name = "HAProxy"
    program = "haproxy"

    def arguments(self, setup: Setup) -> list[str]:
        certificates = setup.folder / "certificates.list"
        certificates.write_text("".join(f"{s.pair.both} {s.name}\n" for s in setup.sites))
        log = "  log stdout format raw local0 info\n" if setup.access_log else ""
        config = setup.folder / "haproxy.cfg"
        config.write_text(f"""\
global
  nbthread 1
  maxconn 9000
  ssl-default-bind-options ssl-min-ver TLSv1.2
{log}
defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s
  timeout tunnel 600s
  timeout http-keep-alive 600s
  http-reuse always
{"  log global" if log else ""}
{"  option httplog" if log else ""}

frontend https
  bind 127.0.0.1:{setup.port} ssl crt-list {certificates} alpn h2,http/1.1
  option forwardfor
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  default_backend app

backend app
  server app 127.0.0.1:{setup.backend_port}{" proto h2" if setup.grpc else ""}
""")
        return [shutil.which("haproxy") or "haproxy", "-db", "-f", str(config)]


class Caddy(Peer):
    name = "Caddy"
    program = "caddy"

    def arguments(self, setup: Setup) -> list[str]:
        log = "log {\n    output file " + str(setup.folder / "access.log") + "\n  }"
        sites = "\n".join(
            f"""https://{site.name}:{setup.port} {{
  bind 127.0.0.1
  tls {site.pair.chain} {site.pair.key}
  {log if setup.access_log else ""}
  reverse_proxy {"h2c://" if setup.grpc else ""}127.0.0.1:{setup.backend_port} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}"""
            for site in setup.sites
        )
        config = setup.folder / "Caddyfile"
        config.write_text(f"""\
{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2
  }}
  log {{
    output stderr
    level ERROR
  }}
}}
{sites}
""")
        caddy = shutil.which("caddy") or "caddy"
        return [caddy, "run", "--config", str(config), "--adapter", "caddyfile"]

    def environment(self, setup: Setup) -> dict[str, str]:
        folder = str(setup.folder)
        return {
            "GOMAXPROCS": "1",
            "HOME": folder,
            "XDG_DATA_HOME": folder,
            "XDG_CONFIG_HOME": folder,
        }


class Vestibule(Peer):
    name = "Vestibule"
    program = str(Path(sys.executable).with_name("vestibule"))

    def arguments(self, setup: Setup) -> list[str]:
        sites = "\n".join(
            f"""[[sites]]
names = ["{site.name}"]
upstreams = ["{"h2c://" if setup.grpc else ""}127.0.0.1:{setup.backend_port}"]
certificate = {{ chain = "{site.pair.chain}", key = "{site.pair.key}" }}
"""
            for site in setup.sites
        )
        config = setup.folder / "vestibule.toml"
        config.write_text(f"""\
storage = "file:{setup.folder}/state"
workers = 1

[listen]
https = ["127.0.0.1:{setup.port}"]
http = []

[log]
access = {"true" if setup.access_log else "false"}

{sites}""")
        return [self.program, "run", "--config", str(config)]


PEERS: tuple[Peer, ...] = (Vestibule(), Nginx(), HAProxy(), Caddy())


class PeerFailure(Exception):
    """A proxy did not start or did not answer as it must."""


@dataclass(frozen=True, slots=True)
class Running:
    """A started proxy."""

    peer: Peer
    program: Program
    setup: Setup
    start_seconds: float
    """From the start of the process to the first request answered."""

    @property
    def port(self) -> int:
        return self.setup.port

    def stop(self) -> None:
        self.program.stop()


def start(
    peer: Peer,
    folder: Path,
    cores: frozenset[int],
    backend_port: int,
    sites: Sequence[Site],
    *,
    access_log: bool = False,
    grpc: bool = False,
) -> Running:
    """Start a proxy and wait until it answers; raises PeerFailure."""
    folder.mkdir(parents=True)
    setup = Setup(folder, free_port(), backend_port, sites, access_log, grpc)
    arguments = peer.arguments(setup)
    begin = time.monotonic()
    program = Program(
        arguments,
        log=folder / "output.log",
        cores=cores,
        environment=peer.environment(setup),
        folder=folder,
    )
    try:
        while not answers(setup.port, sites[0].name, b"HTTP/1.1 " if grpc else b"HTTP/1.1 200 "):
            if not program.running:
                raise PeerFailure(f"{peer.name} ended at its start:\n{program.tail()}")
            if time.monotonic() - begin > _START_SECONDS:
                raise PeerFailure(f"{peer.name} does not answer:\n{program.tail()}")
            time.sleep(0.02)
    except BaseException:
        program.stop()
        raise
    return Running(peer, program, setup, time.monotonic() - begin)


def client_context(*protocols: str) -> ssl.SSLContext:
    """A client's context without verification: the client's own cost is not the question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def answers(port: int, name: str, expected: bytes) -> bool:
    """Whether a request gets a response that begins so."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            client_context("http/1.1").wrap_socket(plain, server_hostname=name) as secure,
        ):
            secure.sendall(b"GET / HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (name.encode(), port))
            return secure.recv(4096).startswith(expected)
    except OSError:
        return False
