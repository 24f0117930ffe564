"""HTTP/2 on the client's side: streams become exchanges, and each stream minds its own business."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import hpack
import pytest
from hyperframe.frame import WindowUpdateFrame

from proxy.downstream.http2 import Http2Connection
from proxy.errors import UpstreamTimeout, UpstreamUnavailable
from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from proxy.http.h2.connection import LINGER_BYTES
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.header_blocks import Field
from proxy.limits import DRAIN_SECONDS, Limits
from tests.proxy.bench import Backend, Bench
from tests.proxy.http.h2.conversation import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Event,
    data,
    headers,
    narrate,
    parse_frames,
    ping,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)

THE_EPOCH = (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")
"""What a response without a Date is given (RFC 9110 §6.6.1), by the clock of the bench."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: a\r\n\r\n"
)


def request(method: bytes = b"GET", path: bytes = b"/", *more: Field) -> list[Field]:
    return [
        (b":method", method),
        (b":scheme", b"https"),
        (b":authority", b"front.test"),
        (b":path", path),
        *more,
    ]


UPGRADE = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    *request()[1:],
    (b"sec-websocket-version", b"13"),
]


class Http2Bench(Bench):
    """A client that speaks raw frames, and backends of HTTP/1.1."""

    http2: Http2Connection

    def connect(self) -> None:
        super().connect()
        application: Callable[[Exchange], None] = self._application
        self.http2 = Http2Connection(self.channel, self.services, FieldEncoder(), application)
        self.decoder = hpack.Decoder()
        self.read = 0
        self.hear(PREFACE, settings(), settings_ack())

    def hear(self, *frames: bytes) -> list[Event]:
        """The client sends; what it got."""
        self.http2.receive(b"".join(frames))
        self.http2.flush()
        return self.told()

    def told(self) -> list[Event]:
        """What the client got since the last look, without windows and settings."""
        got, self.read = self.got[self.read :], len(self.got)
        events = narrate(parse_frames(got), self.decoder)
        return [event for event in events if event[0] not in ("SETTINGS", "WINDOW_UPDATE")]

    def sweep(self, seconds: float) -> list[Event]:
        self.clock.now += seconds
        self.http2.sweep(self.clock.now)
        return self.told()

    def get(self, stream_id: int = 1, *more: Field) -> Backend:
        """A request without a body; the backend that has it."""
        assert self.hear(headers(stream_id, request(b"GET", b"/", *more))) == []
        return self.backend

    def post(self, stream_id: int = 1, *more: Field) -> Backend:
        """A request whose body is still to come."""
        fields = request(b"POST", b"/", *more)
        assert self.hear(headers(stream_id, fields, END_HEADERS)) == []
        return self.backend


def statuses(told: Sequence[Event]) -> list[bytes]:
    return [dict(event[2])[b":status"] for event in told if event[0] == "HEADERS"]


# -- requests and responses ---------------------------------------------------------------------


def test_a_request_goes_on_as_http_1() -> None:
    bench = Http2Bench()
    backend = bench.get(1, (b"cookie", b"a=1"), (b"te", b"trailers"), (b"cookie", b"b=2"))
    assert backend.got == (
        b"GET / HTTP/1.1\r\nHost: front.test\r\ncookie: a=1; b=2\r\n"
        b"X-Forwarded-Host: front.test\r\nVia: 2 vestibule\r\n"
        b"X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n\r\n"
    )
    backend.says(OK)
    assert bench.told() == [
        ("HEADERS", 1, ((b":status", b"200"), THE_EPOCH, (b"content-length", b"2")), False),
        ("DATA", 1, b"ok", True),
    ]
    assert bench.http2.is_idle
    assert bench.finished[0].status == 200


@pytest.mark.parametrize("ends", [data(1, b"", END_STREAM), headers(1, [(b"x-sum", b"1")])])
def test_a_body_goes_on_chunked_and_trailers_stop(ends: bytes) -> None:
    bench = Http2Bench()
    backend = bench.post()
    bench.hear(data(1, b"some"), ends)
    head, _, body = backend.got.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"4\r\nsome\r\n0\r\n\r\n"
    backend.says(OK)
    assert statuses(bench.told()) == [b"200"]


