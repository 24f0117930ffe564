"""Clients that want more than they may: another site, no certificate, another's address, a port."""

from __future__ import annotations

import asyncio
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from proxy.proxy_protocol import Endpoint, build_1, build_2
from tests.e2e.backends import recording
from tests.e2e.clients import s_client
from tests.e2e.conftest import StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.programs import ReservedPort
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.wire import EndOfStream, Wire

REQUEST = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"


# -- client certificates -------------------------------------------------------------------------


class Members:
    """Two CAs for clients, and a certificate of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, tuple[str, str, str]] = {}
        for name in ("staff", "guests"):
            ca = trustme.CA()
            leaf = ca.issue_cert(f"{name}@example.test", common_name=name)
            ca.cert_pem.write_to_path(folder / f"{name}-ca.pem")
            leaf.private_key_pem.write_to_path(folder / f"{name}.key")
            leaf.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
            paths = (f"{name}-ca.pem", f"{name}.crt", f"{name}.key")
            self.files[name] = tuple(str(folder / path) for path in paths)  # type: ignore[assignment]

    def ca(self, name: str) -> str:
        return self.files[name][0]

    def options(self, name: str | None) -> tuple[str, ...]:
        """For ``openssl s_client``."""
        if name is None:
            return ()
        _, certificate, key = self.files[name]
        return "-cert", certificate, "-key", key


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(tmp_path)


@pytest.fixture
def guarded(
    start_vestibule: StartVestibule, pki: Pki, members: Members, backend_port: int
) -> Vestibule:
    """staff.test and guests.test ask for certificates of their own CA, open.test for none."""
    sites: list[Value] = [pki.site("open.test", f"127.0.0.1:{backend_port}")]
    for name in ("staff", "guests"):
        asked: Value = {"ca": members.ca(name)}
        sites.append(
            pki.site(f"{name}.test", f"127.0.0.1:{backend_port}", client_certificates=asked)
        )
    return start_vestibule({"sites": sites}).until_ready()


async def ask(proxy: Vestibule, members: Members, name: str, who: str | None, *options: str) -> str:
    """``openssl s_client`` with a request; what it showed."""
    return await asyncio.to_thread(
        s_client,
        proxy.https,
        *("-servername", name, "-ign_eof", *members.options(who), *options),
        send=REQUEST % name.encode(),
    )


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_client_certificate_is_asked_for_and_checked(
    guarded: Vestibule, members: Members, backend_port: int, version: str
) -> None:
    async with recording(backend_port) as backend:
        assert "200 OK" in await ask(guarded, members, "open.test", None, version)
        assert "200 OK" in await ask(guarded, members, "staff.test", "staff", version)
        assert len(backend.records) == 2
        for who in (None, "guests"):
            assert "200 OK" not in await ask(guarded, members, "staff.test", who, version)
        assert len(backend.records) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_resumption_does_not_stand_in_for_a_client_certificate(
    guarded: Vestibule, members: Members, backend_port: int, tmp_path: Path, version: str
) -> None:
    """CVE-2025-23419: a session of an open site, or of another CA's, opens no guarded one."""
    async with recording(backend_port) as backend:
        for name, who in (("open.test", None), ("guests.test", "guests")):
            session = str(tmp_path / f"{name}.session")
            shown = await ask(guarded, members, name, who, version, "-sess_out", session)
            assert "200 OK" in shown
            # It is a session that can be resumed where it came from.
            again = await ask(guarded, members, name, who, version, "-sess_in", session)
            assert "Reused, TLSv1" in again
            assert "200 OK" in again
            before = len(backend.records)
            for other in (None, "guests"):
                shown = await ask(
                    guarded, members, "staff.test", other, version, "-sess_in", session
                )
                assert "Reused, TLSv1" not in shown
                assert "200 OK" not in shown
            assert len(backend.records) == before


@pytest.mark.anyio
@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_host_header_does_not_lead_past_a_client_certificate(
    guarded: Vestibule, pki: Pki, backend_port: int, alpn: str
) -> None:
    """The certificate was asked for by SNI, so the request must be for that site: 421."""
    async with recording(backend_port) as backend:
        if alpn == "h2":
            status = await asyncio.to_thread(
                _curl_status, guarded, pki, "https://open.test", "staff.test"
            )
            assert status == "421"
        else:
            context = pki.client_context(alpn)
            async with await Wire.open(guarded.https, context, "open.test") as wire:
                assert (await wire.ask(REQUEST % b"staff.test")).status == 421
        assert backend.records == []


