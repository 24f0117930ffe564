"""TLS as real clients meet it: openssl s_client, and bytes that no client would send."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.backends import recording
from tests.e2e.clients import s_client
from tests.e2e.fronts import Front, Fronts
from tests.e2e.wire import Wire

GET = b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n"


@pytest.fixture
def any_front(fronts: Fronts) -> Front:
    """TLS does not know of engines."""
    return fronts.get("httptools")


def names_of(der: bytes) -> list[str]:
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.DNSName)


async def shown_to(front: Front, name: str) -> list[str]:
    async with await Wire.open(front.port, front.pki.client_context(), name) as wire:
        return names_of(wire.certificate)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("front.test", "front.test"),
        ("FRONT.Test", "front.test"),
        ("x.wild.test", "*.wild.test"),
        ("exact.wild.test", "exact.wild.test"),
    ],
)
async def test_the_name_chooses_the_certificate(any_front: Front, name: str, shown: str) -> None:
    assert await shown_to(any_front, name) == [shown]


@pytest.mark.parametrize("name", ["unknown.test", "a.b.wild.test", "wild.test", "front.test.evil"])
def test_an_unknown_name_gets_the_alert(any_front: Front, name: str) -> None:
    output = s_client(any_front.port, "-servername", name)
    assert "unrecognized name" in output
    assert "BEGIN CERTIFICATE" not in output


def test_no_name_gets_the_alert_without_a_default(any_front: Front) -> None:
    assert "unrecognized name" in s_client(any_front.port, "-noservername")


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_the_chain_verifies(any_front: Front, option: str, version: str) -> None:
    root = str(any_front.pki.root_file)
    output = s_client(
        any_front.port,
        *("-servername", "front.test", "-CAfile", root, "-verify_return_error", option),
        *("-verify_hostname", "front.test"),
    )
    assert "Verify return code: 0 (ok)" in output
    assert version in output
    assert "Secure Renegotiation IS supported" in output or version == "TLSv1.3"


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(any_front: Front, option: str) -> None:
    output = s_client(
        any_front.port, "-servername", "front.test", option, "-cipher", "ALL:@SECLEVEL=0"
    )
    assert "BEGIN CERTIFICATE" not in output
    assert "alert protocol version" in output


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA"])
def test_weak_suites_are_refused(any_front: Front, cipher: str) -> None:
    output = s_client(
        any_front.port, "-servername", "front.test", "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"
    )
    assert "alert handshake failure" in output


@pytest.mark.parametrize(
    ("first", "chosen"),
    [
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"),
        ("TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_aes_128_unless_the_client_has_no_aes_in_hardware(
    any_front: Front, first: str, chosen: str
) -> None:
    offered = f"{first}:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
    output = s_client(any_front.port, "-servername", "front.test", "-ciphersuites", offered)
    assert f"Cipher is {chosen}" in output


def test_renegotiation_is_refused(any_front: Front) -> None:
    output = s_client(
        any_front.port,
        "-servername",
        "front.test",
        "-tls1_2",
        "-legacy_renegotiation",
        send=b"R\n",
    )
    assert "no renegotiation" in output


def test_an_unknown_protocol_gets_the_alert(any_front: Front) -> None:
    output = s_client(any_front.port, "-servername", "front.test", "-alpn", "ftp")
    assert "no application protocol" in output
    output = s_client(any_front.port, "-servername", "front.test", "-alpn", "ftp,http/1.1")
    assert "ALPN protocol: http/1.1" in output


def test_a_session_resumes_at_its_own_site_only(any_front: Front, tmp_path: Path) -> None:
    """CVE-2025-23419: the session of one site says nothing about another."""
    for option in ("-tls1_2", "-tls1_3"):
        session = str(tmp_path / f"session{option}")
        # With -ign_eof it would wait for ever; a request with close lets the tickets arrive.
        request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        full = s_client(
            any_front.port,
            *("-servername", "front.test", option, "-sess_out", session, "-ign_eof"),
            send=request,
        )
        assert "New, TLSv1" in full
        again = s_client(any_front.port, "-servername", "front.test", option, "-sess_in", session)
        assert "Reused, TLSv1" in again
        elsewhere = s_client(
            any_front.port, "-servername", "script.test", option, "-sess_in", session
        )
        assert "New, TLSv1" in elsewhere, elsewhere


@pytest.mark.anyio
@pytest.mark.parametrize(
    "raw", [GET, b"POST /x HTTP/1.0\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_plain_http_on_the_https_port_is_told_so(any_front: Front, raw: bytes) -> None:
    async with await Wire.open(any_front.port) as wire:
        response = await wire.ask(raw)
        assert response.status == 400
        assert b"This port speaks HTTPS" in response.body
        assert response.get(b"connection") == b"close"
        assert await wire.read_to_end() == b""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "raw",
    [
        b"\0" * 100,
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x2e\x01\x03\x01" + b"\0" * 41,  # SSL 2's hello
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert first
        b"\x16\x03\x01\xff\xff" + b"\0" * 70_000,
        b"\xff" * 100_000,
    ],
)
async def test_garbage_ends_the_connection(any_front: Front, raw: bytes) -> None:
    async with await Wire.open(any_front.port) as wire:
        await wire.send(raw)
        got = await wire.read_to_end()
        # An alert at most.
        assert got == b"" or (got[0] == 0x15 and len(got) == 7)
    assert await shown_to(any_front, "front.test") == ["front.test"]


def client_hello(name: str) -> bytes:
    """One of the ssl module's, as a single record."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


