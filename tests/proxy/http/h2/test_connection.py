"""The server's side: requests, responses, early ends, drain, priorities, CONNECT."""

from __future__ import annotations

import tracemalloc

import pytest

from proxy.clock import CoarseClock
from proxy.http.h2.connection import (
    DRAIN_TIMEOUT,
    EARLY_PRIORITIES,
    LINGER_BYTES,
    ServerConnection,
)
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.priority import UNSAID, Priority
from proxy.limits import DRAIN_SECONDS, Limits
from tests.proxy.http.h2.conftest import Figures
from tests.proxy.http.h2.conversation import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    POST,
    PREFACE,
    RequestRecorder,
    ServerTalk,
    block,
    data,
    headers,
    literal,
    ping,
    priority_update,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)

UPGRADE = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    *GET[1:],
    (b"sec-websocket-version", b"13"),
]


def test_the_servers_preface() -> None:
    talk = ServerTalk(greet=False, limits=Limits(http2_streams=7, header_bytes=1000))
    assert talk.sent() == [
        ("SETTINGS", {3: 7, 4: 65_536, 6: 1000, 8: 1, 9: 1}, False),
        ("WINDOW_UPDATE", 0, 2**20 - 65_535),
    ]
    talk = ServerTalk(greet=False, extended_connect=False)
    assert talk.sent()[0][1][8] == 0


def test_a_request_and_its_response() -> None:
    talk = ServerTalk()
    talk.hear(headers(1, [*GET, (b"accept", b"*/*")]))
    request = talk.handler.requests[1]
    assert (request.method, request.authority, request.fields) == (
        b"GET",
        b"example.com",
        ((b"accept", b"*/*"),),
    )
    assert talk.events == [("request", 1, b"GET", b"/", True)]
    talk.connection.send_response(1, 200, [(b"Content-Type", b"text/plain")])
    assert talk.connection.send_data(1, b"hello", end_stream=True)
    assert talk.sent() == [
        ("HEADERS", 1, ((b":status", b"200"), (b"content-type", b"text/plain")), False),
        ("DATA", 1, b"hello", True),
    ]
    assert repr(talk.connection) == "<ServerConnection open, 0 streams, 0 unsent>"


def test_a_remembered_block_gives_the_same_object_with_what_was_kept_in_it() -> None:
    talk = ServerTalk()
    first = literal(b"x-first", b"1", 0x40) + b""
    talk.hear(headers(1, block(GET) + first))
    talk.hear(headers(3, block(GET) + b"\xbe"), headers(5, block(GET) + b"\xbe"))
    talk.handler.requests[3].extension = "upstream head"
    talk.hear(headers(7, block(GET) + b"\xbe"))
    requests = talk.handler.requests
    assert requests[1] is not requests[3]
    assert requests[3] is requests[5] is requests[7]
    assert requests[7].extension == "upstream head"
    talk.hear(headers(9, block(GET) + literal(b"x-second", b"2", 0x40)))
    talk.hear(headers(11, block(GET) + b"\xbe"))
    assert requests[11].fields == ((b"x-second", b"2"),)
    assert requests[11].extension is None


def test_one_block_with_and_without_end_and_as_trailers() -> None:
    """What a frame's flags say is not part of what is remembered."""
    talk = ServerTalk()
    fields = block([*POST, (b"content-length", b"4")])
    told = talk.hear(
        headers(1, fields, END_HEADERS),
        data(1, b"body", END_STREAM),
        headers(3, fields),
        headers(5, fields, END_HEADERS),
        headers(5, fields),
    )
    assert told == [("RST_STREAM", 3, "PROTOCOL_ERROR"), ("RST_STREAM", 5, "PROTOCOL_ERROR")]
    assert [event[:2] for event in talk.events] == [
        ("request", 1),
        ("data", 1),
        ("request", 5),
        ("reset", 5),
    ]


def test_informational_responses_come_first() -> None:
    talk = ServerTalk()
    talk.hear(headers(1))
    talk.connection.send_response(1, 103, [(b"link", b"</a>")])
    talk.connection.send_response(1, 103, [])
    talk.connection.send_response(1, 204, [], end_stream=True)
    assert [event[2][0][1] for event in talk.sent()] == [b"103", b"103", b"204"]


def test_misuse_is_told() -> None:
    talk = ServerTalk()
    talk.hear(headers(1))
    with pytest.raises(RuntimeError, match="103 response that ends"):
        talk.connection.send_response(1, 103, [], end_stream=True)
    talk.connection.send_response(1, 200, [])
    with pytest.raises(RuntimeError, match="second response head"):
        talk.connection.send_response(1, 200, [])


def test_a_prepared_head() -> None:
    encoder = FieldEncoder()
    talk = ServerTalk()
    talk.hear(headers(1))
    talk.connection.send_head(1, 200, encoder.encode_response(200, [(b"x", b"1")]), end_stream=True)
    assert talk.sent() == [("HEADERS", 1, ((b":status", b"200"), (b"x", b"1")), True)]


