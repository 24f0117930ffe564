"""Each challenge kind against servers that answer rightly and wrongly."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from acme_client.testing import AcmeCA, Challenge, Settings, Status
from acme_client.testing.fetch import abort
from acme_client.testing.jws import encode
from acme_client.testing.validation import ACME_IDENTIFIER
from tests.acme_client.testing.raw import RawClient, challenge_of
from tests.http_server import Answer, http_server


@pytest.fixture
def ca(make_acme_ca: Callable[..., AcmeCA]) -> AcmeCA:
    return make_acme_ca(Settings(validation_timeout=5))


def _validate(client: RawClient, name: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Order, answer, wait for the verdict: the authorization's status and the challenge."""
    wildcard = name.startswith("*.")
    order = client.order(name, **({"profile": "shortlived"} if name[0].isdigit() else {}))
    url = order.json()["authorizations"][0]
    assert client.answer(client.post(url).json(), kind).ok
    ca = client.ca
    ca.wait_for(lambda ca: ca.authorizations[-1].status is not Status.PENDING)
    authorization = client.post(url).json()
    assert authorization.get("wildcard", False) is wildcard
    return authorization["status"], challenge_of(authorization, kind)


def _prepare(client: RawClient, name: str, kind: str) -> Challenge:
    """Order, and give the challenge that will be answered next, with reuse switched on."""
    client.ca.settings.reuse_pending_authorizations = True
    client.order(name, **({"profile": "shortlived"} if name[0].isdigit() else {}))
    (challenge,) = [c for c in client.ca.authorizations[-1].challenges if c.kind == kind]
    return challenge


def _error(challenge: dict[str, Any]) -> tuple[str, str]:
    error = challenge["error"]
    return error["type"].rpartition(":")[2], error["detail"]


# -- http-01


