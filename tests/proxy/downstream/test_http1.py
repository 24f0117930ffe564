"""Conversations on one client connection: fed whole, byte by byte, and pipelined."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.exchange import Exchange
from proxy.http.engine import EngineName
from proxy.http.websocket import GOING_AWAY
from proxy.limits import BUFFER_BYTES, DRAIN_BYTES, DRAIN_SECONDS, Limits
from tests.corpus.model import Closed, Forwarded, Refused, RequestCase, Seen
from tests.corpus.requests import REQUESTS
from tests.proxy.bench import ENGINES, HOWS, Bench, How

GET = b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok"


def post(body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = (b"POST / HTTP/1.1", b"Host: front.test", b"Content-Length: %d" % size, *lines)
    return b"\r\n".join((*head, b"", body))


def respond_hello(exchange: Exchange) -> None:
    exchange.respond(200, [(b"X-Path", exchange.head.target)], b"hello")


# -- requests as they reach the backend --------------------------------------------------------


def read_request(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes, bytes]:
    """One complete request off the front, read as simply as can be: only we write these."""
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, target, version = line.split(b" ")
    assert version == b"HTTP/1.1"
    fields = []
    for text in lines:
        name, colon, value = text.partition(b": ")
        assert colon
        fields.append((name.lower(), value))
    framing = [field for field in fields if field[0] in (b"content-length", b"transfer-encoding")]
    assert len(framing) <= 1
    body = b""
    if framing and framing[0][0] == b"content-length":
        size = int(framing[0][1])
        body, rest = rest[:size], rest[size:]
    elif framing:
        assert framing[0][1] == b"chunked"
        size = -1
        while size:
            digits, _, rest = rest.partition(b"\r\n")
            size = int(digits, 16)
            body += rest[:size]
            assert rest[size : size + 2] == b"\r\n"
            rest = rest[size + 2 :]
    return method, target, fields, body, rest


def complete(data: bytes) -> bool:
    """Whether the backend has a whole request."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return False
    length = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
    if length:
        return len(rest) >= int(length[1])
    return b"\r\nTransfer-Encoding:" not in head or rest.endswith(b"0\r\n\r\n")


class AnsweringBench(Bench):
    """Its backends answer each complete request when they are asked to, with the same 200."""

    seen: list[bytes]

    def answer(self) -> bool:
        for backend in self.pool.backends:
            if backend.is_open and complete(backend.got):
                self.seen.append(backend.got)
                head_only = backend.got.startswith(b"HEAD ")
                backend.transport.written.clear()
                backend.says(OK[:-2] if head_only else OK)
                return True
        return False

    def feed(self, data: bytes, how: How) -> None:
        self.seen = []
        self.client(data, how)
        while self.answer():
            pass


def check_seen(bench: AnsweringBench, wanted: tuple[Seen, ...], least: int | None) -> None:
    assert (least or len(wanted)) <= len(bench.seen) <= len(wanted)
    for data, seen in zip(bench.seen, wanted, strict=False):
        method, target, fields, body, rest = read_request(data)
        assert (method, target, body, rest) == (seen.method, seen.target, seen.body, b"")
        for name in {name for name, _ in seen.present}:
            values = [value for other, value in fields if other == name]
            assert values == [value for other, value in seen.present if other == name]
        for name in seen.named:
            assert len([other for other, _ in fields if other == name]) == 1
        names = {name for name, _ in fields}
        assert not names & set(seen.absent)
        head = data.partition(b"\r\n\r\n")[0]
        assert not any(text in head for text in seen.never)


def statuses(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5][0-9]{2}) ", data)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", HOWS)
def test_the_corpus_has_its_verdicts(engine: EngineName, how: How) -> None:
    for case in REQUESTS:
        if not (case.is_large and how == "bytes"):
            try:
                check_case(case, engine, how)
            except AssertionError as error:
                raise AssertionError(f"case {case.name!r}: {error}") from error