def early(talk: ServerTalk, stream_id: int = 1) -> None:
    """A request that is answered in the middle of its body."""
    talk.hear(headers(stream_id, POST, END_HEADERS), data(stream_id, b"some"))
    talk.handler.events.clear()
    talk.connection.send_response(stream_id, 413, [], end_stream=True)
    assert [event[0] for event in talk.sent()] == ["HEADERS", "WINDOW_UPDATE"]


def test_after_an_early_response_the_rest_of_the_request_is_dropped() -> None:
    talk = ServerTalk()
    early(talk)
    assert talk.hear(data(1, b"more"), data(1, b"", END_STREAM)) == []
    assert talk.events == []
    assert not talk.connection.streams


def test_after_an_early_response_trailers_end_the_request_too() -> None:
    talk = ServerTalk()
    early(talk)
    assert talk.hear(headers(1, [(b"x-sum", b"1")])) == []
    assert talk.events == []
    assert not talk.connection.streams


def test_a_request_that_goes_on_long_after_its_response_is_reset() -> None:
    talk = ServerTalk()
    early(talk)
    talk.clock.now += DRAIN_SECONDS - 1
    talk.connection.sweep()
    assert talk.sent() == []
    talk.clock.now += 1
    talk.connection.sweep()
    assert talk.sent() == [("RST_STREAM", 1, "NO_ERROR")]
    assert talk.hear(data(1, b"late")) == []
    assert talk.events == []


