"""What an owner calls: acknowledge, reset, terminate, sweep; and the deadlines."""

from __future__ import annotations

import pytest

from proxy.http.h2.endpoint import PING_TIMEOUT, SETTINGS_TIMEOUT, SILENCE_BEFORE_PING
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.flow_control import STREAM_WINDOW
from tests.proxy.http.h2.conversation import (
    ACK,
    END_HEADERS,
    END_STREAM,
    POST,
    PREFACE,
    Event,
    ServerTalk,
    continuation,
    data,
    headers,
    padded,
    ping,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM


def uploading(*stream_ids: int) -> ServerTalk:
    talk = ServerTalk()
    for stream_id in stream_ids:
        talk.hear(headers(stream_id, POST, END_HEADERS))
    talk.handler.events.clear()
    return talk


def updates(told: list[Event], stream_id: int) -> int:
    return sum(event[2] for event in told if event[:2] == ("WINDOW_UPDATE", stream_id))


# -- receive windows ----------------------------------------------------------------------------


def test_a_stream_window_opens_only_as_data_is_consumed() -> None:
    talk = uploading(1)
    piece = bytes(16_384)
    told = talk.hear(*[data(1, piece)] * 4)
    assert updates(told, 1) == 0
    talk.connection.acknowledge(1, 20_000)
    assert talk.sent() == []
    talk.connection.acknowledge(1, 20_000)
    assert updates(talk.sent(), 1) == 40_000


def test_more_than_the_window_is_a_stream_error() -> None:
    talk = uploading(1, 3)
    told = talk.hear(*[data(1, bytes(16_384))] * 5)
    assert ("RST_STREAM", 1, "FLOW_CONTROL_ERROR") in told
    assert sum(event[0] == "data" for event in talk.handler.events) == 4
    assert talk.events[-1] == ("reset", 1, ErrorCode.FLOW_CONTROL_ERROR)
    assert list(talk.connection.streams) == [3]


def test_a_stalled_consumer_does_not_use_up_the_connection() -> None:
    stalled = range(1, 199, 2)
    talk = uploading(*stalled, 199)
    piece = bytes(16_384)
    for stream_id in stalled:
        talk.hear(*[data(stream_id, piece)] * 4)
    for _ in range(500):
        talk.hear(data(199, piece))
        talk.connection.acknowledge(199, len(piece))
    assert not talk.connection.closed
    held = sum(len(event[2]) for event in talk.events if event[1] != 199)
    assert held == 99 * STREAM_WINDOW


def test_the_connection_window_is_kept_too() -> None:
    talk = uploading(1)
    talk.connection._receive_window.available = 10
    told = talk.hear(data(1, bytes(11)))
    assert told[-1] == ("GOAWAY", 1, "FLOW_CONTROL_ERROR")


def test_padding_is_given_back_at_once() -> None:
    talk = uploading(1)
    told = talk.hear(*[padded(0, 0, 1, bytes(200), 255)] * 150)
    assert updates(told, 1) >= 150 * 256 - STREAM_WINDOW // 2


def test_acknowledging_is_harmless_when_it_comes_late() -> None:
    talk = uploading(1, 3, 5)
    talk.connection.acknowledge(1, 10)
    talk.connection.acknowledge(99, 10)
    talk.hear(data(3, bytes(100), END_STREAM), data(5, bytes(100)), rst_stream(5))
    talk.connection.acknowledge(3, 100)
    talk.connection.acknowledge(5, 100)
    assert talk.sent() == []


def test_acknowledging_too_much_is_told() -> None:
    talk = uploading(1)
    talk.hear(data(1, bytes(100)))
    with pytest.raises(ValueError, match="more than were received"):
        talk.connection.acknowledge(1, 101)


# -- resets -------------------------------------------------------------------------------------


def test_our_reset_is_silent_and_what_is_under_way_is_ignored() -> None:
    talk = uploading(1)
    talk.connection.reset(1, ErrorCode.CANCEL)
    talk.connection.reset(1, ErrorCode.CANCEL)
    assert talk.sent() == [("RST_STREAM", 1, "CANCEL")]
    late = data(1, bytes(16_384))
    told = talk.hear(late, late, window_update(1, 5), headers(1, [(b"x", b"1")]))
    assert told == []
    assert talk.events == []
    assert talk.hear(late, late, late)[-1] == ("GOAWAY", 1, "FLOW_CONTROL_ERROR")


def test_data_on_a_reset_stream_still_counts_for_the_connection() -> None:
    talk = uploading(*range(1, 81, 2))
    told: list[Event] = []
    for stream_id in range(1, 81, 2):
        talk.connection.reset(stream_id, ErrorCode.CANCEL)
        told += talk.hear(*[data(stream_id, bytes(16_384))] * 4)
    assert updates(told, 0) >= 40 * 65_536 - 2**19


def test_termination() -> None:
    talk = uploading(1, 3)
    talk.connection.send_response(1, 200, [])
    talk.connection.send_data(1, bytes(200_000))
    talk.connection.terminate(ErrorCode.INTERNAL_ERROR, "for a test")
    talk.connection.terminate(ErrorCode.NO_ERROR, "again")
    assert talk.events == [("error", ErrorCode.INTERNAL_ERROR, "for a test")]
    told = talk.sent()
    assert told[-1] == ("GOAWAY", 3, "INTERNAL_ERROR")
    assert not any(event[0] == "DATA" for event in told)
    assert talk.connection.unsent == 0
    assert talk.hear(headers(5)) == []
    talk.connection.sweep()
    assert talk.events == []


# -- deadlines ----------------------------------------------------------------------------------


def pass_time(talk: ServerTalk, seconds: float) -> list[Event]:
    """Let time pass as a worker does, sweep by sweep."""
    told = []
    for _ in range(int(seconds * 2)):
        talk.clock.now += 0.5
        talk.connection.sweep()
        told += talk.sent()
    return told


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        PREFACE[:10],
        PREFACE,
        PREFACE + settings((3, 1))[:-1],
    ],
)
def test_a_preface_that_does_not_end(begun: bytes) -> None:
    talk = ServerTalk(greet=False)
    talk.hear(begun)
    assert pass_time(talk, 10.0) == []
    assert pass_time(talk, 0.5)[-1][2] == "ENHANCE_YOUR_CALM"
    assert talk.events[-1][:2] == ("error", CALM)


