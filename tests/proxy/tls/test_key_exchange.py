"""proxy.tls.key_exchange"""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess

import pytest

from proxy.errors import ClientHelloError
from proxy.tls.alerts import Alert
from proxy.tls.client_hello import ClientHello
from proxy.tls.key_exchange import refuse_finite_fields
from tests.proxy.tls.hellos import hello, read, real_hello, vector, versions

P256, P384, X25519, HYBRID, GREASE = 23, 24, 29, 0x11EC, 0x2A2A
FFDHE2048, FFDHE8192 = 0x0100, 0x0104


def groups(*numbers: int) -> bytes:
    return vector(struct.pack(f"!{len(numbers)}H", *numbers))


def shares(*numbers: int) -> bytes:
    entries = (struct.pack("!H", number) + vector(bytes(8)) for number in numbers)
    return vector(b"".join(entries))


@pytest.mark.parametrize(
    ("offered", "shared"),
    [
        (None, None),
        (groups(X25519, P256), shares(X25519)),
        (groups(X25519, P256), shares()),
        (groups(GREASE, HYBRID, X25519), shares(GREASE, HYBRID, X25519)),
        (groups(HYBRID), shares(HYBRID)),
        (groups(P256, FFDHE2048), shares(P256, FFDHE2048)),
        (groups(FFDHE2048, P384), shares()),
        (groups(), None),
        (groups(0xFF, 0x200), shares(0x200, 0xFF)),
    ],
)
def test_who_leaves_a_curve_is_served(offered: bytes | None, shared: bytes | None) -> None:
    refuse_finite_fields(offered, shared)


@pytest.mark.parametrize(
    ("offered", "shared"),
    [
        (groups(FFDHE8192), shares(FFDHE8192)),
        (groups(FFDHE8192), shares()),
        (groups(FFDHE2048), None),
        (groups(HYBRID, FFDHE8192), shares(HYBRID)),
        (groups(X25519, FFDHE8192), shares(FFDHE8192)),
        (groups(X25519, FFDHE8192), shares(FFDHE8192, X25519)),
        (groups(X25519, HYBRID, FFDHE8192), shares(HYBRID, FFDHE8192)),
        (groups(X25519, 0x01FF), shares(0x01FF)),
    ],
)
def test_who_leaves_only_finite_fields_is_refused(
    offered: bytes | None, shared: bytes | None
) -> None:
    with pytest.raises(ClientHelloError) as refused:
        refuse_finite_fields(offered, shared)
    assert refused.value.alert == Alert.HANDSHAKE_FAILURE


def test_a_cut_list_is_told() -> None:
    for offered, shared in ((b"", None), (None, vector(b"\x00"))):
        with pytest.raises(IndexError):
            refuse_finite_fields(offered, shared)


def test_hellos_are_looked_at() -> None:
    extensions = ((10, groups(FFDHE8192)), (51, shares(FFDHE8192)))
    result = read(hello(versions(0x0304), *extensions))
    assert isinstance(result, tuple)
    assert result[1] == Alert.HANDSHAKE_FAILURE
    # TLS 1.2 has no finite fields here, for there are no suites with them.
    assert isinstance(read(hello(versions(0x0303), *extensions)), ClientHello)
    assert isinstance(read(hello(versions(0x0304), (51, vector(b"\x00")))), tuple)


def test_real_clients_are_served() -> None:
    for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert isinstance(read(real_hello(maximum=maximum)), ClientHello)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize(("chosen", "served"), [("ffdhe8192", False), ("P-384:ffdhe2048", True)])
def test_what_openssl_sends(chosen: str, served: bool) -> None:
    """The first flight of s_client, caught by a socket that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-groups", chosen]
        client = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        connection, _ = server.accept()
        with connection:
            flight = connection.recv(65536)
        client.wait(20)
    assert isinstance(read(flight), ClientHello) is served
