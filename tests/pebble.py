"""A real Pebble (the ACME test server) and its challenge test server, for tests.

::

    @pytest.mark.pebble
    def test_something(pebble: PebbleFactory) -> None:
        server = pebble(http_port=8080, tls_port=8443, nonce_reject=50)
        ... server.directory, server.ca_file ...

Pebble validates against ``http_port`` and ``tls_port`` of 127.0.0.1, whatever the name: its DNS
server answers that address to everything that was not set otherwise. The binaries are looked for
in the folder ``PEBBLE_BIN`` and on PATH; without them a test is skipped, and says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import trustme

START_SECONDS = 60.0
"""Pebble makes several RSA keys before it listens."""
STOP_SECONDS = 10.0


def free_port() -> int:
    """A TCP port that is free now, on 127.0.0.1."""
    return _free_ports(1)[0]


def _free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def find_binary(name: str) -> str | None:
    folder = os.environ.get("PEBBLE_BIN")
    return shutil.which(name, path=folder) if folder else shutil.which(name)


@dataclass(slots=True)
class Pebble:
    """A running Pebble."""

    directory: str
    """The URL to give to an ACME client."""
    ca_file: Path
    """The certificate that Pebble's own HTTPS is verified with."""
    management: str
    """URL of Pebble's management interface (roots, intermediates)."""
    dns_management: str
    """URL of the challenge test server's management interface."""
    dns: str
    """host:port of the DNS server that Pebble asks."""
    http_port: int
    tls_port: int
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Pebble itself; it knows nothing of an earlier life, its CA keys included."""
        assert self.process is None
        with (self.folder / "pebble.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    _required("pebble"),
                    "-config",
                    str(self.folder / "pebble.json"),
                    "-dnsserver",
                    self.dns,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.options},
            )
        _wait_for(self.process, self.directory, self.ca_file, self.folder / "pebble.log")

    def stop(self) -> None:
        if self.process is not None:
            _stop(self.process)
            self.process = None

    def require(self, feature: str) -> None:
        """Skip the test unless this Pebble has ``ari`` (2.6) or ``profiles`` (2.7)."""
        with self._client() as client:
            document = client.get(self.directory).raise_for_status().json()
        found = {"ari": "renewalInfo" in document, "profiles": "profiles" in document["meta"]}
        if not found[feature]:
            pytest.skip(f"this Pebble is too old for {feature}")

    def root_pem(self, number: int = 0) -> str:
        """A root that this Pebble's certificates lead to."""
        return self._management(f"/roots/{number}")

    def revocation_status(self, serial: str) -> str:
        """``Valid`` or ``Revoked``; the serial number in hexadecimal."""
        document = json.loads(self._management(f"/cert-status-by-serial/{serial}"))
        status: str = document["Status"]
        return status

    def fail_dns(self, host: str) -> None:
        """Answer SERVFAIL for this name."""
        self._dns("/set-servfail", {"host": host})

    def mend_dns(self, host: str) -> None:
        self._dns("/clear-servfail", {"host": host})

    def set_txt(self, host: str, value: str) -> None:
        """``host`` with its final dot."""
        self._dns("/set-txt", {"host": host, "value": value})

    def clear_txt(self, host: str) -> None:
        self._dns("/clear-txt", {"host": host})

    def set_renewal_info(self, certificate_pem: str, window: Mapping[str, Any]) -> None:
        """Say what ARI shall answer for a certificate (Pebble 2.7 and later)."""
        document = {"certificate": certificate_pem, "ariResponse": json.dumps(window)}
        with self._client() as client:
            answer = client.post(f"{self.management}/set-renewal-info/", json=document)
        if answer.status_code == 404:
            pytest.skip("this Pebble is too old to be told what to answer to ARI")
        answer.raise_for_status()

    def log(self) -> str:
        return (self.folder / "pebble.log").read_text(errors="replace")

    def _management(self, path: str) -> str:
        with self._client() as client:
            return client.get(self.management + path).raise_for_status().text

    def _dns(self, path: str, document: Mapping[str, Any]) -> None:
        with httpx.Client(trust_env=False) as client:
            client.post(self.dns_management + path, json=document).raise_for_status()

    def _client(self) -> httpx.Client:
        return httpx.Client(verify=_context(self.ca_file), trust_env=False)


class PebbleFactory(Protocol):
    """See :func:`run_pebble` for the options."""

    def __call__(self, **options: Any) -> Pebble: ...


