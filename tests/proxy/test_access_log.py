"""The access line."""

from __future__ import annotations

import pytest

from proxy.access_log import AccessLog, format_line
from tests.proxy.bench import Bench

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def line_of(bench: Bench, seconds: float = 0.0031) -> str:
    (exchange,) = bench.finished
    return format_line(exchange, exchange.started + seconds)


def test_a_forwarded_request() -> None:
    bench = Bench()
    bench.client(b"GET /items?a=b HTTP/1.1\r\nHost: front.test\r\n\r\n")
    bench.backend.says(OK)
    assert line_of(bench) == (
        '1.2.3.4:5678 - "GET /items?a=b HTTP/1.1" 200 OK 2B 3.1ms -> backend:80'
    )


def test_an_answer_of_our_own() -> None:
    bench = Bench(application=lambda exchange: exchange.respond(404, [], b"nothing"))
    bench.client(b"HEAD / HTTP/1.0\r\nHost: front.test\r\n\r\n")
    assert line_of(bench) == '1.2.3.4:5678 - "HEAD / HTTP/1.0" 404 Not Found 0B 3.1ms'


def test_a_client_that_left() -> None:
    bench = Bench()
    bench.client(b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n")
    bench.client_vanishes()
    assert '" 499 Client Closed Request 0B ' in line_of(bench)


@pytest.mark.parametrize("status", [b"200", b"299", b"599"])
def test_every_status_has_a_line(status: bytes) -> None:
    bench = Bench()
    bench.client(b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n")
    bench.backend.says(OK.replace(b"200 OK", status + b" X"))
    assert f'" {status.decode()}' in line_of(bench)


def test_a_target_cannot_forge_a_line() -> None:
    bench = Bench()
    bench.client(b'GET /"HTTP/1.1"200 HTTP/1.1\r\nHost: front.test\r\n\r\n')
    bench.backend.says(OK)
    line = line_of(bench)
    assert line.count('"') == 2
    assert '"GET /%22HTTP/1.1%22200 HTTP/1.1"' in line
    assert line.isprintable()


def test_it_is_called_with_each_finished_exchange() -> None:
    lines: list[str] = []
    bench = Bench()
    log = AccessLog(lines.append, lambda: bench.clock.now + 1)
    bench.client(b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n")
    bench.backend.says(OK)
    log(bench.finished[0])
    assert lines == ['1.2.3.4:5678 - "GET / HTTP/1.1" 200 OK 2B 1000.0ms -> backend:80']
