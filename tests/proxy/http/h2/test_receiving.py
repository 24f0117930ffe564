"""Framing and the assembly of field blocks (the conformance tests hold most cases)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.receiving import FIELD_SECTION_WORK, WORK_UNDER_SUSPICION
from tests.proxy.http.h2.conversation import (
    END_HEADERS,
    END_STREAM,
    GET,
    POST,
    PREFACE,
    ServerTalk,
    block,
    continuation,
    data,
    headers,
    ping,
    raw,
    rst_stream,
    settings,
    settings_ack,
)


def test_incomplete_frames_wait_without_being_looked_at_again() -> None:
    talk = ServerTalk()
    talk.hear(headers(1, POST, END_HEADERS))
    frame = data(1, bytes(16_384))
    for octet in frame[:-1]:
        talk.connection.receive(bytes((octet,)))
    assert len(talk.connection._pending) == len(frame) - 1
    assert talk.connection._needed == len(frame)
    assert [event[0] for event in talk.events] == ["request"]
    talk.connection.receive(frame[-1:] + ping())
    assert [event[0] for event in talk.events] == ["data"]
    assert not talk.connection._pending


@given(st.lists(st.integers(1, 30), min_size=1))
def test_a_block_in_any_fragments_is_the_same_request(cuts: list[int]) -> None:
    talk = ServerTalk()
    fields = block([*GET, (b"x", b"v" * 60)])
    frames = []
    position = 0
    for cut in cuts[:30]:
        frames.append(fields[position : position + cut])
        position += cut
    frames.append(fields[position:])
    told = [headers(1, frames[0], END_STREAM)]
    told += [continuation(1, piece, 0) for piece in frames[1:-1]]
    told.append(continuation(1, frames[-1]))
    talk.hear(*told)
    assert talk.events == [("request", 1, b"GET", b"/", True)]


def test_a_frame_too_long_is_refused_by_its_header() -> None:
    talk = ServerTalk()
    told = talk.hear(raw(0, 0, 1, bytes(16_385))[:9])
    assert told == [("GOAWAY", 0, "FRAME_SIZE_ERROR")]


def test_nothing_after_an_error_is_read() -> None:
    talk = ServerTalk()
    talk.hear(ping(b"short"), headers(1))
    assert [event[0] for event in talk.events] == ["error"]
    assert talk.connection.closed
    assert not talk.connection._pending


def test_a_handler_may_end_the_connection_from_inside() -> None:
    talk = ServerTalk()

    def enough(stream_id: int, data: bytes, end_stream: bool) -> None:
        talk.connection.terminate(ErrorCode.INTERNAL_ERROR, "enough")

    talk.handler.on_data = enough  # type: ignore[method-assign]
    told = talk.hear(headers(1, POST, END_HEADERS), data(1, b"x"), headers(3))
    assert told[-1] == ("GOAWAY", 1, "INTERNAL_ERROR")
    assert [event[0] for event in talk.events] == ["request", "error"]


@pytest.mark.parametrize("wrong", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03"])
def test_another_protocol(wrong: bytes) -> None:
    talk = ServerTalk(greet=False)
    for octet in wrong:
        talk.connection.receive(bytes((octet,)))
    assert talk.events == [("error", ErrorCode.PROTOCOL_ERROR, "no HTTP/2 connection preface")]


def test_preface_and_requests_in_one_piece() -> None:
    talk = ServerTalk(greet=False, answer=True)
    told = talk.hear(PREFACE, settings(), headers(1), settings_ack())
    assert [event[0] for event in told] == [
        "SETTINGS",
        "WINDOW_UPDATE",
        "SETTINGS",
        "HEADERS",
        "DATA",
    ]


def test_the_body_of_a_refused_request_is_dropped_and_given_back() -> None:
    talk = ServerTalk()
    fields = [*POST, *[(b"x", b"1")] * 101]
    told = talk.hear(headers(1, fields, END_HEADERS), *[data(1, bytes(16_384))] * 6)
    assert talk.events == [("bad request", 1, 431)]
    assert ("WINDOW_UPDATE", 1, 32_768) in told
    talk.connection.send_response(1, 431, [], end_stream=True)
    assert talk.sent()[-2] == ("HEADERS", 1, ((b":status", b"431"),), True)
    assert talk.hear(data(1, b"late")) == []


def test_a_refused_request_that_ends_or_breaks_the_rules_is_not_told_again() -> None:
    talk = ServerTalk()
    fields = [*POST, *[(b"x", b"1")] * 101]
    talk.hear(headers(1, fields, END_HEADERS), data(1, b"x", END_STREAM), data(1, b"x"))
    talk.hear(headers(3, fields, END_HEADERS), headers(3, [(b"x", b"1")]))
    assert talk.events == [("bad request", 1, 431), ("bad request", 3, 431)]


def test_only_so_many_requests_in_one_turn() -> None:
    talk = ServerTalk()
    talk.connection.work_per_turn = 2 * (FIELD_SECTION_WORK + 1)
    told = b"".join(headers(number, GET) for number in (1, 3, 5, 7, 9))
    talk.connection.receive(told)
    assert [event[1] for event in talk.events] == [1, 3]
    assert talk.connection.interrupted
    talk.connection.receive(b"")
    assert [event[1] for event in talk.events] == [5, 7]
    # More bytes may come before it goes on; nothing is lost and nothing overtakes.
    talk.connection.receive(headers(11, GET))
    assert [event[1] for event in talk.events] == [9, 11]
    assert not talk.connection.interrupted


def test_requests_of_a_client_that_resets_many_count_for_more() -> None:
    talk = ServerTalk()
    talk.connection.work_per_turn = 100 * (FIELD_SECTION_WORK + 1)
    talk.connection.receive(b"".join(headers(number, GET) for number in range(1, 101, 2)))
    assert len(talk.events) == 50
    talk.connection.receive(b"".join(rst_stream(number) for number in range(1, 101, 2)))
    talk.events.clear()
    talk.connection.receive(b"".join(headers(number, GET) for number in range(101, 201, 2)))
    assert len(talk.events) < 100 * 2 // WORK_UNDER_SUSPICION
    assert talk.connection.interrupted


def test_what_takes_a_request_back_is_of_the_same_turn() -> None:
    talk = ServerTalk()
    talk.connection.work_per_turn = 1
    talk.connection.receive(b"".join(headers(n, GET) + rst_stream(n) for n in (1, 3, 5)))
    for number in (1, 3, 5):
        assert [(event[0], event[1]) for event in talk.events] == [
            ("request", number),
            ("reset", number),
        ]
        talk.events.clear()
        talk.connection.receive(b"")


def test_many_small_frames_are_more_than_one_turns_work_too() -> None:
    talk = ServerTalk()
    talk.connection.work_per_turn = 10
    talk.connection.receive(b"".join(ping(b"%08d" % number) for number in range(25)))
    answers = 0
    for _ in range(3):
        answers += len(talk.sent())
        if talk.connection.interrupted:
            talk.connection.receive(b"")
    assert answers == 25
