"""One request and its response: retries, back-pressure, deadlines, and what goes wrong."""

from __future__ import annotations

import json
import logging

import pytest

from proxy.errors import UpstreamTimeout, UpstreamUnavailable
from proxy.exchange import Exchange
from proxy.limits import Limits
from tests.proxy.bench import HOWS, Bench, How

GET = b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok"


def request(method: bytes = b"GET", *lines: bytes, body: bytes = b"", length: int = 0) -> bytes:
    size = length or len(body)
    framing = (b"Content-Length: %d" % size,) if size else ()
    head = (method + b" / HTTP/1.1", b"Host: front.test", *framing, *lines)
    return b"\r\n".join((*head, b"", body))


def status(bench: Bench) -> int:
    return int(bench.got[9:12])


def used(bench: Bench) -> Bench:
    """The bench with an idle upstream connection that has served one request."""
    bench.client(GET)
    bench.backend.says(OK)
    bench.take()
    bench.backend.transport.written.clear()
    return bench


# -- repeating ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
@pytest.mark.parametrize("end", ["closes", "resets"])
def test_an_idempotent_request_is_repeated_once_on_a_new_connection(
    method: bytes, end: str
) -> None:
    bench = used(Bench())
    bench.client(request(method))
    stale = bench.backend
    stale.closes() if end == "closes" else stale.resets()
    assert bench.pool.calls[-1] == "again"
    assert bench.backend is not stale
    assert bench.backend.got == stale.got
    assert "failed" not in bench.pool.calls, "an idle connection may end: that is no fault"
    bench.backend.says(OK[:-2] if method == b"HEAD" else OK)
    assert status(bench) == 200


def test_it_is_repeated_once_and_no_more() -> None:
    bench = used(Bench())
    bench.client(GET)
    bench.backend.closes()
    bench.backend.closes()
    assert status(bench) == 502
    assert len(bench.pool.backends) == 2
    assert bench.channel.is_open


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"get", b"PROPFIND"])
def test_other_methods_are_never_sent_twice(method: bytes) -> None:
    bench = used(Bench())
    bench.client(request(method))
    bench.backend.closes()
    assert status(bench) == 502
    assert len(bench.pool.backends) == 1


def test_a_request_whose_body_has_begun_is_never_sent_twice() -> None:
    bench = used(Bench())
    bench.client(request(b"PUT", body=b"1", length=2))
    bench.backend.closes()
    assert status(bench) == 502
    assert len(bench.pool.backends) == 1


@pytest.mark.parametrize("byte", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_request_is_not_repeated_after_a_byte_of_the_response(byte: bytes) -> None:
    bench = used(Bench())
    bench.client(GET)
    bench.backend.says(byte)
    bench.backend.closes()
    assert status(bench) == 502
    assert len(bench.pool.backends) == 1


def test_a_websocket_is_not_repeated() -> None:
    bench = used(Bench())
    bench.client(request(b"GET", b"Connection: upgrade", b"Upgrade: websocket"))
    bench.backend.closes()
    assert status(bench) == 502
    assert len(bench.pool.backends) == 1


def test_a_repeated_request_may_fail_for_want_of_a_connection() -> None:
    bench = used(Bench())
    bench.client(GET)
    bench.pool.holds = True
    bench.backend.closes()
    bench.pool.refuse(UpstreamUnavailable("nobody", 503))
    assert status(bench) == 503
    assert b"Retry-After: 1\r\n" in bench.got


# -- failing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamUnavailable("secret 10.0.0.1"), 502),
        (UpstreamUnavailable("secret 10.0.0.1", 503), 503),
        (UpstreamTimeout("secret 10.0.0.1"), 504),
    ],
)
@pytest.mark.parametrize("json_wanted", [True, False])
def test_pages_for_failures(
    error: UpstreamUnavailable | UpstreamTimeout, expected: int, json_wanted: bool
) -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(request(b"GET", *((b"Accept: application/json",) if json_wanted else ())))
    bench.pool.refuse(error)
    assert status(bench) == expected
    head, _, body = bench.got.partition(b"\r\n\r\n")
    assert b"secret" not in bench.got
    if json_wanted:
        assert b"Content-Type: application/json" in head
        assert set(json.loads(body)) == {"detail"}
    assert (b"Retry-After" in head) is (expected == 503)
    assert bench.channel.is_open
    assert bench.finished[-1].status == expected


