"""The client's side: requests, responses, and which requests may be sent again."""

from __future__ import annotations

import pytest

from proxy.http.h2.client_connection import STREAMS, ClientConnection
from proxy.http.h2.faults import ErrorCode
from proxy.limits import INFORMATIONAL_RESPONSES
from tests.proxy.http.h2.conversation import (
    END_HEADERS,
    END_STREAM,
    ClientTalk,
    Event,
    data,
    goaway,
    headers,
    literal,
    ping,
    priority_update,
    raw,
    rst_stream,
    settings,
    window_update,
)

OK = [(b":status", b"200")]
TRAILERS = [(b"grpc-status", b"0")]


def test_the_clients_preface() -> None:
    assert ClientTalk(greeting=b"none").opening == [
        ("SETTINGS", {2: 0, 4: 65_536, 6: 32_768}, False),
        ("WINDOW_UPDATE", 0, 2**20 - 65_535),
    ]


def test_a_grpc_call() -> None:
    talk = ClientTalk()
    connection = talk.connection
    fields = [(b"te", b"trailers"), (b"Content-Type", b"application/grpc")]
    stream_id = connection.send_request(b"POST", b"http", b"backend:1", b"/pkg.Svc/Call", fields)
    connection.send_data(stream_id, b"message", end_stream=True)
    assert talk.sent() == [
        (
            "HEADERS",
            1,
            (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", b"backend:1"),
                (b":path", b"/pkg.Svc/Call"),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
            ),
            False,
        ),
        ("DATA", 1, b"message", True),
    ]
    talk.hear(headers(1, OK, END_HEADERS), data(1, b"answer"), headers(1, TRAILERS))
    assert talk.events == [
        ("response", 1, 200, (), False),
        ("data", 1, b"answer", False),
        ("trailers", 1, tuple(TRAILERS)),
    ]
    assert not connection.streams
    assert repr(connection) == "<ClientConnection open, 0 streams, 0 unsent>"


def test_a_request_before_the_servers_settings() -> None:
    talk = ClientTalk(greeting=b"none")
    assert talk.connection.capacity == STREAMS
    assert talk.get() == 1
    talk.hear(settings((3, 1)), headers(1, OK))
    assert talk.events == [("response", 1, 200, (), True)]


def test_extended_connect() -> None:
    talk = ClientTalk(greeting=settings((8, 1)))
    assert talk.connection.extended_connect
    connection = talk.connection
    stream_id = connection.send_request(
        b"CONNECT", b"http", b"backend", b"/ws", [], protocol=b"websocket"
    )
    assert (b":protocol", b"websocket") in talk.sent()[0][2]
    talk.hear(headers(stream_id, OK, END_HEADERS), data(stream_id, b"x", END_STREAM))
    assert connection.send_data(stream_id, b"still open", end_stream=True)
    assert not connection.streams


def test_informational_responses() -> None:
    talk = ClientTalk()
    talk.get()
    talk.hear(headers(1, [(b":status", b"103")], END_HEADERS), headers(1, OK))
    assert talk.events == [("informational", 1, 103), ("response", 1, 200, (), True)]


def test_an_early_response_is_complete_although_the_server_stops_the_request() -> None:
    talk = ClientTalk()
    talk.get(end_stream=False)
    talk.hear(headers(1, OK), rst_stream(1, 0))
    assert talk.events == [("response", 1, 200, (), True)]
    assert talk.connection.send_data(1, b"more")
    assert not talk.connection.streams


# -- who may be sent again ----------------------------------------------------------------------


def test_a_refused_request_is_unprocessed() -> None:
    talk = ClientTalk()
    talk.get()
    talk.hear(rst_stream(1, ErrorCode.REFUSED_STREAM))
    assert talk.events == [("unprocessed", 1)]


def test_any_other_reset_is_not() -> None:
    talk = ClientTalk()
    talk.get()
    talk.get()
    talk.hear(rst_stream(1, ErrorCode.CANCEL))
    talk.hear(headers(3, OK, END_HEADERS), rst_stream(3, ErrorCode.REFUSED_STREAM))
    assert talk.events == [
        ("reset", 1, ErrorCode.CANCEL),
        ("response", 3, 200, (), False),
        ("reset", 3, ErrorCode.REFUSED_STREAM),
    ]


