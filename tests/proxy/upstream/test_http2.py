"""A shared connection to a backend, and its streams: raw frames on one side, sinks on the other."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import hpack
import pytest

from proxy.clock import CoarseClock
from proxy.errors import BadResponse, ProtocolError, UpstreamError, UpstreamRefusal
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.head import CHUNKED, HTTP_2, RequestFields, RequestHead, ResponseHead
from proxy.http.headers import Field, Trailers
from proxy.limits import READ_BYTES, Limits
from proxy.upstream.http2 import IDLE_SECONDS, Http2UpstreamConnection
from proxy.upstream.http2_stream import UpstreamStream
from tests.proxy.bench import FakeTransport
from tests.proxy.http.h2.conversation import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Event,
    data,
    goaway,
    headers,
    narrate,
    parse_frames,
    ping,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)

pytestmark = pytest.mark.anyio

OK: list[Field] = [(b":status", b"200")]
Told: TypeAlias = tuple[Any, ...]


class Shared:
    """What the worker's connections share."""

    def __init__(self) -> None:
        self.encoder = FieldEncoder()
        self.clock = CoarseClock(1000.0)
        self.limits = Limits()
        self.read_buffer = memoryview(bytearray(READ_BYTES))


class Home:
    """The upstream in the pool: writes down what it is told."""

    name = "h2c://backend:80"

    def __init__(self) -> None:
        self.told: list[Told] = []

    def ended(self, stream: UpstreamStream) -> None:
        verdict = "failed" if stream.failed else "answered" if stream.answered else "abandoned"
        self.told.append((verdict,))

    def streams_allowed(self, count: int) -> None:
        self.told.append(("allowed", count))

    def gone(self, connection: Http2UpstreamConnection) -> None:
        self.told.append(("gone",))


class Sink:
    """An exchange: writes down what it is told."""

    tunnel = False
    request_head = b""

    def __init__(self, method: bytes = b"POST", length: int = CHUNKED) -> None:
        fields = RequestFields([])
        fields.host = b"front.test"
        fields.length = length
        self.head = RequestHead(method, b"/as-received", HTTP_2, fields)
        self.request_trailers: Trailers = ()
        self.told: list[Told] = []
        self.flushes = 0
        self.refuses_heads = False

    def http2_request(self) -> tuple[bytes, list[Field]]:
        return b"/path", [(b"X-A", b"1"), (b"te", b"trailers")]

    def response_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        self.told.append(("whole", head.status, length, data))

    def response_head(self, head: ResponseHead, length: int | None) -> None:
        if self.refuses_heads:
            raise BadResponse("not this one")
        self.told.append(("head", head.status, length))

    def response_upgrade(self, head: ResponseHead) -> None:
        raise AssertionError

    def response_data(self, data: bytes | memoryview) -> None:
        self.told.append(("data", bytes(data)))

    def response_end(self, trailers: Trailers = ()) -> None:
        self.told.append(("end", *trailers))

    def tunnel_received(self, data: bytes | memoryview) -> None:
        raise AssertionError

    def response_tunnel_end(self) -> None:
        raise AssertionError

    def tunnel_closed(self) -> None:
        raise AssertionError

    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None:
        self.told.append(("failed", type(error).__name__, untouched))

    def upstream_writable(self, writable: bool) -> None:
        self.told.append(("writable", writable))

    def flush(self) -> None:
        self.flushes += 1