def test_the_pieces_of_a_body_that_come_at_once_go_on_as_one() -> None:
    bench = Http2Bench()
    backend = bench.post()
    written: list[bytes] = []
    backend.transport.on_write = lambda: written.append(backend.got)
    told = bench.hear(*(data(1, b"x") for _ in range(100)), data(1, b"y", END_STREAM))
    assert told == []
    assert written[0].endswith(b"\r\n\r\n65\r\n" + b"x" * 100 + b"y\r\n")
    assert len(written) == 2  # the body and its end
    backend.says(OK)
    assert statuses(bench.told()) == [b"200"]


def test_a_whole_request_in_one_read_goes_on_in_order() -> None:
    bench = Http2Bench()
    fields = request(b"POST")
    bench.hear(
        *(headers(number, fields, END_HEADERS) for number in (1, 3)),
        *(data(number, b"of %d" % number) for number in (1, 3)),
        *(headers(number, [(b"x-sum", b"1")]) for number in (1, 3)),
    )
    bodies = [backend.got.partition(b"\r\n\r\n")[2] for backend in bench.pool.backends]
    assert bodies == [b"4\r\nof %d\r\n0\r\n\r\n" % number for number in (1, 3)]


def test_a_response_in_pieces_without_a_length() -> None:
    bench = Http2Bench()
    backend = bench.get()
    backend.says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    backend.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    backend.says(b"3\r\ntwo\r\n0\r\nX-Late: 1\r\n\r\n")
    assert bench.told() == [
        ("HEADERS", 1, ((b":status", b"103"), (b"link", b"x")), False),
        ("HEADERS", 1, ((b":status", b"200"), THE_EPOCH), False),
        ("DATA", 1, b"one", False),
        ("DATA", 1, b"two", False),
        ("DATA", 1, b"", True),
    ]


def test_head_and_304_have_no_body() -> None:
    bench = Http2Bench()
    bench.hear(headers(1, request(b"HEAD")))
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
    fields = ((b":status", b"200"), THE_EPOCH, (b"content-length", b"7"))
    assert bench.told()[0][2:] == (fields, True)
    bench.get(3).says(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    assert bench.told()[0][2:] == (((b":status", b"304"), THE_EPOCH), True)


def test_expect_is_answered_when_there_is_somebody_for_the_body() -> None:
    bench = Http2Bench()
    bench.pool.holds = True
    assert bench.hear(headers(1, request(b"POST", b"/", (b"expect", b"100-continue")), 4)) == []
    bench.pool.serve()
    assert statuses(bench.told()) == [b"100"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (request(b"GET", b"/", (b"expect", b"a-miracle")), b"417"),
        ([*request()[:2], (b":authority", b"a b"), (b":path", b"/")], b""),
        ([*request()[:2], (b":authority", b"fr%6Fnt.test"), (b":path", b"/")], b"400"),
        (request(b"GET", b"/", *[(b"x", b"y")] * 101), b"431"),
        ([UPGRADE[0], (b":protocol", b"odd"), *UPGRADE[2:]], b"501"),
    ],
)
def test_what_cannot_be_accepted_concerns_one_stream(fields: list[Field], status: bytes) -> None:
    bench = Http2Bench()
    told = bench.hear(headers(1, fields))
    if status:
        assert statuses(told) == [status]
        assert dict(told[0][2])[b"date"]
    else:
        assert told == [("RST_STREAM", 1, "PROTOCOL_ERROR")]
    bench.get(3).says(OK)
    assert statuses(bench.told()) == [b"200"]


def test_all_streams_of_one_read_leave_in_one_write() -> None:
    bench = Http2Bench(application=lambda exchange: exchange.respond(200, [], b"hello"))
    before = bench.channel.writes
    told = bench.hear(*(headers(number, request()) for number in range(1, 21, 2)))
    assert statuses(told) == [b"200"] * 10
    assert bench.channel.writes == before + 1


# -- ends ---------------------------------------------------------------------------------------


def test_a_reset_by_the_client_ends_the_backends_request() -> None:
    bench = Http2Bench()
    backend = bench.get()
    assert bench.hear(rst_stream(1)) == []
    assert backend.transport.aborted
    assert bench.finished[0].status == 499
    assert bench.http2.is_idle


def test_a_request_that_is_reset_in_the_same_breath_reaches_no_backend() -> None:
    begun: list[Exchange] = []
    bench = Http2Bench(application=begun.append)
    ways = (rst_stream(1), window_update(3, 0))  # CVE-2023-44487, CVE-2025-8671
    frames = [f for number, way in zip((1, 3), ways, strict=True) for f in (headers(number), way)]
    bench.hear(*frames, headers(5))
    assert len(begun) == 1
    assert [exchange.status for exchange in bench.finished] == [499, 499]
    assert not bench.http2.is_idle