def check_case(case: RequestCase, engine: EngineName, how: How) -> None:
    bench = AnsweringBench(engine=engine)
    bench.feed(case.raw, how)
    last = case.verdict
    answered = 0
    if isinstance(case.verdict, Forwarded):
        check_seen(bench, case.verdict.seen, case.verdict.least)
        answered = len(bench.seen)
        assert statuses(bench.got)[:answered] == [200] * answered
        last = case.verdict.then or case.verdict
    else:
        assert bench.seen == []
    if isinstance(last, Refused):
        assert len(statuses(bench.got)) == answered + 1
        assert statuses(bench.got)[-1] in last.statuses
        if case.stage != "exchange":  # what the application refuses was well-formed
            assert not bench.channel.is_open
            assert b"Connection: close\r\n" in bench.got
    elif isinstance(last, Closed):
        bench.client_closes()
        assert not bench.channel.is_open
    assert bench.pool.waiters == []


# -- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_request_goes_on_and_its_response_comes_back(how: How) -> None:
    bench = Bench()
    bench.client(GET, how)
    assert bench.backend.got == (
        b"GET / HTTP/1.1\r\nHost: front.test\r\nX-Forwarded-Host: front.test\r\n"
        b"Via: 1.1 vestibule\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n\r\n"
    )
    bench.backend.says(OK, how)
    assert bench.got == OK
    assert bench.http.is_idle
    assert [(e.status, e.sent) for e in bench.finished] == [(200, 2)]


def test_a_response_that_comes_at_once_is_one_write() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(OK)
    assert bench.channel.writes == 1


@pytest.mark.parametrize("length", [8192, 8193])
@pytest.mark.parametrize("how", HOWS)
def test_the_limit_of_the_request_line_is_the_same_in_pieces(length: int, how: How) -> None:
    bench = Bench()
    line = b"GET /" + b"a" * (length - 14) + b" HTTP/1.1"
    assert len(line) == length
    bench.client(line + b"\r\nHost: front.test\r\n\r\n", how)
    if length == 8192:
        assert bench.backend.got
    else:
        assert statuses(bench.got) == [414]


@pytest.mark.parametrize("size", [32768, 32769])
@pytest.mark.parametrize("how", HOWS)
def test_the_limit_of_the_head_is_the_same_in_pieces(size: int, how: How) -> None:
    bench = Bench()
    head = GET[:-2] + (b"X: " + b"a" * 8000 + b"\r\n") * 4
    head += b"Y: " + b"a" * (size - len(head) - 7) + b"\r\n\r\n"
    assert len(head) == size
    bench.client(head, how)
    if size == 32768:
        assert bench.backend.got
    else:
        assert statuses(bench.got) == [431]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("before", [b"", GET])
def test_one_empty_line_before_a_request_is_forgiven(how: How, before: bytes) -> None:
    bench = Bench(application=respond_hello)
    bench.client(before + b"\r\n" + GET, how)
    assert statuses(bench.got) == [200] * (1 + bool(before))
    bench.client(b"\r\n\r\n" + GET, how)
    assert statuses(bench.got)[-1] == 400


def test_a_head_that_drips_gets_408() -> None:
    bench = Bench()
    for _ in range(9):
        bench.client(b"G" if not bench.got else b"E")
        bench.pass_time(1)
    assert bench.channel.is_open
    bench.pass_time(1)
    assert statuses(bench.got) == [408]
    assert bench.channel.closed


@pytest.mark.parametrize("silent", [b"", b"\r\n"])
def test_silence_closes_without_a_word(silent: bytes) -> None:
    bench = Bench()
    bench.client(silent)
    bench.pass_time(9.5)
    assert bench.channel.is_open
    bench.pass_time(0.5)
    assert bench.channel.closed
    assert bench.got == b""