class Relay(Wire):
    """Sends its first flight, the ClientHello, in another shape."""

    shape: Callable[[bytes], list[bytes]]
    _first = True

    async def _send_raw(self, data: bytes) -> None:
        if self._first and data:
            self._first = False
            for piece in self.shape(data):
                await super()._send_raw(piece)
        else:
            await super()._send_raw(data)


def bytes_of(record: bytes) -> list[bytes]:
    return [record[at : at + 1] for at in range(len(record))]


def records_of(record: bytes) -> list[bytes]:
    """The same handshake message in records of 10 bytes (RFC 8446 §5.1 allows it)."""
    content = record[5:]
    pieces = [content[at : at + 10] for at in range(0, len(content), 10)]
    return [record[:3] + struct.pack("!H", len(piece)) + piece for piece in pieces]


@pytest.mark.anyio
@pytest.mark.parametrize("shape", [bytes_of, records_of])
async def test_a_split_client_hello_is_put_together(
    any_front: Front, shape: Callable[[bytes], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "shape", staticmethod(shape), raising=False)
    async with (
        recording(any_front.backends.recording.number),
        await Relay.open(any_front.port, any_front.pki.client_context(), "front.test") as wire,
    ):
        assert (await wire.ask(GET)).status == 200


@pytest.mark.anyio
async def test_a_client_hello_that_never_ends_is_ended(fronts: Fronts) -> None:
    """After handshake_timeout, whether nothing comes or too little."""
    front = fronts.get("httptools", "tight")
    hello = client_hello("front.test")
    for raw in (b"", hello[:4], hello[:-1]):
        async with await Wire.open(front.port) as wire:
            await wire.send(raw)
            assert await wire.read_to_end() == b""
    # And one that ends, behind which nothing follows.
    async with await Wire.open(front.port) as wire:
        await wire.send(hello)
        assert (await wire.read_to_end()).startswith(b"\x16\x03\x03")


@pytest.mark.anyio
async def test_a_reset_in_the_handshake_harms_nobody(any_front: Front) -> None:
    hello = client_hello("front.test")
    for raw in (b"", hello[:20], hello):
        wire = await Wire.open(any_front.port)
        await wire.send(raw)
        wire.reset()
    assert await shown_to(any_front, "front.test") == ["front.test"]


@pytest.mark.anyio
async def test_the_end_is_announced(any_front: Front) -> None:
    """close_notify comes before FIN: a client can tell the end from a cut (RFC 8446 §6.1)."""
    async with (
        recording(any_front.backends.recording.number),
        await Wire.open(any_front.port, any_front.pki.client_context(), "front.test") as wire,
    ):
        response = await wire.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert response.status == 200
        assert await wire.read_to_end() == b""
        assert not wire.was_reset