def test_a_request_that_sends_much_after_its_response_is_reset() -> None:
    talk = ServerTalk()
    early(talk)
    piece = data(1, bytes(16_384))
    told = [event for _ in range(LINGER_BYTES // 16_384 - 1) for event in talk.hear(piece)]
    assert {event[:2] for event in told} == {("WINDOW_UPDATE", 0)}
    assert talk.hear(piece)[-1] == ("RST_STREAM", 1, "NO_ERROR")
    assert not talk.connection.closed


def test_lingering_streams_make_room_for_new_ones() -> None:
    talk = ServerTalk(limits=Limits(http2_streams=2))
    early(talk, 1)
    talk.hear(headers(3))
    assert talk.hear(headers(5)) == [("RST_STREAM", 1, "NO_ERROR")]
    assert sorted(talk.connection.streams) == [3, 5]


def test_a_reset_after_the_whole_response_is_no_rapid_reset() -> None:
    talk = ServerTalk()
    for number in range(600):
        early(talk, 2 * number + 1)
        assert talk.hear(rst_stream(2 * number + 1, 0)) == []
    assert not talk.connection.closed


def test_an_early_response_with_a_backlog_is_sent_whole() -> None:
    talk = ServerTalk()
    talk.hear(settings((4, 3)), headers(1, POST, END_HEADERS))
    talk.connection.send_response(1, 413, [])
    talk.connection.send_data(1, b"too large", end_stream=True)
    assert talk.sent()[-1] == ("DATA", 1, b"too", False)
    assert talk.hear(data(1, b"more")) == []
    assert talk.hear(window_update(1, 100)) == [
        ("DATA", 1, b" large", True),
        ("WINDOW_UPDATE", 1, LINGER_BYTES),
    ]
    assert talk.hear(data(1, b"", END_STREAM)) == []
    assert not talk.connection.streams


def test_request_trailers() -> None:
    talk = ServerTalk()
    talk.hear(headers(1, POST, END_HEADERS), data(1, b"x"), headers(1, [(b"x-sum", b"1")]))
    assert talk.events[-1] == ("trailers", 1, ((b"x-sum", b"1"),))


def test_a_declared_length_is_kept() -> None:
    talk = ServerTalk()
    talk.hear(headers(1, [*POST, (b"content-length", b"4")], END_HEADERS))
    assert talk.hear(data(1, b"bo"), data(1, b"dy"), data(1, b"", END_STREAM)) == []
    assert talk.events[-1] == ("data", 1, b"", True)


# -- limits -------------------------------------------------------------------------------------


def test_streams_are_limited_and_a_refused_one_keeps_the_table_right() -> None:
    talk = ServerTalk(limits=Limits(http2_streams=2))
    talk.hear(headers(1), headers(3))
    told = talk.hear(headers(5, block(GET) + literal(b"x-new", b"1", 0x40)))
    assert told == [("RST_STREAM", 5, "REFUSED_STREAM")]
    talk.connection.reset(1, ErrorCode.CANCEL)
    talk.hear(headers(7, block(GET) + b"\xbe"))
    assert talk.handler.requests[7].fields == ((b"x-new", b"1"),)
    assert 5 not in talk.handler.requests


def test_too_large_heads_are_answered() -> None:
    talk = ServerTalk(answer=True)
    told = talk.hear(headers(1, [*GET, *[(b"x", b"1")] * 101]))
    assert told == [("HEADERS", 1, ((b":status", b"431"),), True)]
    assert not talk.connection.closed


# -- CONNECT ------------------------------------------------------------------------------------


def test_a_tunnel_closes_its_halves_one_by_one() -> None:
    talk = ServerTalk()
    talk.hear(headers(1, UPGRADE, END_HEADERS))
    assert talk.handler.requests[1].protocol == b"websocket"
    talk.connection.send_response(1, 200, [])
    talk.connection.send_data(1, b"from backend", end_stream=True)
    assert talk.sent()[-1] == ("DATA", 1, b"from backend", True)
    talk.hear(data(1, b"from client"), data(1, b"", END_STREAM))
    assert talk.events[1:] == [("data", 1, b"from client", False), ("data", 1, b"", True)]
    assert not talk.connection.streams


def test_a_refused_tunnel_is_a_response_like_any_other() -> None:
    talk = ServerTalk()
    talk.hear(headers(1, UPGRADE, END_HEADERS))
    talk.connection.send_response(1, 403, [])
    talk.connection.send_data(1, b"no", end_stream=True)
    assert talk.sent()[-2:] == [("DATA", 1, b"no", True), ("WINDOW_UPDATE", 1, LINGER_BYTES)]
    talk.clock.now += DRAIN_SECONDS
    talk.connection.sweep()
    assert talk.sent() == [("RST_STREAM", 1, "NO_ERROR")]
    assert not talk.connection.streams


# -- priorities ---------------------------------------------------------------------------------


def test_where_a_priority_comes_from() -> None:
    talk = ServerTalk()
    talk.hear(
        priority_update(5, b"u=6"),
        headers(1),
        headers(3, [*GET, (b"priority", b"u=1, i")]),
        headers(5, [*GET, (b"priority", b"u=1")]),
    )
    streams = talk.connection.streams
    assert streams[1].priority == UNSAID
    assert streams[3].priority == Priority(1, incremental=True)
    assert streams[5].priority == Priority(6)
    talk.hear(priority_update(3, b""))
    assert streams[3].priority == Priority()


def test_early_priorities_are_bounded() -> None:
    talk = ServerTalk()
    talk.hear(*[priority_update(number, b"u=1") for number in range(1, 401, 2)])
    assert len(talk.connection._early_priorities) == EARLY_PRIORITIES


def is_drained(talk: ServerTalk) -> bool:
    """Asked anew each time, which a type checker does not expect of a property."""
    return talk.connection.drained


# -- drain --------------------------------------------------------------------------------------


def test_a_drain_takes_two_steps() -> None:
    talk = ServerTalk()
    talk.hear(headers(1))
    talk.connection.drain()
    talk.connection.drain()
    assert talk.sent() == [("GOAWAY", 2**31 - 1, "NO_ERROR"), ("PING", b"vst-last", False)]
    # Sent before the client read GOAWAY: still served.
    assert talk.hear(headers(3), ping(b"vst-last", ACK)) == [("GOAWAY", 3, "NO_ERROR")]
    assert [event[:2] for event in talk.events] == [("request", 1), ("request", 3)]
    # Sent after it: ignored, with all that belongs to it.
    late = literal(b"x-late", b"1", 0x40)
    assert (
        talk.hear(
            headers(5, block(POST) + late, END_HEADERS),
            data(5, b"x"),
            window_update(5, 1),
            rst_stream(5),
        )
        == []
    )
    assert talk.events == []
    assert not is_drained(talk)
    assert repr(talk.connection) == "<ServerConnection draining, 2 streams, 0 unsent>"
    for stream_id in (1, 3):
        talk.connection.send_response(stream_id, 204, [], end_stream=True)
    assert is_drained(talk)
    assert len(talk.sent()) == 2


def test_a_client_that_does_not_answer_is_not_waited_for() -> None:
    talk = ServerTalk()
    talk.connection.drain()
    talk.sent()
    for _ in range(int(DRAIN_TIMEOUT * 2)):
        talk.clock.now += 0.5
        talk.connection.sweep()
    assert not is_drained(talk)
    talk.clock.now += 0.5
    talk.connection.sweep()
    talk.connection.sweep()
    assert talk.sent() == [("GOAWAY", 0, "NO_ERROR")]
    assert is_drained(talk)


def test_a_closed_connection_is_drained() -> None:
    talk = ServerTalk()
    talk.connection.terminate(ErrorCode.NO_ERROR, "closing")
    talk.connection.drain()
    talk.connection.finish_drain()
    assert talk.connection.drained
    assert len(talk.sent()) == 1
    assert repr(talk.connection).startswith("<ServerConnection closed")


# -- memory -------------------------------------------------------------------------------------


def test_an_idle_connection_is_small(figures: Figures) -> None:
    clock = CoarseClock(0.0)
    encoder = FieldEncoder()
    limits = Limits()
    kept = []
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(50):
        handler = RequestRecorder(answer=True)
        connection = ServerConnection(handler, clock, limits, encoder)
        handler.connection = connection
        connection.receive(PREFACE + settings() + settings_ack())
        fields = block(GET) + literal(b"user-agent", b"a browser of some kind " * 4, 0x40)
        connection.receive(headers(1, fields) + headers(3, block(GET) + b"\xbe"))
        connection.data_to_send()
        handler.events.clear()
        handler.requests.clear()
        kept.append(connection)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (after - before) / 50
    figures(f"an idle connection after two requests: {size / 1024:.1f} KiB")
    assert size < 12 * 1024