def test_keep_alive_ends_after_its_time_and_a_begun_head_has_its_own() -> None:
    bench = Bench(application=respond_hello)
    bench.client(GET)
    bench.pass_time(59)
    assert bench.channel.is_open
    bench.pass_time(1)
    assert bench.channel.closed

    bench = Bench(application=respond_hello)
    bench.client(GET)
    bench.pass_time(30)
    bench.client(GET[:10])
    bench.pass_time(9.5)
    bench.client(GET[10:12])
    bench.pass_time(0.5)
    assert statuses(bench.got) == [200, 408]


def test_a_head_begun_at_the_end_of_keep_alive_has_no_more_than_that() -> None:
    bench = Bench(application=respond_hello)
    bench.client(GET)
    bench.pass_time(59)
    bench.client(GET[:10])
    bench.pass_time(1)
    assert statuses(bench.got) == [200, 408]


# -- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_chunked_body_is_framed_anew(how: How, engine: EngineName) -> None:
    bench = Bench(engine=engine)
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    bench.client(head + b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n", how)
    _, _, fields, body, rest = read_request(bench.backend.got)
    assert (body, rest) == (b"abcde", b"")
    assert (b"transfer-encoding", b"chunked") in fields
    assert b"X: y" not in bench.backend.got


def test_a_broken_body_gets_400_and_the_backend_is_dropped() -> None:
    bench = Bench()
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    bench.client(head + b"3\r\nabc\r\nx\r\n")
    assert statuses(bench.got) == [400]
    assert bench.backend.transport.aborted
    assert bench.channel.closed


def test_a_broken_body_after_the_response_began_resets() -> None:
    bench = Bench()
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    bench.client(head + b"3\r\nabc\r\n")
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    bench.client(b"x\r\n")
    assert bench.channel.aborted
    assert bench.backend.transport.aborted


def test_a_body_that_comes_while_there_is_no_backend_is_kept_within_bounds() -> None:
    bench = Bench()
    bench.pool.holds = True
    bench.client(post(b"", length=1_000_000))
    sent = 0
    while not bench.channel.is_paused():
        bench.client(b"x" * 10_000)
        sent += 10_000
        assert sent <= BUFFER_BYTES + 10_000
    bench.pool.serve()
    assert not bench.channel.is_paused()
    assert bench.backend.got.endswith(b"\r\n\r\n" + b"x" * sent)


@pytest.mark.parametrize("how", HOWS)
def test_an_early_response_to_a_small_body_saves_the_connection(how: How) -> None:
    bench = Bench()
    bench.client(post(b"12345", length=10))
    bench.backend.says(OK)
    assert bench.backend.transport.aborted, "the request on it was never complete"
    bench.client(b"67890" + GET, how)
    assert len(bench.pool.backends) == 2
    bench.backend.says(OK)
    assert bench.got == OK + OK
    assert bench.channel.is_open


def test_an_early_response_to_a_large_body_closes() -> None:
    bench = Bench()
    bench.client(post(b"12345", length=DRAIN_BYTES + 6))
    bench.backend.says(OK)
    assert bench.got == OK
    assert bench.channel.closed


def test_a_drained_chunked_body_is_bounded_in_bytes_and_time() -> None:
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    for drip in (True, False):
        bench = Bench(application=lambda exchange: exchange.refuse(404))
        bench.client(head)
        assert statuses(bench.got) == [404]
        if drip:
            bench.client(b"1\r\nx\r\n")
            bench.pass_time(DRAIN_SECONDS)
        else:
            for _ in range(8):
                bench.client(chunk)
        assert bench.channel.closed


def test_an_answer_on_the_spot_goes_out_before_a_flood_of_body_closes() -> None:
    bench = Bench(application=lambda exchange: exchange.refuse(404))
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    bench.client(head + b"20000\r\n" + b"x" * 0x20000)
    assert statuses(bench.got) == [404]
    assert bench.channel.closed


def test_a_broken_body_that_is_only_drained_leaves_the_response_whole() -> None:
    bench = Bench(application=lambda exchange: exchange.refuse(404))
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    bench.client(head + b"broken\r\n")
    assert statuses(bench.got) == [404]
    assert bench.channel.closed
    assert not bench.channel.aborted


def test_a_route_caps_its_bodies() -> None:
    bench = Bench(route_body_bytes=10)
    bench.client(post(b"", length=11))
    assert statuses(bench.got) == [413]
    assert bench.pool.backends == []

    bench = Bench(route_body_bytes=10)
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    bench.client(head + b"a\r\n0123456789\r\n")
    assert bench.got == b""
    bench.client(b"1\r\n0\r\n")
    assert statuses(bench.got) == [413]
    assert bench.backend.transport.aborted
    assert bench.channel.closed


# -- pipelining --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_pipelined_requests_are_answered_in_order(how: How) -> None:
    bench = Bench()
    targets = [b"/%d" % number for number in range(5)]
    bench.client(b"".join(GET.replace(b"/ ", target + b" ", 1) for target in targets), how)
    for target in targets:
        backend = bench.backend
        assert backend.got.startswith(b"GET " + target + b" ")
        backend.transport.written.clear()
        backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target)
    assert len(bench.pool.backends) == 1, "the connection is reused, one request at a time"
    assert re.findall(rb"\r\n\r\n(/[0-9])", bench.got) == targets