class Talk:
    """A connection, and a server that speaks raw frames."""

    def __init__(self, greeting: bytes = settings() + settings_ack()) -> None:
        self.shared = Shared()
        self.home = Home()
        self.transport = FakeTransport()
        self.writes = 0
        self.transport.on_write = self._count
        self.connection = Http2UpstreamConnection(
            self.home, self.shared, asyncio.get_running_loop()
        )
        self.connection.connection_made(self.transport)
        self.decoder = hpack.Decoder()
        sent = bytes(self.transport.written)
        assert sent.startswith(PREFACE)
        self.transport.written = bytearray(sent[len(PREFACE) :])
        if greeting:
            self.says(greeting)
            self.sent()

    def _count(self) -> None:
        self.writes += 1

    def says(self, *frames: bytes) -> None:
        """The server sends."""
        received = b"".join(frames)
        for start in range(0, len(received), READ_BYTES):
            piece = received[start : start + READ_BYTES]
            if self.transport.is_closing():
                return
            self.connection.get_buffer(-1)[: len(piece)] = piece
            self.connection.buffer_updated(len(piece))

    def sent(self) -> list[Event]:
        """What was written since the last look."""
        written, self.transport.written = bytes(self.transport.written), bytearray()
        return narrate(parse_frames(written), self.decoder)

    async def turn(self) -> list[Event]:
        """One turn of the loop later; what was written."""
        await asyncio.sleep(0)
        return self.sent()

    def pass_time(self, seconds: float) -> None:
        self.shared.clock.now += seconds
        self.connection.sweep(self.shared.clock.now)

    def is_closed(self) -> bool:
        return self.transport.closed

    def begin(self, sink: Sink) -> UpstreamStream:
        stream = self.connection.new_stream()
        stream.begin(sink)
        return stream

    async def ask(self, method: bytes = b"GET") -> Sink:
        """A request without a body."""
        sink = Sink(method, 0)
        self.connection.new_stream().request(sink)
        assert [event[0] for event in await self.turn()] == ["HEADERS"]
        return sink


# -- the connection -----------------------------------------------------------------------------


async def test_it_is_ready_when_the_servers_settings_have_come() -> None:
    talk = Talk(greeting=b"")
    assert [event[0] for event in talk.sent()] == ["SETTINGS", "WINDOW_UPDATE"]
    ready = [talk.connection.ready.done()]
    talk.says(settings((3, 7)))
    assert [*ready, talk.connection.ready.done()] == [False, True]
    assert talk.home.told == [("allowed", 7)]
    assert talk.connection.capacity == 7
    talk.says(settings((3, 1000)))
    assert talk.home.told == [("allowed", 7), ("allowed", 100)]
    assert "open, 0 streams" in repr(talk.connection)


async def test_a_server_of_http_1_is_found_out_before_anything_is_sent() -> None:
    talk = Talk(greeting=b"")
    talk.says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    with pytest.raises(BadResponse, match="16384 bytes"):
        await talk.connection.ready
    assert talk.connection.capacity == 0
    assert talk.is_closed()


async def test_a_server_that_closes_at_once() -> None:
    talk = Talk(greeting=b"")
    assert not talk.connection.eof_received()
    with pytest.raises(UpstreamError):
        await talk.connection.ready


async def test_all_streams_of_a_turn_leave_in_one_write() -> None:
    talk = Talk()
    talk.writes = 0
    for _ in range(5):
        sink = Sink(length=3)
        stream = talk.begin(sink)
        stream.send_body(b"abc")
        stream.end_body()
    assert talk.sent() == []
    assert len(await talk.turn()) == 15
    assert talk.writes == 1


async def test_a_quiet_connection_is_closed() -> None:
    talk = Talk()
    talk.pass_time(IDLE_SECONDS - 1)
    sink = await talk.ask()
    talk.pass_time(IDLE_SECONDS)
    assert not talk.is_closed()
    talk.says(headers(1, OK))
    assert sink.told == [("whole", 200, 0, b"")]
    talk.sent()
    talk.pass_time(IDLE_SECONDS)
    assert talk.sent() == [("GOAWAY", 0, "NO_ERROR")]
    assert talk.is_closed()
    assert talk.home.told[-1] == ("gone",)


