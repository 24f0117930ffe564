"""Binding: both families on one socket, all or nothing, and reasons a person can act on."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from proxy.config.addresses import TcpAddress
from proxy.errors import StartupError
from proxy.sockets import _reason, address_of, bind


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def connect(host: str, listening: socket.socket) -> None:
    socket.create_connection((host, address_of(listening).port)).close()


def test_listening_on_ports_the_system_chose() -> None:
    sockets = bind([TcpAddress("127.0.0.1", 0), TcpAddress("127.0.0.1", 0)], [])
    assert len(sockets.https) == 2
    assert sockets.http == ()
    ports = {address_of(listening).port for listening in sockets}
    assert len(ports) == 2
    assert 0 not in ports
    for listening in sockets:
        connect("127.0.0.1", listening)
        assert not listening.getblocking()
    sockets.close()


@needs_ipv6
def test_all_addresses_means_both_families() -> None:
    sockets = bind([TcpAddress("::", 0)], [])
    connect("127.0.0.1", sockets.https[0])
    connect("::1", sockets.https[0])
    sockets.close()


@needs_ipv6
def test_both_families_may_have_a_socket_each() -> None:
    first = bind([TcpAddress("::", 0)], [])
    port = address_of(first.https[0]).port
    first.close()
    sockets = bind([TcpAddress("::", port)], [TcpAddress("0.0.0.0", port)])
    connect("127.0.0.1", sockets.http[0])
    connect("::1", sockets.https[0])
    sockets.close()


def test_without_ipv6_all_addresses_are_those_of_ipv4(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = socket.socket

    class OnlyIPv4(real):  # type: ignore[misc,valid-type]
        def __init__(self, family: int = -1, *arguments: object, **options: object) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **options)

    monkeypatch.setattr(socket, "socket", OnlyIPv4)
    sockets = bind([TcpAddress("::", 0)], [])
    assert address_of(sockets.https[0]).host == "0.0.0.0"
    assert "This machine has no IPv6: listening on 0.0.0.0:0 instead of [::]:0" in caplog.text
    sockets.close()
    sockets = bind([TcpAddress("::1", 0), TcpAddress("127.0.0.1", 0)], [])
    assert [address_of(listening).host for listening in sockets.https] == ["127.0.0.1"]
    sockets.close()
    with pytest.raises(StartupError, match="not supported"):
        bind([TcpAddress("2001:db8::1", 0)], [])


def test_a_busy_port_is_named_with_its_holder_and_nothing_stays_bound() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        free = TcpAddress("127.0.0.1", 0)
        with pytest.raises(StartupError) as caught:
            bind([free], [TcpAddress("127.0.0.1", port)])
    message = str(caught.value)
    assert message.startswith(f"Port {port} is in use by ")
    assert message.endswith(f"(PID {os.getpid()}): cannot listen on 127.0.0.1:{port}")


def test_an_address_of_another_machine() -> None:
    with pytest.raises(StartupError, match="no interface of this machine has that address"):
        bind([TcpAddress("192.0.2.1", 0)], [])


def test_a_forbidden_port_says_how_to_be_allowed() -> None:
    error = OSError(errno.EACCES, "Permission denied")
    message = _reason(TcpAddress("::", 443), error)
    for way in ("`user`", "CAP_NET_BIND_SERVICE", "sysctl", "setcap", "--port"):
        assert way in message