def test_thousands_of_pipelined_requests_answered_on_the_spot() -> None:
    bench = Bench(application=respond_hello)
    bench.client(GET * 5000)
    assert bench.got.count(b"hello") == 5000


def test_what_is_pipelined_behind_a_slow_response_is_bounded() -> None:
    bench = Bench()
    bench.client(GET)
    sent = 0
    while not bench.channel.is_paused():
        bench.client(GET * 100)
        sent += 100
        assert sent * len(GET) <= BUFFER_BYTES + 100 * len(GET)
    answered = 0
    while answered <= sent:
        bench.backend.transport.written.clear()
        bench.backend.says(OK)
        answered += 1
    assert statuses(bench.got) == [200] * (sent + 1)
    assert not bench.channel.is_paused()


def test_who_does_not_read_answers_is_not_read_from() -> None:
    bench = Bench(application=respond_hello)
    bench.client(GET)
    bench.client_stops_reading()
    bench.client(GET * 3)
    assert statuses(bench.got) == [200]
    assert bench.channel.is_paused()
    bench.client_reads()
    assert statuses(bench.got) == [200] * 4
    assert not bench.channel.is_paused()


def test_a_connection_that_reads_too_slowly_in_mid_pipeline_waits() -> None:
    bench = Bench()

    def answer_and_block(exchange: Exchange) -> None:
        respond_hello(exchange)
        bench.client_stops_reading()

    bench = Bench(application=answer_and_block)
    bench.client(GET * 3)
    assert statuses(bench.got) == [200]
    for count in (2, 3):
        bench.client_reads()
        assert statuses(bench.got) == [200] * count