async def test_a_server_that_has_gone_silent_is_asked_and_then_left() -> None:
    talk = Talk()
    sink = await talk.ask()
    talk.pass_time(31)
    assert talk.sent() == [("PING", b"vst-live", False)]
    talk.pass_time(61)
    assert talk.sent() == [("GOAWAY", 0, "NO_ERROR")]
    assert sink.told == [("failed", "BadResponse", True)]
    assert sink.flushes
    assert talk.home.told[1:] == [("gone",), ("failed",)]


async def test_closing_fails_what_is_on_it() -> None:
    talk = Talk()
    sink = await talk.ask()
    talk.connection.close()
    talk.connection.close()
    assert talk.sent() == [("GOAWAY", 0, "NO_ERROR")]
    assert sink.told == [("failed", "BadResponse", True)]
    talk.connection.connection_lost(None)


async def test_who_does_not_read_is_not_waited_for() -> None:
    talk = Talk()
    talk.connection.pause_writing()
    talk.connection.close()
    assert talk.transport.aborted


@pytest.mark.parametrize("touched", [False, True])
async def test_a_lost_connection_fails_all_its_streams(touched: bool) -> None:
    talk = Talk()
    one, other = await talk.ask(), await talk.ask()
    if touched:
        talk.says(headers(1, OK, END_HEADERS))
        one.told.clear()
    talk.connection.connection_lost(ConnectionResetError())
    assert one.told == [("failed", "UpstreamUnavailable", not touched)]
    assert other.told == [("failed", "UpstreamUnavailable", True)]
    assert talk.home.told[1:] == [("gone",), ("failed",), ("failed",)]
    await asyncio.sleep(0)


async def test_pings_are_answered() -> None:
    talk = Talk()
    talk.says(ping(b"12345678"))
    assert talk.sent() == [("PING", b"12345678", True)]


# -- requests -----------------------------------------------------------------------------------


async def test_a_request_without_a_body() -> None:
    talk = Talk()
    sink = Sink(b"GET", 0)
    stream = talk.begin(sink)
    assert stream.request_sent
    stream.end_body()
    (told,) = await talk.turn()
    assert told == (
        "HEADERS",
        1,
        (
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"front.test"),
            (b":path", b"/path"),
            (b"x-a", b"1"),
            (b"te", b"trailers"),
        ),
        True,
    )
    assert repr(stream) == "<UpstreamStream 1 of h2c://backend:80>"


async def test_a_request_with_body_and_trailers() -> None:
    talk = Talk()
    sink = Sink()
    stream = talk.begin(sink)
    stream.send_body(b"one")
    stream.send_body(b"two")
    before = stream.request_sent
    sink.request_trailers = ((b"x-sum", b"1"),)
    stream.end_body()
    assert [before, stream.request_sent] == [False, True]
    assert (await talk.turn())[1:] == [
        ("DATA", 1, b"one", False),
        ("DATA", 1, b"two", False),
        ("HEADERS", 1, ((b"x-sum", b"1"),), True),
    ]


async def test_a_server_that_does_not_read_pauses_its_exchange_alone() -> None:
    talk = Talk()
    slow, other = Sink(), Sink()
    one, two = talk.begin(slow), talk.begin(other)
    piece = bytes(16_384)
    for _ in range(9):
        one.send_body(piece)
    assert set(slow.told) == {("writable", False)}
    slow.told.clear()
    assert one.unsent() > 65_536
    assert sum(len(event[2]) for event in await talk.turn() if event[0] == "DATA") == 65_535
    talk.says(window_update(0, 1 << 20))
    two.send_body(b"goes on")
    assert await talk.turn() == [("DATA", 3, b"goes on", False)]
    talk.says(window_update(1, 1 << 20))
    assert sum(len(event[2]) for event in talk.sent()) == 9 * 16_384 - 65_535
    assert slow.told == [("writable", True)]
    assert slow.flushes
    assert other.told == []


async def test_a_transport_that_is_full_is_waited_for() -> None:
    talk = Talk()
    sink = Sink()
    talk.connection.pause_writing()
    stream = talk.begin(sink)
    stream.send_body(b"x")
    assert await talk.turn() == []
    talk.connection.resume_writing()
    assert [event[0] for event in talk.sent()] == ["HEADERS", "DATA"]