def test_a_failure_is_logged_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.WARNING, "proxy.exchange"):
        bench.client(GET.replace(b"/ ", b"/a?token=secret ", 1))
        bench.backend.says(b"garbage\r\n\r\n")
    assert "GET front.test/a: 502: backend:80: " in caplog.text
    assert "secret" not in caplog.text


def test_no_answer_in_time_is_504() -> None:
    bench = Bench()
    bench.client(GET)
    bench.pass_time(59.5)
    assert bench.got == b""
    bench.pass_time(0.5)
    assert status(bench) == 504
    assert bench.backend.transport.aborted
    assert bench.channel.is_open


def test_hints_do_not_put_the_deadline_off() -> None:
    bench = Bench()
    bench.client(GET)
    for _ in range(6):
        bench.pass_time(9.9)
        bench.backend.says(b"HTTP/1.1 102 Processing\r\n\r\n")
    bench.take()
    bench.pass_time(0.7)
    assert status(bench) == 504


def test_a_begun_response_has_no_deadline() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(OK[:-1])
    bench.pass_time(100_000)
    bench.backend.says(b"k")
    assert bench.got == OK


@pytest.mark.parametrize("framing", [b"Content-Length: 0", b"Transfer-Encoding: chunked"])
def test_a_response_without_a_date_is_given_one(framing: bytes) -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    assert bench.got.count(b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n") == 1


def test_the_backends_own_date_goes_on() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(OK)
    assert bench.got == OK


# -- Expect ------------------------------------------------------------------------------------

EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("how", HOWS)
def test_continue_comes_from_us_once_there_is_a_backend(how: How) -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(request(b"PUT", EXPECT, length=2), how)
    assert bench.got == b""
    bench.pool.serve()
    assert bench.take() == CONTINUE
    assert b"Expect" not in bench.backend.got
    bench.client(b"ab", how)
    assert bench.backend.got.endswith(b"\r\n\r\nab")
    bench.backend.says(OK)
    assert bench.got == OK


def test_no_continue_when_the_body_is_coming_anyway() -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(request(b"PUT", EXPECT, body=b"a", length=2))
    bench.pool.serve()
    assert bench.got == b""


def test_no_continue_without_a_body_or_to_http_1_0() -> None:
    bench = Bench()
    bench.client(request(b"GET", EXPECT))
    assert bench.got == b""
    bench = Bench()
    bench.client(request(b"PUT", EXPECT, length=2).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert bench.got == b""


def test_continue_is_said_once_even_when_the_request_is_repeated() -> None:
    bench = used(Bench())
    bench.client(request(b"PUT", EXPECT, length=2))
    bench.backend.closes()
    assert len(bench.pool.backends) == 2
    assert bench.got == CONTINUE
    bench.client(b"ab")
    bench.backend.says(OK)
    assert bench.got == CONTINUE + OK


def test_a_refusal_in_place_of_continue_closes() -> None:
    bench = Bench(route_body_bytes=1)
    bench.client(request(b"PUT", EXPECT, length=2))
    assert status(bench) == 413
    assert bench.channel.closed

    bench = Bench(application=lambda exchange: exchange.refuse(404))
    bench.client(request(b"PUT", EXPECT, length=2))
    assert status(bench) == 404
    assert bench.channel.closed, "the body may or may not come"


# -- back-pressure -----------------------------------------------------------------------------


def test_a_slow_client_pauses_the_backend() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    bench.client_stops_reading()
    assert bench.backend.transport.is_paused()
    bench.client_reads()
    assert not bench.backend.transport.is_paused()


def test_a_client_that_was_slow_before_the_request_pauses_its_backend_too() -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(GET)
    bench.client_stops_reading()
    bench.pool.serve()
    assert bench.backend.transport.is_paused()


def test_a_slow_backend_pauses_the_client() -> None:
    bench = Bench()
    bench.client(request(b"PUT", length=1000))
    bench.backend.connection.pause_writing()
    assert bench.channel.is_paused()
    bench.backend.connection.resume_writing()
    assert not bench.channel.is_paused()


def test_a_backend_that_is_slow_from_the_first_keeps_the_client_paused() -> None:
    """What was held while there was no backend fills its socket at once."""
    bench = Bench()
    bench.pool.holds = True
    bench.client(request(b"PUT", length=1_000_000))
    bench.client(b"x" * 100_000)
    assert bench.channel.is_paused()
    waiter = bench.pool.waiters[0]
    assert isinstance(waiter, Exchange)
    bench.pool.on_new = lambda backend: setattr(
        backend.transport, "on_write", backend.connection.pause_writing
    )
    bench.pool.serve()
    assert bench.channel.is_paused()
    bench.backend.connection.resume_writing()
    assert not bench.channel.is_paused()


def test_a_backend_that_blocks_after_the_request_pauses_nobody() -> None:
    bench = Bench()
    bench.client(request(b"PUT", body=b"ab"))
    bench.backend.connection.pause_writing()
    assert not bench.channel.is_paused()


# -- stalls ------------------------------------------------------------------------------------


def test_a_body_that_stalls_is_408() -> None:
    bench = Bench()
    bench.client(request(b"PUT", length=10))
    for _ in range(3):
        bench.pass_time(29)
        bench.client(b"x")
        bench.pass_time(0)
    assert bench.got == b""
    bench.pass_time(31)
    assert status(bench) == 408
    assert bench.backend.transport.aborted
    assert bench.channel.closed


def test_a_body_that_stalls_after_the_response_began_resets() -> None:
    bench = Bench()
    bench.client(request(b"PUT", length=10))
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    bench.pass_time(0)
    bench.pass_time(31)
    assert bench.channel.aborted
    assert bench.backend.transport.aborted


def test_a_client_that_does_not_read_is_cut_off() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 5000)
    bench.client_stops_reading(unsent=5000)
    bench.pass_time(20)
    bench.channel.waiting = 4000
    bench.pass_time(20)
    bench.pass_time(20)
    assert bench.channel.is_open, "it reads slowly, but reads"
    bench.pass_time(11)
    assert bench.channel.aborted
    assert bench.backend.transport.aborted


def test_a_backend_that_stops_reading_the_request_is_504() -> None:
    bench = Bench()
    bench.client(request(b"PUT", body=b"x" * 10, length=100))
    bench.backend.connection.pause_writing()
    bench.pass_time(0)
    bench.pass_time(31)
    assert status(bench) == 504
    assert bench.channel.closed


def test_waiting_for_a_connection_is_no_stall() -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(request(b"PUT", length=10))
    bench.pass_time(31)
    assert bench.got == b""


def test_limits_in_time_can_be_moved() -> None:
    bench = Bench(limits=Limits(stall_timeout=5, upstream_response_timeout=7))
    bench.client(GET)
    bench.pass_time(6.5)
    assert bench.got == b""
    bench.pass_time(0.5)
    assert status(bench) == 504


# -- the client leaves -------------------------------------------------------------------------


def test_a_client_that_leaves_the_queue_withdraws() -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(GET)
    bench.client_vanishes()
    assert bench.pool.calls[-1] == "withdraw"
    assert bench.finished[-1].status == 499


def test_a_client_that_leaves_in_mid_response_keeps_its_status_in_the_log() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    bench.client_vanishes()
    assert [(e.status, e.sent) for e in bench.finished] == [(200, 3)]
    assert bench.backend.transport.aborted


def test_every_exchange_is_logged_once() -> None:
    bench = used(Bench())
    bench.client(GET)
    bench.backend.closes()
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    bench.backend.resets()
    bench.client_vanishes()
    assert [exchange.status for exchange in bench.finished] == [200, 200]


def test_an_answer_after_the_end_changes_nothing() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(OK)
    exchange = bench.finished[0]
    exchange.respond(500, [], b"late")
    exchange.refuse(500)
    exchange.client_gone()
    exchange.sweep(bench.clock.now + 1000)
    exchange.request_data(b"late")
    exchange.request_end()
    bench.http.flush()
    assert bench.got == OK
    assert len(bench.finished) == 1


# -- routes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "rewritten"), [(b"/api", b"/"), (b"/api/v1?a", b"/v1?a"), (b"/api?a", b"/?a")]
)
def test_a_stripped_prefix_is_told(target: bytes, rewritten: bytes) -> None:
    bench = Bench(prefix=b"/api", strip=True)
    bench.client(GET.replace(b"/ ", target + b" ", 1))
    assert bench.backend.got.startswith(b"GET " + rewritten + b" HTTP/1.1\r\n")
    assert bench.backend.got.count(b"X-Forwarded-Prefix: /api\r\n") == 1


def test_repr() -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(GET)
    waiter = bench.pool.waiters[0]
    assert repr(waiter) == "<Exchange <RequestHead b'GET' b'/' HTTP/1.1> waiting>"