# -- the end of a connection -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_head", "stays"),
    [
        (b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: front.test\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: front.test\r\nConnection: x, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: front.test\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: front.test\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: front.test\r\nConnection: keep-alive, close\r\n\r\n", False),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_persistence(request_head: bytes, stays: bool, local: bool) -> None:
    bench = Bench(application=respond_hello) if local else Bench()
    bench.client(request_head)
    if not local:
        bench.backend.says(OK)
    assert bench.channel.is_open is stays
    assert (b"Connection: close\r\n" in bench.got) is not stays
    keep_alive = b"Connection: keep-alive\r\n" in bench.got
    assert keep_alive is (stays and b"HTTP/1.0" in request_head)


def test_nothing_is_read_after_the_last_request() -> None:
    bench = Bench()
    bench.client(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET)
    bench.backend.says(OK)
    assert bench.channel.closed
    assert len(bench.pool.backends) == 1
    assert bench.pool.calls.count("acquire") == 1


@pytest.mark.parametrize("state", ["new", "head", "wait", "body", "drain", "idle"])
@pytest.mark.parametrize("how", ["closes", "vanishes"])
def test_the_client_leaves(state: str, how: str) -> None:
    bench = Bench(application=respond_hello) if state == "drain" else Bench()
    bench.client(
        {"new": b"", "head": GET[:9], "wait": GET, "idle": GET}.get(state, post(b"", length=9))
    )
    if state == "idle":
        bench.backend.says(OK)
    before = bench.got
    if how == "closes":
        bench.client_closes()
        assert bench.channel.closed
    else:
        bench.client_vanishes()
    assert bench.got == before
    assert bench.http.is_idle
    if state in ("wait", "body"):
        assert bench.backend.transport.aborted, "work that nobody waits for ends"
        assert bench.finished[-1].status == 499
    elif state == "idle":
        assert bench.backend.is_open
    bench.http.receive(GET)
    bench.http.sweep(bench.clock.now + 1000)
    assert bench.got == before


@pytest.mark.parametrize("how", HOWS)
def test_stop_between_requests_closes_at_once(how: How) -> None:
    bench = Bench()
    bench.http.stop()
    assert bench.channel.closed
    bench = Bench()
    bench.client(GET, how)
    bench.backend.says(OK, how)
    bench.http.stop()
    assert bench.channel.closed
    assert bench.got == OK


def test_an_old_connection_ends_with_its_next_response_which_says_so() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(OK)
    bench.take()
    bench.http.retire()
    assert bench.channel.is_open, "a request may be on its way"
    bench.client(GET)
    bench.backend.says(OK)
    assert b"\r\nConnection: close\r\n" in bench.got
    assert bench.channel.closed


def test_an_old_connection_whose_response_has_begun_may_ask_once_more() -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(OK[:-1])
    bench.http.retire()
    bench.backend.says(OK[-1:])
    assert bench.take() == OK
    assert bench.channel.is_open
    bench.client(GET)
    bench.backend.says(OK)
    assert b"\r\nConnection: close\r\n" in bench.got
    assert bench.channel.closed


def test_age_ends_no_tunnel() -> None:
    bench = Bench()
    bench.client(UPGRADE)
    bench.backend.says(SWITCH)
    bench.take()
    bench.http.retire()
    bench.backend.says(b"\x81\x02hi")
    assert bench.take() == b"\x81\x02hi"
    assert bench.channel.is_open


def test_a_method_that_is_refused_with_its_head_names_the_others() -> None:
    bench = Bench()
    bench.client(b"CONNECT front.test:443 HTTP/1.1\r\nHost: front.test:443\r\n\r\n")
    assert bench.got.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET, " in bench.got


def test_stop_with_only_an_empty_line_received_closes_at_once() -> None:
    bench = Bench()
    bench.client(b"\r\n")
    bench.http.stop()
    assert bench.channel.closed


@pytest.mark.parametrize("state", ["head", "wait", "body", "responding", "drain", "pipelined"])
def test_stop_lets_what_is_in_flight_finish(state: str) -> None:
    bench = Bench()
    request_bytes = {"body": post(b"1", length=2), "drain": post(b"1", length=2), "head": GET[:9]}
    bench.client(request_bytes.get(state, GET))
    if state == "pipelined":
        bench.client(GET)
    if state == "drain":
        bench.backend.says(OK)
    if state == "responding":
        bench.backend.says(OK[:-1])
    bench.http.stop()
    assert bench.channel.is_open
    if state == "head":
        bench.client(GET[9:])
    if state in ("body", "drain"):
        bench.client(b"2")
    if state != "drain":
        bench.backend.says(OK[-1:] if state == "responding" else OK)
    assert bench.channel.closed
    assert statuses(bench.got) == [200]
    if state not in ("responding", "drain"):
        assert b"Connection: close\r\n" in bench.got
    assert bench.pool.calls.count("acquire") == 1


# -- responses ---------------------------------------------------------------------------------


def test_http_1_0_gets_no_chunks_and_no_1xx() -> None:
    bench = Bench()
    bench.client(b"GET / HTTP/1.0\r\nHost: front.test\r\nConnection: keep-alive\r\n\r\n")
    bench.backend.says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    assert bench.got == b""
    bench.backend.says(b"HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n")
    bench.backend.says(b"5\r\nhello\r\n0\r\n\r\n")
    assert bench.got == b"HTTP/1.1 200 OK\r\nDate: then\r\nConnection: close\r\n\r\nhello"
    assert bench.channel.closed


def test_a_head_request_gets_no_page() -> None:
    bench = Bench(application=lambda exchange: exchange.refuse(404))
    bench.client(GET.replace(b"GET", b"HEAD"))
    head, _, body = bench.got.partition(b"\r\n\r\n")
    assert body == b""
    assert int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]) > 0
    assert bench.channel.is_open