def _curl_status(proxy: Vestibule, pki: Pki, url: str, host: str) -> str:
    command = [
        *("curl", "--silent", "--http2", "--cacert", str(pki.root_file), "--noproxy", "*"),
        *("--connect-to", f"::127.0.0.1:{proxy.https}", "--header", f"Host: {host}"),
        *("--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "20", url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


# -- the PROXY protocol --------------------------------------------------------------------------

CLIENT = Endpoint("198.51.100.7", 4321)
SERVER = Endpoint("192.0.2.1", 443)


@pytest.fixture
def announced(start_vestibule: StartVestibule, pki: Pki, backend_port: int) -> Vestibule:
    """An HTTPS listener behind a balancer at 127.0.0.2."""
    ports = ReservedPort(), ReservedPort()
    config: dict[str, Value] = {
        "trusted_proxies": ["127.0.0.2"],
        "limits": {"handshake_timeout": 1.0, "header_timeout": 1.0},
        "sites": [pki.site("open.test", f"127.0.0.1:{backend_port}")],
    }
    config["listen"] = {
        "https": [str(ports[0])],
        "http": [str(ports[1])],
        "proxy_protocol": [str(ports[0])],
    }
    return start_vestibule(config, ports=ports).until_ready()


async def _dial(proxy: Vestibule, pki: Pki, source: str, header: bytes) -> bytes:
    """What comes for a request over TLS behind these first bytes; nothing when it was closed."""
    async with await Wire.open(proxy.https, source=source) as wire:
        try:
            await wire.send(header)
            await wire.start_tls(pki.client_context(), "open.test")
            await wire.send(REQUEST % b"open.test")
            return await wire.read_to_end()
        except (ssl.SSLError, ConnectionError, EndOfStream):
            return b""


@pytest.mark.anyio
async def test_only_a_trusted_peer_tells_who_the_client_is(
    announced: Vestibule, pki: Pki, backend_port: int
) -> None:
    headers = build_1(CLIENT, SERVER), build_2(CLIENT, SERVER, checksum=True)
    async with recording(backend_port) as backend:
        for header in headers:
            got = await _dial(announced, pki, "127.0.0.2", header)
            assert got.startswith(b"HTTP/1.1 200 ")
            assert backend.records[-1].get(b"x-forwarded-for") == b"198.51.100.7"
        for header in (*headers, b""):
            assert await _dial(announced, pki, "127.0.0.1", header) == b""
        for header in (b"", b"PROXY TCP4 a b 1 2\r\n", build_1(CLIENT, SERVER) * 2):
            assert await _dial(announced, pki, "127.0.0.2", header) == b""
        assert len(backend.records) == 2


@pytest.mark.anyio
async def test_a_proxy_header_that_does_not_come_is_not_waited_for(announced: Vestibule) -> None:
    async with await Wire.open(announced.https, source="127.0.0.2") as wire:
        await wire.send(b"PROXY TCP4 198.51")
        assert await wire.read_to_end() == b""


# -- what listens --------------------------------------------------------------------------------


def test_nothing_listens_but_what_the_configuration_names(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """Parent, workers and certificate manager: no port of their own, no admin interface."""
    proxy = start_vestibule(
        {"workers": 2, "sites": [pki.site("open.test", f"127.0.0.1:{backend_port}")]}
    ).until_ready()
    inodes: set[str] = set()
    for pid in (proxy.pid, *proxy.children):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    assert inodes
    assert {port for port, inode in _listening() if inode in inodes} == {proxy.https, proxy.http}


def _listening() -> Iterator[tuple[int, str]]:
    """Port and inode of every TCP socket that listens (proc(5), net/tcp)."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                yield (
                    struct.unpack("!H", bytes.fromhex(columns[1].rpartition(":")[2]))[0],
                    columns[9],
                )


@pytest.mark.anyio
async def test_a_handshake_without_a_request_is_let_go(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """And one whose certificate is refused by the client costs nobody else anything."""
    limits: Value = {"header_timeout": 1.0}
    proxy = start_vestibule(
        {"limits": limits, "sites": [pki.site("open.test", f"127.0.0.1:{backend_port}")]}
    ).until_ready()
    context = pki.client_context()
    stranger = ssl.create_default_context()
    async with recording(backend_port):
        for _ in range(20):
            with pytest.raises((ssl.SSLError, EndOfStream)):
                await Wire.open(proxy.https, stranger, "open.test")
        async with (
            await Wire.open(proxy.https, context, "open.test") as silent,
            await Wire.open(proxy.https, context, "open.test") as wire,
        ):
            assert (await wire.ask(REQUEST % b"open.test")).status == 200
            assert await silent.read_to_end() == b""