def test_goaway_tells_the_processed_from_the_others() -> None:
    talk = ClientTalk()
    for _ in range(3):
        talk.get(end_stream=False)
    talk.connection.send_data(5, bytes(100_000))
    talk.hear(goaway(3, ErrorCode.NO_ERROR))
    assert talk.events == [("unprocessed", 5), ("goaway", 0)]
    assert talk.connection.capacity == 0
    assert list(talk.connection.streams) == [1, 3]
    talk.connection.end(1)
    talk.hear(headers(1, OK), goaway(1, 0))
    assert talk.events == [("response", 1, 200, (), True), ("unprocessed", 3), ("goaway", 0)]
    assert talk.connection.unsent == 0
    assert repr(talk.connection).startswith("<ClientConnection going away")
    with pytest.raises(RuntimeError, match="no room"):
        talk.get()


def test_a_handler_may_reset_from_inside_goaway() -> None:
    talk = ClientTalk()
    talk.get()
    talk.get()

    def reset_the_other(stream_id: int) -> None:
        talk.connection.reset(3, 8)

    talk.handler.on_unprocessed = reset_the_other  # type: ignore[method-assign]
    talk.hear(goaway(0, 0))
    assert not talk.connection.streams


# -- capacity -----------------------------------------------------------------------------------


def test_the_server_limits_the_streams() -> None:
    talk = ClientTalk(greeting=settings((3, 2)))
    assert talk.connection.capacity == 2
    talk.get()
    talk.get()
    assert talk.connection.capacity == 0
    with pytest.raises(RuntimeError, match="no room"):
        talk.get()
    talk.hear(headers(1, OK))
    assert talk.connection.capacity == 1
    talk.hear(settings((3, 0)))
    assert talk.connection.capacity == 0
    talk.hear(settings((3, 1000)))
    assert talk.connection.capacity == STREAMS - 1


def test_identifiers_run_out() -> None:
    talk = ClientTalk()
    talk.connection._next_stream_id = 2**31 - 1
    talk.get()
    assert talk.connection.capacity == 0


# -- what a server may not do -------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        [data(1, b"x")],
        [headers(1, [(b":status", b"100")])],
        [headers(1, [(b":status", b"101")], END_HEADERS)],
        [headers(1, [(b":status", b"103")], END_HEADERS)] * (INFORMATIONAL_RESPONSES + 1),
        [headers(1, [(b"x", b"1")])],
        [headers(1, [*OK, (b"connection", b"close")])],
        [headers(1, [*OK, (b"x", b"a\r\nb")])],
        [headers(1, OK, END_HEADERS), headers(1, TRAILERS, END_HEADERS)],
        [headers(1, OK, END_HEADERS), headers(1, OK)],
        [headers(1, [*OK, (b"content-length", b"4")])],
        [headers(1, [*OK, (b"content-length", b"4")], END_HEADERS), data(1, b"body!")],
        [headers(1, [*OK, (b"content-length", b"4")], END_HEADERS), data(1, b"bod", END_STREAM)],
        [headers(1, [*OK, (b"content-length", b"4")], END_HEADERS), headers(1, TRAILERS)],
        [headers(1, [(b":status", b"204")], END_HEADERS), data(1, b"x")],
        [headers(1, [(b":status", b"304")], END_HEADERS), data(1, b"x")],
    ],
)
def test_malformed_responses_end_their_stream(frames: list[bytes]) -> None:
    talk = ClientTalk()
    talk.get()
    assert talk.hear(*frames)[-1] == ("RST_STREAM", 1, "PROTOCOL_ERROR")
    assert talk.events[-1] == ("reset", 1, ErrorCode.PROTOCOL_ERROR)
    assert not talk.connection.closed


def test_a_body_for_head_ends_its_stream() -> None:
    talk = ClientTalk()
    talk.get(method=b"HEAD")
    talk.hear(headers(1, [*OK, (b"content-length", b"4")]))
    assert talk.events == [("response", 1, 200, ((b"content-length", b"4"),), True)]
    talk.get(method=b"HEAD")
    talk.sent()
    told = talk.hear(headers(3, [*OK, (b"content-length", b"4")], END_HEADERS), data(3, b"body"))
    assert told == [("RST_STREAM", 3, "PROTOCOL_ERROR")]


def test_a_304_may_declare_what_it_does_not_send() -> None:
    talk = ClientTalk()
    talk.get()
    talk.hear(headers(1, [(b":status", b"304"), (b"content-length", b"4")]))
    assert talk.events[-1][-1] is True