def test_more_than_one_turns_work_waits_and_is_not_read_on_meanwhile() -> None:
    turns: list[Callable[[], None]] = []
    bench = Http2Bench(
        application=lambda exchange: exchange.respond(200, [], b""), call_soon=turns.append
    )
    told = statuses(bench.hear(*(headers(number) for number in range(1, 101, 2))))
    assert 0 < len(told) < 50
    assert bench.channel.paused
    while turns:
        turns.pop(0)()
        told += statuses(bench.told())
    assert told == [b"200"] * 50
    assert not bench.channel.paused


@pytest.mark.parametrize("how", ["lost", "eof", "broken"])
def test_the_end_of_the_connection_ends_all_its_requests(how: str) -> None:
    bench = Http2Bench()
    backends = [bench.get(1), bench.get(3)]
    if how == "lost":
        bench.http2.connection_lost()
    elif how == "eof":
        bench.http2.receive_eof()
        bench.http2.flush()
        assert bench.channel.closed
    else:
        assert bench.hear(window_update(0, 0))[-1][0] == "GOAWAY"
        assert bench.channel.closed
    assert [backend.transport.aborted for backend in backends] == [True, True]
    assert [exchange.status for exchange in bench.finished] == [499, 499]


def test_a_response_that_breaks_off_is_reset() -> None:
    bench = Http2Bench()
    backend = bench.get()
    backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
    backend.closes()
    assert bench.told()[1:] == [("DATA", 1, b"short", False), ("RST_STREAM", 1, "INTERNAL_ERROR")]


def test_an_early_response_lets_the_request_run_out() -> None:
    bench = Http2Bench()
    backend = bench.post()
    backend.says(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    assert statuses(bench.told()) == [b"413"]
    assert backend.transport.aborted
    assert bench.hear(data(1, bytes(10_000))) == []
    assert bench.sweep(DRAIN_SECONDS) == [("RST_STREAM", 1, "NO_ERROR")]
    bench.post(3).says(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    bench.told()
    pieces = [data(3, bytes(16_384))] * (LINGER_BYTES // 16_384)
    assert bench.hear(*pieces) == [("RST_STREAM", 3, "NO_ERROR")]


def test_stopping_serves_what_is_there_and_closes() -> None:
    bench = Http2Bench()
    backend = bench.get()
    bench.http2.stop()
    assert [event[:2] for event in bench.told()] == [("GOAWAY", 2**31 - 1), ("PING", b"vst-last")]
    assert bench.hear(ping(b"vst-last", ACK)) == [("GOAWAY", 1, "NO_ERROR")]
    assert bench.channel.is_open
    backend.says(OK)
    assert statuses(bench.told()) == [b"200"]
    assert bench.channel.closed


def test_an_old_connection_asks_for_another_and_ends_when_its_streams_do() -> None:
    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS))
    tunnel = bench.backend
    tunnel.says(SWITCHED)
    bench.told()
    backend = bench.get(3)
    bench.http2.retire()
    assert [event[:2] for event in bench.told()] == [("GOAWAY", 2**31 - 1), ("PING", b"vst-last")]
    assert bench.hear(ping(b"vst-last", ACK)) == [("GOAWAY", 3, "NO_ERROR")]
    backend.says(OK)
    assert statuses(bench.told()) == [b"200"]
    tunnel.says(b"\x81\x02hi")
    assert bench.told() == [("DATA", 1, b"\x81\x02hi", False)], "age ends no tunnel"
    assert bench.channel.is_open
    bench.hear(rst_stream(1))
    assert bench.channel.closed


def test_an_idle_connection_is_closed() -> None:
    bench = Http2Bench(limits=Limits(keep_alive_timeout=5.0))
    backend = bench.get()
    assert bench.sweep(6) == []
    backend.says(OK)
    bench.told()
    assert bench.sweep(4) == []
    assert bench.sweep(2) == [("GOAWAY", 1, "NO_ERROR")]
    assert bench.channel.closed


# -- back-pressure ------------------------------------------------------------------------------


def test_a_connection_is_idle_after_a_reset_too() -> None:
    bench = Http2Bench()
    bench.hear(headers(1, request()), rst_stream(1))
    bench.sweep(bench.limits.keep_alive_timeout + 1)
    bench.sweep(1000)
    assert not bench.channel.is_open


def test_a_client_that_does_not_read_a_stream_pauses_its_backend_alone() -> None:
    bench = Http2Bench()
    slow = bench.get(1)
    slow.says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(65_535))
    slow.says(bytes(60_000))
    paused = [slow.transport.paused]
    slow.says(bytes(60_000))
    assert [*paused, slow.transport.paused] == [False, True]
    bench.told()
    bench.hear(window_update(0, 100_000))
    bench.get(3).says(OK)
    assert statuses(bench.told()) == [b"200"]
    bench.hear(window_update(0, 1_000_000), window_update(1, 1_000_000))
    assert not slow.transport.is_paused()


