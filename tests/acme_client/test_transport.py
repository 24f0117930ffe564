"""HTTPS to a CA that is not trusted further than needed."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client import transport as transport_module
from acme_client.errors import IssuerUnreachable, ProtocolViolation, RequestError
from acme_client.transport import (
    MAX_BODY_BYTES,
    Transport,
    check_url,
    parse_retry_after,
)
from tests.acme_client.https_server import Connection, HttpsServer, Script, https_server
from tests.acme_client.support import DAY, HOUR, MINUTE, START
from tests.pebble import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpsServer]:
    with https_server(tmp_path, lambda connection, request: connection.answer(b"hello")) as found:
        yield found


@pytest.fixture
def transport(server: HttpsServer) -> Transport:
    return Transport(now=lambda: START, user_agent="test/1", ca_certificates=server.ca_file)


def test_an_answer(server: HttpsServer, transport: Transport) -> None:
    answer = transport.request("POST", server.url("/x"), data=b"payload", headers={"A": "b"})
    assert (answer.method, answer.status, answer.body) == ("POST", 200, b"hello")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"payload"
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"User-Agent: test/1\r\n" in head
    assert b"Accept-Encoding: identity" in head
    assert b"\r\nA: b" in head


def test_connections_are_kept(server: HttpsServer, transport: Transport) -> None:
    for _ in range(3):
        transport.request("GET", server.url())
    assert server.connections == 1


def test_errors_are_answers_too(server: HttpsServer, transport: Transport) -> None:
    server.script = lambda connection, request: connection.answer(b"no", 404)
    assert transport.request("GET", server.url()).status == 404


def test_a_netrc_is_not_consulted(
    server: HttpsServer, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    transport.request("GET", server.url())
    assert b"Authorization" not in server.requests[0]


def test_a_proxy_of_the_environment_is_used_unless_excepted(
    server: HttpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    through = Transport(now=lambda: START, user_agent="x", ca_certificates=server.ca_file)
    with pytest.raises(IssuerUnreachable) as caught:
        through.request("GET", server.url())
    assert not caught.value.connected
    monkeypatch.setenv("NO_PROXY", "localhost")
    past = Transport(now=lambda: START, user_agent="x", ca_certificates=server.ca_file)
    assert past.request("GET", server.url()).status == 200


def test_a_bundle_of_the_environment_is_used(
    server: HttpsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
    found = Transport(now=lambda: START, user_agent="x").request("GET", server.url())
    assert found.status == 200


# Where it does not go.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://ca.example/",
        "ftp://ca.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@ca.example/",
        "https://ca.example/\x00",
        "https://[::1/",
        "https://ca.example/" + "x" * 3000,
        "//ca.example/",
    ],
)
def test_only_proper_https_urls(url: str, transport: Transport) -> None:
    with pytest.raises(ProtocolViolation, match="is no https URL"):
        transport.request("GET", url)


@given(st.text())
def test_any_text_is_a_url_or_is_not(text: str) -> None:
    try:
        check_url(text)
    except ProtocolViolation:
        return
    assert text.lower().startswith("https://")


def redirect(target: str) -> Script:
    def script(connection: Connection, request: bytes) -> None:
        if b" /there " in request:
            connection.answer(b"arrived")
        else:
            connection.answer(b"", 302, f"Location: {target}")

    return script


def test_redirects_within_the_origin_are_followed(
    server: HttpsServer, transport: Transport
) -> None:
    server.script = redirect("/there")
    assert transport.request("GET", server.url()).body == b"arrived"


@pytest.mark.parametrize(
    "target",
    ["https://other.example/", "http://localhost/", "https://localhost/", "//127.0.0.1/there"],
)
def test_redirects_elsewhere_are_refused(
    server: HttpsServer, transport: Transport, target: str
) -> None:
    server.script = redirect(target)
    with pytest.raises(ProtocolViolation, match="another origin"):
        transport.request("GET", server.url())
    assert len(server.requests) == 1


def test_a_post_is_not_redirected(server: HttpsServer, transport: Transport) -> None:
    server.script = redirect("/there")
    assert transport.request("POST", server.url(), data=b"signed").status == 302
    assert len(server.requests) == 1


def test_redirects_in_a_circle_end(server: HttpsServer, transport: Transport) -> None:
    server.script = redirect("/again")
    with pytest.raises(ProtocolViolation, match="more than 3 times"):
        transport.request("GET", server.url())


def test_an_unknown_tls_certificate_is_refused(server: HttpsServer) -> None:
    stranger = Transport(now=lambda: START, user_agent="test")
    with pytest.raises(IssuerUnreachable, match="ca_certificates") as caught:
        stranger.request("GET", server.url())
    assert not caught.value.connected
    assert not server.requests


def test_a_missing_trust_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"ca_certificates: there is no file .*/none\.pem"):
        Transport(now=lambda: START, user_agent="x", ca_certificates=tmp_path / "none.pem")


# How much it takes.


def test_a_body_of_the_largest_size(server: HttpsServer, transport: Transport) -> None:
    server.script = lambda connection, request: connection.answer(b"x" * MAX_BODY_BYTES)
    assert len(transport.request("GET", server.url()).body) == MAX_BODY_BYTES


def test_a_larger_body_is_refused(server: HttpsServer, transport: Transport) -> None:
    server.script = lambda connection, request: connection.answer(b"x" * (MAX_BODY_BYTES + 1))
    with pytest.raises(ProtocolViolation, match="more than 65536 bytes"):
        transport.request("GET", server.url())


def test_an_endless_body_is_refused(server: HttpsServer, transport: Transport) -> None:
    def script(connection: Connection, request: bytes) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not connection.gone.is_set():
            connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")

    server.script = script
    with pytest.raises(ProtocolViolation, match="more than"):
        transport.request("GET", server.url())


def test_nothing_is_decompressed(server: HttpsServer, transport: Transport) -> None:
    bomb = gzip.compress(bytes(10**7))
    server.script = lambda connection, request: connection.answer(
        bomb, 200, "Content-Encoding: gzip"
    )
    assert transport.request("GET", server.url()).body == bomb


def test_a_body_that_drips_meets_the_deadline(
    server: HttpsServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: Connection, request: bytes) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not connection.gone.is_set():
            connection.send(b"x")
            connection.gone.wait(0.01)

    server.script = script
    monkeypatch.setattr(transport_module, "BODY_SECONDS", 0.05)
    with pytest.raises(IssuerUnreachable, match="did not finish") as caught:
        transport.request("GET", server.url())
    assert caught.value.connected


def test_no_answer_in_time(
    server: HttpsServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: Connection, request: bytes) -> None:
        connection.gone.wait()

    server.script = script
    monkeypatch.setattr(transport_module, "READ_SECONDS", 0.05)
    with pytest.raises(IssuerUnreachable, match="no answer within") as caught:
        transport.request("GET", server.url())
    assert caught.value.connected


def test_a_closed_port_was_never_connected() -> None:
    host = f"127.0.0.1:{free_port()}"
    transport = Transport(now=lambda: START, user_agent="test")
    with pytest.raises(IssuerUnreachable) as caught:
        transport.request("GET", f"https://{host}/")
    assert str(caught.value) == f"{host} cannot be reached: Connection refused"
    assert not caught.value.connected


def test_a_name_that_does_not_exist_was_never_connected() -> None:
    transport = Transport(now=lambda: START, user_agent="test")
    with pytest.raises(IssuerUnreachable, match=r"nowhere\.invalid") as caught:
        transport.request("GET", "https://nowhere.invalid/")
    assert "Errno" not in str(caught.value)
    assert not caught.value.connected


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"\x16"])
def test_a_broken_connection(server: HttpsServer, transport: Transport, sent: bytes) -> None:
    def script(connection: Connection, request: bytes) -> None:
        connection.send(sent)
        connection.sock.close()

    server.script = script
    with pytest.raises(IssuerUnreachable) as caught:
        transport.request("GET", server.url())
    assert caught.value.connected
    server.script = lambda connection, request: connection.answer(b"well again")
    assert transport.request("GET", server.url()).body == b"well again"


# Time.


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("0", timedelta(0)),
        (" 120 ", 2 * MINUTE),
        ("-5", None),
        ("1e3", None),
        ("9" * 400, 7 * DAY),
        ("99999999", 7 * DAY),
        (format_datetime(START + HOUR, usegmt=True), HOUR),
        (format_datetime(START - HOUR, usegmt=True), timedelta(0)),
        (format_datetime(START + 400 * DAY, usegmt=True), 7 * DAY),
        ("Sun, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after(value: str | None, wait: timedelta | None) -> None:
    assert parse_retry_after(value, None, START) == wait


def test_a_date_is_read_against_the_senders_clock() -> None:
    theirs = START + 300 * DAY
    date = format_datetime(theirs + MINUTE, usegmt=True)
    assert parse_retry_after(date, format_datetime(theirs, usegmt=True), START) == MINUTE


@given(st.text(), st.text())
def test_any_header_gives_a_bounded_wait(value: str, date: str) -> None:
    wait = parse_retry_after(value, date, START)
    assert wait is None or timedelta(0) <= wait <= 7 * DAY


def test_retry_after_reaches_the_answer(server: HttpsServer, transport: Transport) -> None:
    server.script = lambda connection, request: connection.answer(b"", 503, "Retry-After: 120")
    assert transport.request("GET", server.url()).retry_after == 2 * MINUTE


def dated(date: datetime) -> Script:
    header = f"Date: {format_datetime(date, usegmt=True)}"
    return lambda connection, request: connection.answer(b"", 200, header)


def test_a_clock_that_differs_is_told_once_an_hour(
    server: HttpsServer,
    transport: Transport,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    server.script = dated(START + 4 * MINUTE)
    transport.request("GET", server.url())
    assert not caplog.records
    assert transport.clock_skew == 4 * MINUTE
    server.script = dated(START - DAY)
    for _ in range(3):
        transport.request("GET", server.url())
    assert transport.clock_skew == -DAY
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "differs from the CA's by 86400 s" in caplog.text
    now[0] += 3601
    transport.request("GET", server.url())
    assert len(caplog.records) == 2


def test_a_date_that_is_none_says_nothing(server: HttpsServer, transport: Transport) -> None:
    server.script = lambda connection, request: connection.answer(b"", 200, "Date: yesterday")
    transport.request("GET", server.url())
    assert transport.clock_skew == timedelta(0)


def test_what_is_sent_is_in_no_log(
    server: HttpsServer, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    transport.request("POST", server.url("/order"), data=b"very-secret-jws")
    assert "/order" in caplog.text
    assert "very-secret" not in caplog.text
