"""The parts of proxy.tls together, over real sockets, against real clients.

The server here is the smallest that uses them as the product does: first bytes, index, ALPN,
session. It answers the first plaintext with what was agreed and closes.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from proxy.errors import ClientHelloError, TlsError
from proxy.tls.alerts import Alert, alert_record
from proxy.tls.client_hello import ClientHelloReader, PlainHttp, select_alpn
from proxy.tls.contexts import SiteContext, TlsOptions
from proxy.tls.index import CertificateIndex
from proxy.tls.pem_pair import PemPair
from proxy.tls.session import TlsSession
from tests.proxy.tls.certificates import Authority
from tests.proxy.tls.hellos import records
from tests.proxy.tls.memory_client import MemoryClient, client_context

pytestmark = pytest.mark.anyio

TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3
BOTH_VERSIONS = pytest.mark.parametrize("maximum", [TLS_1_2, TLS_1_3])


class Site:
    def __init__(self, label: str, pair: PemPair, options: TlsOptions) -> None:
        self.label = label
        self.context = SiteContext(options)
        self.context.install([pair])


class Connection(asyncio.Protocol):
    def __init__(self, index: CertificateIndex[Site]) -> None:
        self.index = index
        self.reader = ClientHelloReader()
        self.site: Site | None = None
        self.session: TlsSession | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.session is None:
            try:
                self.session = self.first_bytes(data)
            except ClientHelloError as error:
                self.transport.write(alert_record(error.alert))
                self.transport.close()
            if self.session is None:
                return
            data = bytes(self.reader.received)
        try:
            self.session_bytes(self.session, data)
        except TlsError as error:
            self.transport.write(error.to_send)
            self.transport.close()

    def first_bytes(self, data: bytes) -> TlsSession | None:
        hello = self.reader.receive(data)
        if hello is None:
            return None
        if isinstance(hello, PlainHttp):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.transport.close()
            return None
        self.site = self.index.lookup(hello.server_name)
        if self.site is None:
            raise ClientHelloError("unknown name", Alert.UNRECOGNIZED_NAME)
        select_alpn(hello, self.site.context.alpn)
        context = self.site.context.current
        assert context is not None
        return TlsSession(context)

    def session_bytes(self, session: TlsSession, data: bytes) -> None:
        assert self.site is not None
        plaintext = session.receive(data)
        if plaintext:
            resumed = "resumed" if session.resumed else "full"
            answer = f"{self.site.label} {session.version} {session.alpn} {resumed}\n"
            session.write(answer.encode())
            session.close()
        self.transport.write(session.ciphertext_to_send())
        if plaintext or session.peer_closed:
            self.transport.close()


@pytest.fixture
def index(authority: Authority) -> CertificateIndex[Site]:
    pair = authority.issue("a.example.com", "*.example.com", "localhost")
    options = TlsOptions(alpn=("h2", "http/1.1"))
    default = Site("default", pair, options)
    index = CertificateIndex(default=default)
    index.set(["a.example.com"], Site("exact", pair, options))
    index.set(["*.example.com"], Site("wildcard", pair, options))
    return index


@asynccontextmanager
async def serving(index: CertificateIndex[Site]) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(index), "127.0.0.1", 0)
    try:
        with anyio.fail_after(60):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


class PythonClient:
    """``ssl`` over asyncio's streams."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port = port
        self.context = context

    async def ask(self, server_name: str | None) -> str:
        """The server's answer."""
        self.context.check_hostname = server_name is not None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context, server_hostname=server_name or ""
        )
        writer.write(b"?")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.decode().strip()


@pytest.mark.parametrize(
    ("name", "label"),
    [("a.example.com", "exact"), ("b.example.com", "wildcard"), (None, "default")],
)
async def test_server_names(
    authority: Authority, index: CertificateIndex[Site], name: str | None, label: str
) -> None:
    async with serving(index) as port:
        client = PythonClient(port, client_context(authority.root_pem()))
        assert await client.ask(name) == f"{label} TLSv1.3 None full"