def test_what_waits_for_a_window_is_not_what_is_read_later() -> None:
    """The buffer that all connections read into has long been used for something else."""
    bench = Http2Bench()
    backend = bench.get()
    body = bytes(range(251)) * 600
    backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 20_000):
        backend.says(body[start : start + 20_000])
    told = bench.told()
    while len(received := b"".join(e[2] for e in told if e[0] == "DATA")) < len(body):
        told += bench.hear(window_update(0, 7_000), window_update(1, 7_000))
    assert received == body


def test_a_backend_that_does_not_read_leaves_the_clients_window_closed() -> None:
    bench = Http2Bench()
    slow = bench.post(1)
    slow.connection.pause_writing()
    bench.hear(*[data(1, bytes(16_384))] * 3)
    before = len(bench.got)
    slow.connection.resume_writing()
    frames = narrate(parse_frames(bench.got[before:]), bench.decoder)
    assert frames == [("WINDOW_UPDATE", 1, 3 * 16_384)]


def test_a_transport_that_is_full_gets_nothing_until_it_has_room() -> None:
    bench = Http2Bench()
    backend = bench.get()
    bench.http2.pause_writing()
    backend.says(OK)
    assert bench.told() == []
    bench.http2.resume_writing()
    assert statuses(bench.told()) == [b"200"]


def test_a_client_that_takes_nothing_is_left() -> None:
    bench = Http2Bench()
    bench.get()
    bench.channel.waiting = 1000
    bench.http2.pause_writing()
    bench.sweep(20)
    bench.channel.waiting = 999
    bench.sweep(20)
    assert bench.channel.is_open
    bench.sweep(31)
    assert bench.channel.aborted
    assert bench.finished


# -- WebSockets (RFC 8441) ----------------------------------------------------------------------


def test_a_websocket_is_an_ordinary_upgrade_for_the_backend() -> None:
    bench = Http2Bench()
    assert bench.hear(headers(1, UPGRADE, END_HEADERS)) == []
    head = bench.backend.got
    assert head.startswith(b"GET / HTTP/1.1\r\n")
    for line in (b"Connection: Upgrade", b"Upgrade: websocket", b"sec-websocket-version: 13"):
        assert b"\r\n%b\r\n" % line in head
    assert b"sec-websocket-key: " in head
    assert b"Content-Length" not in head
    bench.backend.says(SWITCHED + b"\x81\x01a")
    assert bench.told() == [
        ("HEADERS", 1, ((b":status", b"200"), (b"sec-websocket-protocol", b"a")), False),
        ("DATA", 1, b"\x81\x01a", False),
    ]
    bench.hear(data(1, b"\x81\x81mask?"))
    assert bench.backend.got.endswith(b"\x81\x81mask?")
    bench.hear(data(1, b"", END_STREAM))
    assert bench.backend.transport.eof
    bench.backend.closes()
    assert bench.told() == [("DATA", 1, b"", True)]
    assert bench.http2.is_idle


def test_a_websocket_of_a_client_that_goes_ends_the_backends() -> None:
    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS))
    bench.backend.says(SWITCHED)
    bench.hear(rst_stream(1))
    assert bench.backend.transport.aborted


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"])
def test_a_success_that_is_no_switch_makes_no_tunnel(answer: bytes) -> None:
    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS))
    bench.backend.says(answer)
    assert statuses(bench.told()) == [b"502"]


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: front.test\r\n\r\n"


@pytest.mark.parametrize("late", [False, True])
def test_nothing_goes_into_a_tunnel_before_the_101(late: bool) -> None:
    bench = Http2Bench()
    bench.pool.holds = late
    bench.hear(headers(1, UPGRADE, END_HEADERS), data(1, SMUGGLED), data(1, b"", END_STREAM))
    if late:
        bench.pool.serve()
    backend = bench.backend
    assert backend.got.endswith(b"\r\n\r\n")
    assert b"smuggled" not in backend.got
    assert not backend.transport.eof
    backend.says(SWITCHED)
    assert backend.got.endswith(SMUGGLED)
    assert backend.transport.eof