@pytest.mark.parametrize("how", HOWS)
def test_server_sent_events_go_out_one_by_one(how: How) -> None:
    bench = Bench()
    bench.client(GET)
    bench.backend.says(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        how,
    )
    assert bench.take().endswith(b"Transfer-Encoding: chunked\r\n\r\n")
    for number in range(3):
        event = b"data: %d\n\n" % number
        bench.backend.says(b"%x\r\n%b\r\n" % (len(event), event))
        assert bench.take() == b"%x\r\n%b\r\n" % (len(event), event)
        bench.pass_time(3600)
        assert bench.channel.is_open
    bench.backend.says(b"0\r\n\r\n", how)
    assert bench.take() == b"0\r\n\r\n"


# -- WebSocket ---------------------------------------------------------------------------------

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: front.test\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: a\r\n\r\n"
)


def tunnel() -> Bench:
    bench = Bench()
    bench.client(UPGRADE)
    bench.backend.says(SWITCH)
    bench.take()
    bench.backend.transport.written.clear()
    return bench


@pytest.mark.parametrize("how", HOWS)
def test_a_websocket_is_tunnelled_after_the_101_and_not_a_byte_earlier(how: How) -> None:
    bench = Bench()
    bench.client(UPGRADE + b"early", how)
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in bench.backend.got
    assert bench.backend.got.endswith(b"\r\n\r\n")
    bench.backend.says(SWITCH + b"first", how)
    assert bench.got == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst"
    )
    assert bench.backend.got.endswith(b"\r\n\r\nearly")
    bench.client(b"\x00ping", how)
    assert bench.backend.got.endswith(b"early\x00ping")
    bench.take()
    bench.backend.says(b"\x00pong", how)
    assert bench.take() == b"\x00pong"


@pytest.mark.parametrize("how", HOWS)
def test_a_denied_websocket_is_a_response_like_any_other(how: How) -> None:
    bench = Bench()
    bench.client(UPGRADE, how)
    bench.client(GET, how)
    bench.backend.transport.written.clear()
    denial = b"HTTP/1.1 403 Forbidden\r\nDate: then\r\nContent-Length: 2\r\n\r\nno"
    bench.backend.says(denial, how)
    assert bench.got == denial
    assert bench.backend.got.startswith(b"GET / HTTP/1.1\r\n"), "what followed was a request"
    bench.backend.says(OK, how)
    assert bench.got == denial + OK


@pytest.mark.parametrize("how", HOWS)
def test_a_stop_before_the_101_says_goodbye_behind_it(how: How) -> None:
    bench = Bench()
    bench.client(UPGRADE)
    bench.http.stop()
    assert bench.take() == b""
    bench.backend.says(SWITCH + b"\x81\x02hi", how)
    assert bench.got.partition(b"\r\n\r\n")[2] == GOING_AWAY
    assert bench.channel.is_open, "the client's own Close ends it"


def test_bytes_before_the_101_are_bounded() -> None:
    bench = Bench()
    bench.client(UPGRADE)
    sent = 0
    while not bench.channel.is_paused():
        bench.client(b"x" * 10_000)
        sent += 10_000
        assert sent <= BUFFER_BYTES + 10_000
    bench.backend.says(SWITCH)
    assert not bench.channel.is_paused()
    assert bench.backend.got.endswith(b"x" * sent)