@pytest.mark.parametrize(
    "begun",
    [
        headers(1)[:-1],
        headers(1, b"\x82", END_STREAM),
        headers(1, b"\x82", END_STREAM) + continuation(1, b"\x87", 0),
        headers(1, b"\x82", END_STREAM) + continuation(1, b"\x87")[:9],
    ],
)
def test_a_head_that_does_not_end(begun: bytes) -> None:
    talk = ServerTalk()
    talk.connection.receive(begun)
    pass_time(talk, 5.0)
    talk.connection.receive(b"")
    pass_time(talk, 5.0)
    assert not talk.connection.closed
    assert pass_time(talk, 0.5)[-1][2] == "ENHANCE_YOUR_CALM"


def test_a_head_that_drips_has_no_more_time() -> None:
    talk = ServerTalk()
    for octet in headers(1)[:15]:
        talk.connection.receive(bytes((octet,)))
        pass_time(talk, 1.0)
        if talk.connection.closed:
            return
    raise AssertionError("dripping helped")


def test_a_head_in_time_and_an_idle_connection_are_fine() -> None:
    talk = ServerTalk(answer=True)
    talk.connection.receive(headers(1)[:20])
    pass_time(talk, 9.0)
    talk.connection.receive(headers(1)[20:])
    assert talk.events[0][0] == "request"
    assert pass_time(talk, 300.0) != []
    assert not talk.connection.closed


def test_settings_have_to_be_acknowledged() -> None:
    talk = ServerTalk(greeting=PREFACE + settings())
    pass_time(talk, SETTINGS_TIMEOUT)
    assert not talk.connection.closed
    assert pass_time(talk, 0.5)[-1][2] == "SETTINGS_TIMEOUT"


def test_settings_acknowledged_in_time() -> None:
    talk = ServerTalk(greeting=PREFACE + settings())
    talk.hear(settings_ack())
    assert pass_time(talk, 2 * SETTINGS_TIMEOUT) == []


def test_a_silent_client_with_open_streams_is_pinged() -> None:
    talk = uploading(1)
    assert pass_time(talk, SILENCE_BEFORE_PING) == []
    assert pass_time(talk, 0.5) == [("PING", b"vst-live", False)]
    talk.hear(ping(b"vst-live", ACK))
    assert pass_time(talk, SILENCE_BEFORE_PING) == []
    assert pass_time(talk, 0.5) == [("PING", b"vst-live", False)]
    assert pass_time(talk, PING_TIMEOUT) == []
    assert pass_time(talk, 0.5) == [("GOAWAY", 1, "NO_ERROR")]
    assert talk.events == [("error", ErrorCode.NO_ERROR, "no answer to PING")]


def test_while_data_goes_out_nobody_is_asked() -> None:
    talk = uploading(1)
    talk.connection.send_response(1, 200, [])
    for _ in range(10):
        talk.connection.send_data(1, b": keep-alive\n")
        assert not any(event[0] == "PING" for event in pass_time(talk, 15.0))


def test_a_stalled_connection_window_ends_the_connection() -> None:
    talk = uploading(1)
    talk.hear(settings((4, 2**30)))
    talk.connection.send_response(1, 200, [])
    talk.connection.send_data(1, bytes(70_000))
    talk.sent()
    pass_time(talk, 29.0)
    talk.hear(window_update(0, 1))
    assert not talk.connection.closed
    assert pass_time(talk, 2.0)[-1] == ("GOAWAY", 1, "ENHANCE_YOUR_CALM")


def test_progress_restarts_the_stall() -> None:
    talk = uploading(1, 3)
    talk.hear(settings((4, 10_000)))
    for stream_id in (1, 3):
        talk.connection.send_response(stream_id, 200, [])
        talk.connection.send_data(stream_id, bytes(70_000))
    talk.sent()
    pass_time(talk, 29.0)
    talk.hear(window_update(1, 2000))
    assert ("RST_STREAM", 3, "ENHANCE_YOUR_CALM") in pass_time(talk, 5.0)
    assert list(talk.connection.streams) == [1]


def test_a_handler_may_reset_others_while_stalls_are_swept() -> None:
    talk = uploading(1, 3)
    talk.hear(settings((4, 0)))
    for stream_id in (1, 3):
        talk.connection.send_response(stream_id, 200, [])
        talk.connection.send_data(stream_id, b"x")

    def reset_the_other(stream_id: int, code: int, reason: str) -> None:
        talk.connection.reset(3, ErrorCode.CANCEL)

    talk.handler.on_reset = reset_the_other  # type: ignore[method-assign]
    told = [event for event in pass_time(talk, 31.0) if event[0] == "RST_STREAM"]
    assert told == [("RST_STREAM", 1, "ENHANCE_YOUR_CALM"), ("RST_STREAM", 3, "CANCEL")]


def test_an_idle_connection_gives_its_memory_back() -> None:
    talk = ServerTalk(answer=True)
    talk.hear(headers(1))
    assert talk.connection._blocks.known
    pass_time(talk, 6.0)
    assert not talk.connection._blocks.known
    assert talk.hear(headers(3))[0][0] == "HEADERS"