async def test_unknown_server_name(authority: Authority, index: CertificateIndex[Site]) -> None:
    async with serving(index) as port:
        client = PythonClient(port, client_context(authority.root_pem()))
        with pytest.raises(ssl.SSLError, match="unrecognized name"):
            await client.ask("a.b.example.com")


@BOTH_VERSIONS
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), (["x", "http/1.1"], "http/1.1")],
)
async def test_alpn(
    authority: Authority,
    index: CertificateIndex[Site],
    maximum: ssl.TLSVersion,
    offered: list[str],
    chosen: str,
) -> None:
    async with serving(index) as port:
        context = client_context(authority.root_pem(), alpn=offered, maximum=maximum)
        answer = await PythonClient(port, context).ask("a.example.com")
        assert answer.split()[2] == chosen


async def test_alpn_without_a_common_protocol(
    authority: Authority, index: CertificateIndex[Site]
) -> None:
    async with serving(index) as port:
        client = PythonClient(port, client_context(authority.root_pem(), alpn=["ftp", "imap"]))
        with pytest.raises(ssl.SSLError, match="no application protocol"):
            await client.ask("a.example.com")


def byte_by_byte(hello: bytes) -> list[bytes]:
    return [hello[i : i + 1] for i in range(len(hello))]


def three_records(hello: bytes) -> list[bytes]:
    return [records(hello[5:], 3, 100)]


def a_record_per_byte(hello: bytes) -> list[bytes]:
    return [records(hello[5:], *range(1, len(hello) - 5))]


@BOTH_VERSIONS
@pytest.mark.parametrize("split", [byte_by_byte, three_records, a_record_per_byte])
async def test_split_hello(
    authority: Authority,
    index: CertificateIndex[Site],
    maximum: ssl.TLSVersion,
    split: Callable[[bytes], list[bytes]],
) -> None:
    client = MemoryClient(client_context(authority.root_pem(), maximum=maximum))
    async with serving(index) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client.progress()
        for piece in split(client.outgoing.read()):
            writer.write(piece)
            await asyncio.sleep(0)  # lets the server have each piece by itself
        asked = False
        while data := await reader.read(65536):
            client.incoming.write(data)
            client.progress()
            if client.established and not asked:
                client.tls.write(b"?")
                asked = True
            writer.write(client.outgoing.read())
        writer.close()
        await writer.wait_closed()
    assert client.received.startswith(b"exact TLSv1.")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (b"\x00\x01garbage", alert_record(Alert.UNEXPECTED_MESSAGE)),
        (bytes.fromhex("802e0103000015000000"), alert_record(Alert.PROTOCOL_VERSION)),
        (b"\x16\x03\x01\xff\xff", alert_record(Alert.RECORD_OVERFLOW)),
    ],
)
async def test_first_bytes_that_are_no_hello(
    index: CertificateIndex[Site], sent: bytes, answer: bytes
) -> None:
    async with serving(index) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await reader.read() == answer
        writer.close()
        await writer.wait_closed()