async def test_a_tunnel_is_not_for_streams() -> None:
    stream = Talk().begin(Sink())
    with pytest.raises(RuntimeError, match="no tunnel"):
        stream.send(b"x")
    with pytest.raises(RuntimeError, match="no tunnel"):
        stream.send_eof()


async def test_an_abandoned_request_is_cancelled_and_the_others_go_on() -> None:
    talk = Talk()
    sink = Sink()
    stream = talk.begin(sink)
    other = Sink(b"GET", 0)
    talk.begin(other)
    await talk.turn()
    stream.discard()
    stream.discard()
    assert await talk.turn() == [("RST_STREAM", 1, "CANCEL")]
    stream.send_body(b"late")
    stream.end_body()
    talk.says(headers(1, OK, END_HEADERS), data(1, b"late"), headers(3, OK))
    assert sink.told == []
    assert other.told == [("whole", 200, 0, b"")]
    assert talk.home.told[1:] == [("abandoned",), ("answered",)]


# -- responses ----------------------------------------------------------------------------------


async def test_a_response_in_pieces_with_trailers() -> None:
    talk = Talk()
    sink = await talk.ask()
    talk.says(
        headers(1, [(b":status", b"103")], END_HEADERS),
        headers(1, [*OK, (b"content-type", b"application/grpc")], END_HEADERS),
        data(1, b"some"),
        headers(1, [(b"grpc-status", b"0")]),
    )
    assert sink.told == [
        ("head", 103, None),
        ("head", 200, CHUNKED),
        ("data", b"some"),
        ("end", (b"grpc-status", b"0")),
    ]
    assert sink.flushes == 1
    assert talk.home.told[1:] == [("answered",)]


@pytest.mark.parametrize(
    ("method", "status", "declared", "length"),
    [
        (b"GET", b"200", None, 0),
        (b"GET", b"204", None, None),
        (b"GET", b"304", b"7", 7),
        (b"HEAD", b"200", None, None),
        (b"HEAD", b"200", b"7", 7),
        (b"HEAD", b"204", b"7", None),
    ],
)
async def test_a_response_that_ends_with_its_head(
    method: bytes, status: bytes, declared: bytes | None, length: int | None
) -> None:
    talk = Talk()
    sink = await talk.ask(method)
    fields = [(b":status", status)]
    if declared is not None:
        fields.append((b"content-length", declared))
    talk.says(headers(1, fields))
    assert sink.told == [("whole", int(status), length, b"")]
    # The end may also come behind it.
    sink = await talk.ask(method)
    talk.says(headers(3, fields, END_HEADERS), data(3, b"", END_STREAM))
    expected = CHUNKED if (method, status) == (b"GET", b"200") else length
    assert sink.told == [("head", int(status), expected), ("end",)]


async def test_the_same_section_means_two_heads_with_and_without_a_body() -> None:
    talk = Talk()
    heads: list[ResponseHead] = []
    for flags in (END_HEADERS | END_STREAM, END_HEADERS, END_HEADERS | END_STREAM):
        sink = Sink(b"GET", 0)

        def note(head: ResponseHead, length: int | None, data: bytes = b"") -> None:
            heads.append(head)

        sink.response_head = sink.response_whole = note  # type: ignore[method-assign]
        stream = talk.begin(sink)
        talk.says(headers(2 * len(heads) + 1, OK, flags))
        stream.discard()
    assert heads[0] is heads[2]
    assert [head.fields.length for head in heads] == [0, CHUNKED, 0]
    assert heads[0].reason == b"OK"