class Site:
    """A web server whose answers are a function of host and path."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], Answer] = lambda host, path: (404, {}, b"")

    def respond(self, host: str, path: str) -> Answer:
        self.asked.append((host, path))
        return self.answer(host, path)


@pytest.fixture
def site(ca: AcmeCA) -> Iterator[Site]:
    site = Site()
    with http_server(site.respond) as port:
        ca.settings.http_port = port
        yield site


def _token(path: str) -> str:
    return path.removeprefix("/.well-known/acme-challenge/")


def test_http_01(ca: AcmeCA, client: RawClient, site: Site) -> None:
    thumbprint = ca.accounts[0].thumbprint
    site.answer = lambda host, path: (200, {}, f"{_token(path)}.{thumbprint}\n".encode())
    status, challenge = _validate(client, "a.example", "http-01")
    assert status == "valid"
    assert site.asked == [
        ("a.example", f"/.well-known/acme-challenge/{challenge['token']}"),
    ]


@pytest.mark.parametrize("name", ["192.0.2.1", "2001:db8::1"])
def test_http_01_for_an_address(ca: AcmeCA, client: RawClient, site: Site, name: str) -> None:
    thumbprint = ca.accounts[0].thumbprint
    site.answer = lambda host, path: (200, {}, f"{_token(path)}.{thumbprint}".encode())
    assert _validate(client, name, "http-01")[0] == "valid"
    assert site.asked[0][0] == (f"[{name}]" if ":" in name else name)


def test_http_01_follows_redirects(ca: AcmeCA, client: RawClient, site: Site) -> None:
    thumbprint = ca.accounts[0].thumbprint

    def answer(host: str, path: str) -> Answer:
        if host == "a.example":
            return 302, {"Location": f"http://b.example{path}?x=1"}, b""
        token = _token(path).partition("?")[0]
        return 200, {}, f"{token}.{thumbprint}".encode()

    site.answer = answer
    assert _validate(client, "a.example", "http-01")[0] == "valid"
    assert [host for host, _ in site.asked] == ["a.example", "b.example"]


def test_http_01_follows_redirects_to_https(
    ca: AcmeCA, client: RawClient, site: Site, tmp_path: Path
) -> None:
    thumbprint = ca.accounts[0].thumbprint
    site.answer = lambda host, path: (308, {"Location": f"https://{host}{path}"}, b"")
    secure = Site()
    secure.answer = lambda host, path: (200, {}, f"{_token(path)}.{thumbprint}".encode())
    with http_server(secure.respond, _tls_context(tmp_path, _self_signed("a.example"))) as port:
        ca.settings.tls_port = port
        assert _validate(client, "a.example", "http-01")[0] == "valid"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((404, {}, b"nothing"), "unauthorized", ": 404"),
        ((200, {}, b"wrong"), "unauthorized", "did not match this challenge"),
        ((200, {}, b"x" * 5000), "connection", "larger than 4096"),
        ((302, {"Location": "http://a.example/"}, b""), "connection", "Too many redirects"),
        ((302, {"Location": "http://a.example:8080/"}, b""), "connection", "Invalid port"),
        ((302, {"Location": "ftp://a.example/"}, b""), "connection", "Invalid protocol"),
    ],
)
def test_http_01_that_fails(
    client: RawClient, site: Site, answer: Answer, kind: str, words: str
) -> None:
    site.answer = lambda host, path: answer
    status, challenge = _validate(client, "a.example", "http-01")
    assert status == challenge["status"] == "invalid"
    assert _error(challenge)[0] == kind
    assert words in _error(challenge)[1]


def test_http_01_without_a_server(ca: AcmeCA, client: RawClient, free_port: int) -> None:
    ca.settings.http_port = free_port
    _, challenge = _validate(client, "a.example", "http-01")
    assert _error(challenge)[0] == "connection"


def test_names_that_do_not_exist(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.default_address = None
    _, challenge = _validate(client, "a.example", "http-01")
    assert _error(challenge) == ("dns", "DNS problem: NXDOMAIN looking up A for a.example")


def test_a_server_that_never_answers(ca: AcmeCA, client: RawClient) -> None:
    import socket

    ca.settings.validation_timeout = 0.05
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ca.settings.http_port = listener.getsockname()[1]
        _, challenge = _validate(client, "a.example", "http-01")
    assert _error(challenge) == ("connection", "no answer within 0.05 s")


def test_a_server_that_speaks_no_http(ca: AcmeCA, client: RawClient) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        ca.settings.http_port = listener.getsockname()[1]

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-x\r\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=speak)
        thread.start()
        _, challenge = _validate(client, "a.example", "http-01")
        thread.join()
    assert _error(challenge)[0] == "connection"


# -- tls-alpn-01


def _self_signed(
    *names: str, proof: bytes | None = None, critical: bool = True
) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "challenge")])
    now = datetime.now(UTC)
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if proof is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + proof), critical=critical
        )
    certificate = builder.sign(key, hashes.SHA256())
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _tls_context(
    folder: Path, identity: tuple[bytes, bytes], protocols: tuple[str, ...] = ()
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "identity.pem").write_bytes(b"".join(identity))
    context.load_cert_chain(folder / "identity.pem")
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@contextmanager
def _tls(context: ssl.SSLContext) -> Iterator[tuple[int, list[str | None]]]:
    """A TLS server that hangs up after the handshake; and the names it was asked for."""
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    started, stop = threading.Event(), asyncio.Event()
    found: list[int] = []
    loop = asyncio.new_event_loop()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            await abort(writer)

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
        found.append(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(10)
    try:
        yield found[0], names
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _digest(challenge: Challenge) -> bytes:
    return hashlib.sha256(challenge.key_authorization.encode()).digest()


@pytest.mark.parametrize(
    ("name", "server_name"),
    [
        ("a.example", "a.example"),
        ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
        ("2001:db8::1", "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_tls_alpn_01(
    ca: AcmeCA, client: RawClient, tmp_path: Path, name: str, server_name: str
) -> None:
    proof = _digest(_prepare(client, name, "tls-alpn-01"))
    context = _tls_context(tmp_path, _self_signed(name, proof=proof), ("acme-tls/1",))
    with _tls(context) as (port, asked):
        ca.settings.tls_port = port
        assert _validate(client, name, "tls-alpn-01")[0] == "valid"
    assert asked == [server_name]


@pytest.mark.parametrize(
    ("names", "proof", "critical", "words"),
    [
        (("b.example",), None, True, "no extension 1.3.6.1.5.5.7.1.31"),
        ((), b"?" * 32, True, "no extension 2.5.29.17"),
        (("b.example",), b"right", True, "names ['b.example'], not ['a.example']"),
        (("a.example", "b.example"), b"right", True, "not ['a.example']"),
        (("a.example",), b"?" * 32, True, "not that of this challenge"),
        (("a.example",), b"right", False, "not critical"),
    ],
)
def test_tls_alpn_01_with_a_wrong_certificate(
    ca: AcmeCA,
    client: RawClient,
    tmp_path: Path,
    names: tuple[str, ...],
    proof: bytes | None,
    critical: bool,
    words: str,
) -> None:
    right = _digest(_prepare(client, "a.example", "tls-alpn-01"))
    identity = _self_signed(*names, proof=right if proof == b"right" else proof, critical=critical)
    with _tls(_tls_context(tmp_path, identity, ("acme-tls/1",))) as (port, _):
        ca.settings.tls_port = port
        _, challenge = _validate(client, "a.example", "tls-alpn-01")
    kind, detail = _error(challenge)
    assert kind == "unauthorized"
    assert words in detail


def test_tls_alpn_01_without_the_protocol(ca: AcmeCA, client: RawClient, tmp_path: Path) -> None:
    with _tls(_tls_context(tmp_path, _self_signed("a.example"))) as (port, _):
        ca.settings.tls_port = port
        _, challenge = _validate(client, "a.example", "tls-alpn-01")
    assert "Cannot negotiate ALPN" in _error(challenge)[1]


def test_tls_alpn_01_without_tls(ca: AcmeCA, client: RawClient, site: Site, free_port: int) -> None:
    ca.settings.tls_port = ca.settings.http_port
    assert _error(_validate(client, "a.example", "tls-alpn-01")[1])[0] == "tls"
    ca.settings.tls_port = free_port
    assert _error(_validate(client, "b.example", "tls-alpn-01")[1])[0] == "connection"


# -- dns-01


@pytest.mark.parametrize("name", ["a.example", "*.a.example"])
def test_dns_01(ca: AcmeCA, client: RawClient, name: str) -> None:
    digest = encode(_digest(_prepare(client, name, "dns-01")))
    ca.settings.txt_records["_acme-challenge.a.example"] = ["old", digest]
    assert _validate(client, name, "dns-01")[0] == "valid"


def test_dns_01_that_fails(ca: AcmeCA, client: RawClient) -> None:
    _, challenge = _validate(client, "a.example", "dns-01")
    assert _error(challenge) == ("dns", "no TXT record found at _acme-challenge.a.example")
    ca.settings.txt_records["_acme-challenge.b.example"] = ["x", "y"]
    _, challenge = _validate(client, "b.example", "dns-01")
    assert _error(challenge)[0] == "unauthorized"
    assert "'x' (and 1 more)" in _error(challenge)[1]

    def broken(name: str) -> list[str]:
        raise LookupError("SERVFAIL")

    ca.settings.lookup_txt = broken
    _, challenge = _validate(client, "c.example", "dns-01")
    assert _error(challenge)[0] == "dns"
    assert "SERVFAIL" in _error(challenge)[1]


# -- dns-persist-01


def test_dns_persist_01(ca: AcmeCA, client: RawClient) -> None:
    ca.settings.challenges = ("dns-persist-01",)
    record = f"ca.example; accounturi={client.account_url}; policy=wildcard"
    ca.settings.txt_records["_validation-persist.a.example"] = ["other.example", record]
    assert _validate(client, "a.example", "dns-persist-01")[0] == "valid"
    assert _validate(client, "*.a.example", "dns-persist-01")[0] == "valid"
    _, challenge = _validate(client, "b.example", "dns-persist-01")
    assert _error(challenge)[0] == "unauthorized"