def test_a_tunnel_passes_half_closes_on_client_first() -> None:
    bench = tunnel()
    bench.client_closes()
    assert bench.backend.transport.eof
    assert bench.channel.is_open
    bench.backend.says(b"last words")
    assert bench.take() == b"last words"
    bench.backend.closes()
    assert bench.channel.eof
    assert bench.channel.closed
    assert bench.finished[-1].status == 101


def test_a_tunnel_passes_half_closes_on_backend_first() -> None:
    bench = tunnel()
    bench.backend.closes()
    assert bench.channel.eof
    assert bench.channel.is_open
    bench.client(b"last words")
    assert bench.backend.got == b"last words"
    bench.client_closes()
    assert bench.backend.transport.closed, "both directions are over"
    bench.backend.connection.connection_lost(None)
    assert bench.channel.closed
    assert bench.finished[-1].status == 101


def test_a_tunnel_ends_when_one_side_breaks() -> None:
    bench = tunnel()
    bench.backend.resets()
    assert bench.channel.closed
    bench = tunnel()
    bench.client_vanishes()
    assert bench.backend.transport.aborted


def test_a_tunnel_has_back_pressure_both_ways() -> None:
    bench = tunnel()
    bench.backend.connection.pause_writing()
    assert bench.channel.is_paused()
    bench.backend.connection.resume_writing()
    assert not bench.channel.is_paused()
    bench.client_stops_reading()
    assert bench.backend.transport.is_paused()
    bench.client_reads()
    assert not bench.backend.transport.is_paused()


def test_a_silent_tunnel_ends_after_its_own_time() -> None:
    bench = tunnel()
    for _ in range(3):
        bench.pass_time(599)
        bench.pass_time(0.5)
        bench.client(b"x")
        bench.pass_time(0.5)
    assert bench.channel.is_open
    bench.pass_time(599)
    assert bench.channel.is_open
    bench.pass_time(2)
    assert bench.channel.aborted
    assert bench.backend.transport.aborted


# -- any bytes at all --------------------------------------------------------------------------

_SCRAPS = [
    *(GET, GET[:-2], b"\r\n", b"\n", b"\r", b"POST / HTTP/1.1\r\n", b"Host: front.test\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"hello", b"5\r\nhello\r\n"),
    *(b"0\r\n\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"\x00", b" ", UPGRADE),
]


@settings(max_examples=150)
@given(st.lists(st.sampled_from(_SCRAPS), max_size=10), st.data())
def test_any_split_gives_the_same_conversation(scraps: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(scraps)
    whole = AnsweringBench(engine="httptools")
    whole.feed(raw, "whole")
    other = AnsweringBench(engine=data.draw(st.sampled_from(ENGINES)))
    other.seen = []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        other.client(raw[start:end])
    while other.answer():
        pass
    bodies = [read_request(seen)[:2] + read_request(seen)[3:4] for seen in whole.seen]
    assert [read_request(seen)[:2] + read_request(seen)[3:4] for seen in other.seen] == bodies
    assert statuses(other.got) == statuses(whole.got)
    assert other.channel.is_open is whole.channel.is_open


def test_repr_names_the_state() -> None:
    bench = Bench()
    assert repr(bench.http) == "<Http1Connection 1.2.3.4 idle>"
    bench.client(GET)
    assert repr(bench.http) == "<Http1Connection 1.2.3.4 wait>"
    assert "waiting" in repr(bench.pool.last.connection._sink)


def test_small_limits_are_obeyed() -> None:
    bench = Bench(limits=Limits(header_bytes=200, header_line_bytes=50, header_count=2))
    bench.client(b"GET / HTTP/1.1\r\nHost: front.test\r\nA: b\r\nC: d\r\n\r\n")
    assert statuses(bench.got) == [431]