@contextmanager
def run_pebble(
    folder: Path,
    *,
    http_port: int,
    tls_port: int,
    nonce_reject: int = 0,
    sleep: bool = False,
    authz_reuse: int = 50,
    always_valid: bool = False,
    eab: Mapping[str, str] | None = None,
    alternate_roots: int = 0,
    chain_length: int = 1,
    validity_seconds: int | None = None,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
    dns: str | None = None,
    start: bool = True,
) -> Iterator[Pebble]:
    """Run Pebble and its challenge test server.

    ``nonce_reject`` and ``authz_reuse`` are percentages; ``sleep`` lets Pebble wait up to 15 s
    before it validates, as it does by default; ``eab`` maps key ids to HMAC keys, which are then
    required; ``profiles`` need Pebble 2.7; ``dns`` is a DNS server to ask in place of its own.
    """
    ca = trustme.CA()
    identity = ca.issue_cert("localhost", "127.0.0.1")
    ca.cert_pem.write_to_path(folder / "pebble-ca.pem")
    identity.cert_chain_pems[0].write_to_path(folder / "pebble.pem")
    identity.private_key_pem.write_to_path(folder / "pebble.key")
    port, management, own_dns, dns_management = _free_ports(4)
    config: dict[str, Any] = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "pebble.pem"),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": eab is not None,
        "externalAccountMACKeys": dict(eab or {}),
    }
    if validity_seconds is not None:
        config["certificateValidityPeriod"] = validity_seconds
        # Since 2.7 that is a profile's.
        described = {"description": "of the test", "validityPeriod": validity_seconds}
        profiles = profiles or {"default": described}
    if profiles is not None:
        config["profiles"] = profiles
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    server = Pebble(
        directory=f"https://localhost:{port}/dir",
        ca_file=folder / "pebble-ca.pem",
        management=f"https://localhost:{management}",
        dns_management=f"http://127.0.0.1:{dns_management}",
        dns=dns or f"127.0.0.1:{own_dns}",
        http_port=http_port,
        tls_port=tls_port,
        folder=folder,
        options={
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
            "PEBBLE_AUTHZREUSE": str(authz_reuse),
            "PEBBLE_VA_NOSLEEP": "0" if sleep else "1",
            "PEBBLE_VA_ALWAYS_VALID": "1" if always_valid else "0",
            "PEBBLE_ALTERNATE_ROOTS": str(alternate_roots),
            "PEBBLE_CHAIN_LENGTH": str(chain_length),
        },
    )
    with (folder / "challtestsrv.log").open("ab") as log:
        dns_server = subprocess.Popen(
            [
                _required("pebble-challtestsrv"),
                *("-management", f"127.0.0.1:{dns_management}"),
                *("-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
                *("-http01", "", "-https01", "", "-tlsalpn01", ""),
                *_dns_flags(f"127.0.0.1:{own_dns}"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(dns_server, f"{server.dns_management}/", None, folder / "challtestsrv.log")
        if start:
            server.start()
        yield server
    finally:
        server.stop()
        _stop(dns_server)


@pytest.fixture
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PebbleFactory]:
    """Start a Pebble with the options of ``run_pebble``; it ends with the test."""
    for name in ("pebble", "pebble-challtestsrv"):
        if find_binary(name) is None:
            pytest.skip(f"{name} is not installed (Debian: apt-get install pebble)")
    with ExitStack() as stack:

        def start(**options: Any) -> Pebble:
            folder = tmp_path_factory.mktemp("pebble")
            options.setdefault("http_port", free_port())
            options.setdefault("tls_port", free_port())
            return stack.enter_context(run_pebble(folder, **options))

        yield start


def _dns_flags(address: str) -> tuple[str, ...]:
    """What makes the challenge test server serve DNS here, and DNS over HTTPS nowhere.

    The flag for the former changed its name, the latter came later, and on a fixed port.
    """
    usage = subprocess.run(
        [_required("pebble-challtestsrv"), "-h"], capture_output=True, text=True, check=False
    )
    flags = usage.stderr + usage.stdout
    serve = "-dnsserver" if "-dnsserver" in flags else "-dns01"
    return (serve, address, *(("-doh", "") if "-doh" in flags else ()))


def _required(name: str) -> str:
    binary = find_binary(name)
    assert binary is not None, name
    return binary


def _wait_for(process: subprocess.Popen[bytes], url: str, ca_file: Path | None, log: Path) -> None:
    """Until the URL answers anything, the process ends, or the time is up."""
    deadline = time.monotonic() + START_SECONDS
    verify = _context(ca_file) if ca_file else False
    with httpx.Client(verify=verify, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                client.get(url)
                return
            except httpx.TransportError:
                time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")


def _context(ca_file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


__all__ = ["Pebble", "PebbleFactory", "find_binary", "free_port", "pebble"]