def test_frames_after_the_end() -> None:
    talk = ClientTalk()
    talk.get(end_stream=False)
    talk.sent()
    told = talk.hear(headers(1, OK), headers(1, OK))
    assert told == [("RST_STREAM", 1, "STREAM_CLOSED")]
    assert talk.events == [("response", 1, 200, (), True)]


def test_too_large_heads_end_their_stream() -> None:
    talk = ClientTalk()
    talk.get()
    talk.hear(headers(1, literal(b"x", b"v" * 4000, 0x40)))
    talk.get()
    talk.sent()
    told = talk.hear(headers(3, b"\x88" + b"\xbe" * 10))
    assert told == [("RST_STREAM", 3, "PROTOCOL_ERROR")]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([headers(3, OK)], "PROTOCOL_ERROR"),
        ([headers(2, OK)], "PROTOCOL_ERROR"),
        ([data(3, b"x")], "PROTOCOL_ERROR"),
        ([rst_stream(3)], "PROTOCOL_ERROR"),
        ([window_update(3, 1)], "PROTOCOL_ERROR"),
        ([raw(5, END_HEADERS, 1, b"\0\0\0\2\x88")], "PROTOCOL_ERROR"),
        ([settings((2, 1))], "PROTOCOL_ERROR"),
        ([priority_update(1, b"u=1")], "PROTOCOL_ERROR"),
        ([headers(1, OK), headers(1, OK)], "STREAM_CLOSED"),
        ([headers(1, OK), data(1, b"x")], "STREAM_CLOSED"),
        ([headers(1, b"\xff\xff\xff\xff\xff\xff")], "COMPRESSION_ERROR"),
    ],
)
def test_connection_errors(frames: list[bytes], code: str) -> None:
    talk = ClientTalk()
    talk.get()
    told = talk.hear(*frames)
    assert told[-1] == ("GOAWAY", 0, code)
    assert talk.events[-1][0] == "error"
    assert talk.connection.capacity == 0
    assert repr(talk.connection).startswith("<ClientConnection closed")


def test_settings_come_first() -> None:
    talk = ClientTalk(greeting=b"none")
    assert talk.hear(ping())[-1] == ("GOAWAY", 0, "PROTOCOL_ERROR")


def test_what_is_under_way_for_a_cancelled_request_is_ignored() -> None:
    talk = ClientTalk()
    talk.get()
    talk.sent()
    talk.connection.reset(1, ErrorCode.CANCEL)
    assert talk.sent() == [("RST_STREAM", 1, "CANCEL")]
    told = talk.hear(
        headers(1, literal(b":status", b"200") + literal(b"x", b"1", 0x40), END_HEADERS),
        data(1, b"late"),
        headers(1, TRAILERS),
    )
    assert told == []
    assert talk.events == []
    talk.get()
    talk.hear(headers(3, b"\x88\xbe"))
    assert talk.events == [("response", 3, 200, ((b"x", b"1"),), True)]


# -- flow control and time ----------------------------------------------------------------------


def test_uploads_wait_for_window() -> None:
    talk = ClientTalk(greeting=settings((4, 10)))
    talk.get(end_stream=False)
    talk.connection.send_data(1, b"0123456789ab", end_stream=True)
    assert talk.sent()[-1] == ("DATA", 1, b"0123456789", False)
    assert talk.hear(window_update(1, 2)) == [("DATA", 1, b"ab", True)]


def test_a_silent_server_is_pinged_and_given_up() -> None:
    talk = ClientTalk()
    talk.get()
    talk.sent()
    told: list[Event] = []
    for _ in range(200):
        talk.clock.now += 0.5
        talk.connection.sweep()
        told += talk.sent()
    assert [event[0] for event in told] == ["PING", "GOAWAY"]


def test_a_server_that_sends_no_preface_is_given_up() -> None:
    talk = ClientTalk(greeting=b"none")
    talk.clock.now += 11
    talk.connection.sweep()
    assert talk.events[-1][:2] == ("error", ErrorCode.ENHANCE_YOUR_CALM)


def test_resets_by_a_server_do_not_count_as_a_flood() -> None:
    talk = ClientTalk()
    for _ in range(1500):
        talk.hear(rst_stream(talk.get(), ErrorCode.CANCEL))
    assert isinstance(talk.connection, ClientConnection)
    assert not talk.connection.closed