def test_what_is_held_for_a_tunnel_is_bounded_by_the_window() -> None:
    def credit(bench: Http2Bench) -> int:
        """What the client has been given for its stream beyond the first window."""
        frames = parse_frames(bench.got)
        updates = [f for f in frames if isinstance(f, WindowUpdateFrame) and f.stream_id]
        return sum(update.window_increment for update in updates)

    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS))
    for _ in range(4):
        bench.hear(data(1, bytes(16_384)))
    before = credit(bench)
    for _ in range(before // 16_384):
        bench.hear(data(1, bytes(16_384)))
    assert credit(bench) == before
    bench.backend.says(SWITCHED)
    assert bench.backend.got.endswith(bytes(65_536 + before // 16_384 * 16_384))
    assert credit(bench) > before


def test_what_was_for_a_tunnel_goes_nowhere_after_a_denial() -> None:
    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS), data(1, SMUGGLED))
    backend = bench.backend
    backend.says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nn")
    bench.hear(data(1, SMUGGLED))
    backend.says(b"o")
    assert bench.told()[-1] == ("DATA", 1, b"", True)
    bench.hear(headers(3, request()))
    assert bench.backend is backend
    assert b"smuggled" not in backend.got


def tunnel_that_the_backend_ended() -> Http2Bench:
    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS))
    bench.backend.says(SWITCHED)
    bench.backend.closes()
    assert bench.told()[-1] == ("DATA", 1, b"", True)
    return bench


def test_a_tunnel_whose_backend_goes_after_its_half_close_is_over() -> None:
    bench = tunnel_that_the_backend_ended()
    bench.backend.resets()
    assert bench.told() == [("RST_STREAM", 1, "NO_ERROR")]
    assert bench.http2.is_idle


def test_a_stop_says_nothing_behind_the_end_of_a_tunnel() -> None:
    bench = tunnel_that_the_backend_ended()
    bench.http2.stop()
    assert "DATA" not in [event[0] for event in bench.told()]


def test_a_denial_passes() -> None:
    bench = Http2Bench()
    bench.hear(headers(1, UPGRADE, END_HEADERS))
    bench.backend.says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    told = bench.told()
    assert statuses(told) == [b"403"]
    assert told[-1] == ("DATA", 1, b"no", True)


# -- gRPC ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;x=y", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
    ],
)
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamUnavailable("no"), b"502", b"14"),
        (UpstreamUnavailable("no", 503), b"503", b"14"),
        (UpstreamTimeout("no"), b"504", b"4"),
    ],
)
def test_an_error_of_ours_is_what_a_grpc_client_understands(
    content_type: bytes, is_grpc: bool, error: UpstreamUnavailable, status: bytes, code: bytes
) -> None:
    bench = Http2Bench()
    bench.pool.holds = True
    bench.hear(headers(1, request(b"POST", b"/x", (b"content-type", content_type)), END_HEADERS))
    bench.pool.refuse(error)
    head = bench.told()[0]
    fields = dict(head[2])
    assert bench.finished[0].status == int(status)
    if is_grpc:
        assert (fields[b":status"], fields[b"grpc-status"], head[3]) == (b"200", code, True)
        assert fields[b"content-type"] == b"application/grpc"
        assert fields[b"grpc-message"].startswith(b"The application ")
    else:
        assert fields[b":status"] == status
        assert b"grpc-status" not in fields


def test_beside_http_1_a_quiet_grpc_call_has_limits_like_any_other() -> None:
    bench = Http2Bench()
    backend = bench.post(1, (b"content-type", b"application/grpc"))
    bench.hear(data(1, b"some"))
    bench.sweep(1)
    told = bench.sweep(31)
    assert dict(told[0][2])[b"grpc-status"] == b"1"
    assert backend.transport.aborted


def test_a_plan_is_made_once_for_a_head() -> None:
    heads = []

    def application(exchange: Exchange) -> None:
        heads.append(exchange.head)
        exchange.respond(200, [], b"")

    bench = Http2Bench(application=application)
    bench.hear(headers(1, request()), headers(3, request()), headers(5, request(), END_HEADERS))
    assert heads[0] is heads[1]
    assert heads[2] is not heads[0]
    plan = Forwarding(bench, heads[0], bench.site, bench.route)
    assert plan.http2(heads[0])[1] is plan.http2(heads[0])[1]
