"""The CA over real HTTPS."""

from __future__ import annotations

import http.client
import itertools
import socket
import ssl
import threading

import pytest
import requests

from acme_client.testing import AcmeCA, CutBody, Delay, Disconnect, Pad, server_error
from acme_client.testing.responder import MAX_REQUEST_BYTES
from tests.acme_client.testing.raw import RawClient


@pytest.fixture
def client(ca: AcmeCA) -> RawClient:
    client = RawClient(ca, sockets=True)
    client.register()
    return client


def _tls(ca: AcmeCA) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(ca.trust_file))
    port = int(ca.base_url.rpartition(":")[2])
    return context.wrap_socket(
        socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname="localhost"
    )


def _read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def test_a_certificate_over_https(ca: AcmeCA, client: RawClient) -> None:
    assert client.issue("a.example").count(b"BEGIN") == 2
    client.session.close()


def test_connections_are_kept(ca: AcmeCA) -> None:
    context = ssl.create_default_context(cafile=str(ca.trust_file))
    connection = http.client.HTTPSConnection(ca.base_url[8:], context=context, timeout=10)
    connection.request("HEAD", "/new-nonce", headers={"User-Agent": "test"})
    first = connection.sock
    assert connection.getresponse().read() == b""
    connection.request("GET", "/directory", headers={"User-Agent": "test"})
    assert b"newNonce" in connection.getresponse().read()
    assert connection.sock is first
    connection.close()


def test_strangers_do_not_trust_it(ca: AcmeCA) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(ca.directory_url, timeout=10)


def test_many_clients_at_once(ca: AcmeCA) -> None:
    chains: list[bytes] = []

    def work(number: int) -> None:
        client = RawClient(ca, sockets=True)
        client.register()
        chains.append(client.issue(f"n{number}.example"))
        client.session.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(chains) == len(ca.certificates) == 8


def test_dropped_connections(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Disconnect(), at="newOrder")
    ca.faults.add(Disconnect(after=True), at="newOrder")
    for effect in (0, 1):
        with pytest.raises(requests.ConnectionError):
            client.order("a.example")
        assert len(ca.orders) == effect
    assert client.order("a.example").status_code == 201
    client.session.close()


def test_slow_answers_hold_up_nobody_else(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Delay(60), at="directory")
    with pytest.raises(requests.ReadTimeout):
        client.session.get(ca.directory_url, timeout=0.2)
    assert client.order("a.example").status_code == 201
    client.session.close()


def test_an_answer_that_breaks_off(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(CutBody(), at="directory")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get("/directory")
    client.session.close()


def test_a_huge_answer(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Pad(3 << 20), at="directory")
    answer = client.get("/directory")
    assert len(answer.content) > 3 << 20
    assert answer.json()["newNonce"]
    ca.faults.add(Pad(1 << 40), at="directory")
    with client.session.get(ca.directory_url, stream=True, timeout=10) as endless:
        assert int(endless.headers["Content-Length"]) > 1 << 40
        assert next(endless.iter_content(1 << 20))
    assert client.order("a.example").status_code == 201
    client.session.close()


def test_garbage_and_early_ends_harm_nobody(ca: AcmeCA, client: RawClient) -> None:
    port = int(ca.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"GET /directory HTTP/1.1\r\n\r\n")
        _read_all(plain)
    for data in (b"\x00\x01\x02\r\n\r\n", b"POST /new-order HTTP/1.1\r\nHost: x\r\n", b""):
        with _tls(ca) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
    assert client.order("a.example").status_code == 201
    client.session.close()


def test_a_request_that_is_too_large_is_cut(ca: AcmeCA, client: RawClient) -> None:
    with _tls(ca) as connection:
        head = f"POST /new-order HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n"
        pieces = itertools.repeat(b"x" * MAX_REQUEST_BYTES, 200)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            connection.sendall(b"".join([head.encode(), *pieces]))
    client.session.close()


def test_expect_100_continue(ca: AcmeCA) -> None:
    with _tls(ca) as connection:
        connection.sendall(
            b"POST /new-order HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nConnection: close\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert b" 415 " in _read_all(connection).partition(b"\r\n")[0]


def test_stopping_ends_open_connections_and_slow_answers(ca: AcmeCA) -> None:
    ca.faults.add(Delay(600), at="directory")
    with _tls(ca) as idle, _tls(ca) as waiting:
        waiting.sendall(b"GET /directory HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\n\r\n")
        ca.wait_for(lambda ca: ca.requests.count("directory") == 1)
        ca.stop()
        for connection in (idle, waiting):
            try:
                assert connection.recv(1) == b""
            except OSError:
                continue
    assert not ca.running


def test_down_and_up_again_on_the_same_port(ca: AcmeCA, client: RawClient) -> None:
    order = client.order("a.example")
    url = ca.directory_url
    ca.stop()
    with pytest.raises(requests.ConnectionError):
        client.get("/directory")
    ca.start()
    assert ca.directory_url == url
    assert client.post(order.headers["Location"]).json()["status"] == "pending"
    client.session.close()


def test_what_breaks_inside_is_told_at_the_end(ca: AcmeCA, client: RawClient) -> None:
    def broken(record: object) -> bool:
        raise ZeroDivisionError("the test's own condition")

    ca.faults.add(server_error(), when=broken)
    with pytest.raises(requests.ConnectionError):
        client.get("/directory")
    with pytest.raises(ZeroDivisionError):
        ca.stop()
    client.session.close()