async def test_a_paused_stream_withholds_its_credit() -> None:
    talk = Talk()
    sink = Sink(b"GET", 0)
    stream = talk.begin(sink)
    await talk.turn()
    piece = data(1, bytes(16_384))
    talk.says(headers(1, OK, END_HEADERS), piece, piece)
    assert talk.sent() == [("WINDOW_UPDATE", 1, 32_768)]
    stream.pause_reading()
    talk.says(piece, piece)
    assert talk.sent() == []
    assert len(sink.told) == 5  # what comes is not held here
    stream.resume_reading()
    assert await talk.turn() == [("WINDOW_UPDATE", 1, 32_768)]
    stream.resume_reading()
    assert await talk.turn() == []


async def test_an_early_response_ends_the_request() -> None:
    talk = Talk()
    sink = Sink()
    stream = talk.begin(sink)
    await talk.turn()
    talk.says(headers(1, [(b":status", b"413")]))
    assert sink.told == [("whole", 413, 0, b"")]
    assert talk.sent() == [("RST_STREAM", 1, "NO_ERROR")]
    stream.send_body(b"late")
    assert await talk.turn() == []
    assert talk.home.told[1:] == [("answered",)]


async def test_a_head_that_cannot_be_passed_on_ends_the_stream() -> None:
    talk = Talk()
    sink = await talk.ask()
    sink.refuses_heads = True
    talk.says(headers(1, OK, END_HEADERS), data(1, b"unwanted"))
    assert sink.told == [("failed", "BadResponse", False)]
    assert talk.sent() == [("RST_STREAM", 1, "CANCEL")]


@pytest.mark.parametrize("touched", [False, True])
async def test_a_reset_fails_one_stream(touched: bool) -> None:
    """Before the head it counts against the server, after it not: a client can provoke it."""
    talk = Talk()
    sink, other = await talk.ask(), await talk.ask()
    if touched:
        talk.says(headers(1, OK, END_HEADERS))
    sink.told.clear()
    talk.says(rst_stream(1, 2), headers(3, OK))
    assert sink.told == [("failed", "BadResponse", not touched)]
    assert other.told == [("whole", 200, 0, b"")]
    assert talk.home.told[1] == (("answered",) if touched else ("failed",))


async def test_a_malformed_response_fails_one_stream() -> None:
    talk = Talk()
    sink = await talk.ask()
    talk.says(headers(1, [*OK, (b"connection", b"close")]))
    assert sink.told == [("failed", "BadResponse", True)]
    assert talk.sent() == [("RST_STREAM", 1, "PROTOCOL_ERROR")]
    assert not talk.is_closed()


async def test_a_server_that_breaks_the_protocol_is_left() -> None:
    talk = Talk()
    sink = await talk.ask()
    talk.says(window_update(0, 0))
    assert sink.told == [("failed", "BadResponse", True)]
    assert talk.sent() == [("GOAWAY", 0, "PROTOCOL_ERROR")]
    assert talk.is_closed()


# -- refusals -----------------------------------------------------------------------------------


async def test_a_refused_stream_was_not_processed() -> None:
    talk = Talk()
    sink = await talk.ask()
    talk.says(rst_stream(1, 7))
    assert sink.told == [("failed", UpstreamRefusal.__name__, True)]
    assert talk.home.told[1:] == [("abandoned",)]


async def test_after_goaway_what_was_taken_goes_on_and_the_rest_may_go_elsewhere() -> None:
    talk = Talk()
    one, two = await talk.ask(), await talk.ask()
    talk.says(goaway(1))
    assert two.told == [("failed", UpstreamRefusal.__name__, True)]
    assert talk.connection.capacity == 0
    assert not talk.is_closed()
    talk.says(headers(1, OK))
    assert one.told == [("whole", 200, 0, b"")]
    assert talk.is_closed()
    assert talk.home.told[1:] == [("abandoned",), ("answered",), ("gone",)]


async def test_an_idle_connection_ends_with_goaway() -> None:
    talk = Talk()
    talk.says(goaway(0))
    assert talk.is_closed()
    assert talk.home.told[1:] == [("gone",)]