class TestOpenSsl:
    """The ``openssl s_client`` command."""

    @pytest.fixture(autouse=True)
    def _is_installed(self) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl command")

    async def s_client(self, port: int, *options: str | Path, name: str = "a.example.com") -> str:
        """All that the command says when it sends a line and waits for the end."""
        arguments = ["-ign_eof", "-connect", f"127.0.0.1:{port}"]
        if name:
            arguments += ["-servername", name]
        done = await anyio.run_process(
            ["openssl", "s_client", *arguments, *map(str, options)],
            input=b"?\n",
            check=False,
            stderr=asyncio.subprocess.STDOUT,
        )
        return done.stdout.decode(errors="replace")

    @pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
    async def test_versions(
        self, authority: Authority, index: CertificateIndex[Site], tmp_path: Path, option: str
    ) -> None:
        root = tmp_path / "root.pem"
        root.write_text(authority.root_pem())
        async with serving(index) as port:
            output = await self.s_client(
                port, option, "-CAfile", root, "-verify_return_error", "-alpn", "http/1.1"
            )
        version = option[1:].replace("tls", "TLSv").replace("_", ".")
        assert "Verify return code: 0 (ok)" in output
        assert "ALPN protocol: http/1.1" in output
        assert "Compression: NONE" in output
        assert f"exact {version} http/1.1 full" in output
        assert "Server Temp Key: X25519" in output

    @pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
    async def test_old_versions(self, index: CertificateIndex[Site], option: str) -> None:
        async with serving(index) as port:
            output = await self.s_client(port, option, "-cipher", "ALL:@SECLEVEL=0")
        assert "alert protocol version" in output
        assert "exact" not in output

    @pytest.mark.parametrize(
        "suites",
        [
            "AES128-GCM-SHA256",  # RSA key exchange
            "AES256-SHA256",
            "DHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES128-SHA256",  # CBC
            "ECDHE-RSA-AES256-SHA384",
            "aNULL",
        ],
    )
    async def test_weak_suites(self, index: CertificateIndex[Site], suites: str) -> None:
        async with serving(index) as port:
            output = await self.s_client(port, "-tls1_2", "-cipher", f"{suites}:@SECLEVEL=0")
        assert "alert handshake failure" in output
        assert "exact" not in output

    async def test_renegotiation(self, index: CertificateIndex[Site]) -> None:
        async with serving(index) as port:
            process = await asyncio.create_subprocess_exec(
                "openssl",
                "s_client",
                *("-connect", f"127.0.0.1:{port}", "-servername", "a.example.com", "-tls1_2"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"R\n")
            output = b""
            while b"no renegotiation" not in output:
                piece = await process.stdout.read(4096)
                assert piece, output
                output += piece
            process.stdin.close()
            output += await process.stdout.read()
            await process.wait()
        assert b"RENEGOTIATING" in output
        assert b"exact" not in output

    async def test_no_server_name(self, index: CertificateIndex[Site]) -> None:
        async with serving(index) as port:
            assert "default TLS" in await self.s_client(port, "-noservername", name="")
            index.default = None
            output = await self.s_client(port, "-noservername", name="")
            assert "unrecognized name" in output

    @pytest.mark.parametrize(
        ("name", "result"),
        [
            ("A.EXAMPLE.COM", "exact TLS"),
            ("x.example.com", "wildcard TLS"),
            ("other.example.net", "unrecognized name"),
            ("example.com", "unrecognized name"),
            ("a.example.com.", "alert illegal parameter"),
            ("127.0.0.1", "alert illegal parameter"),
        ],
    )
    async def test_server_names(
        self, index: CertificateIndex[Site], name: str, result: str
    ) -> None:
        async with serving(index) as port:
            assert result in await self.s_client(port, name=name)

    async def test_alpn(self, index: CertificateIndex[Site]) -> None:
        async with serving(index) as port:
            output = await self.s_client(port, "-alpn", "ftp,smtp")
            assert "alert number 120" in output
            assert "h2 full" in await self.s_client(port, "-alpn", "ftp,http/1.1,h2")

    @pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
    async def test_resumption_stays_within_a_site(
        self, index: CertificateIndex[Site], tmp_path: Path, option: str
    ) -> None:
        saved = tmp_path / "session.pem"
        async with serving(index) as port:
            first = await self.s_client(port, option, "-sess_out", saved)
            assert "full" in first
            assert "resumed" in await self.s_client(port, option, "-sess_in", saved)
            output = await self.s_client(port, option, "-sess_in", saved, name="b.example.com")
            assert "wildcard" in output
            assert "full" in output

    async def test_key_updates(self, index: CertificateIndex[Site]) -> None:
        async with serving(index) as port:
            process = await asyncio.create_subprocess_exec(
                "openssl",
                "s_client",
                *("-connect", f"127.0.0.1:{port}", "-servername", "a.example.com", "-tls1_3"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert process.stdin is not None
            process.stdin.write(b"K\n")
            await process.stdin.drain()
            assert process.stdout is not None
            output = b""
            while b"KEYUPDATE" not in output:
                piece = await process.stdout.read(4096)
                assert piece, output
                output += piece
            process.stdin.write(b"?\n")
            await process.stdin.drain()
            while b"exact TLSv1.3" not in output:
                piece = await process.stdout.read(4096)
                assert piece, output
                output += piece
            process.stdin.close()
            await process.wait()
