"""The frames that carry no message (the conformance tests hold the cases of the RFC)."""

from __future__ import annotations

from proxy.http.h2.faults import ErrorCode
from tests.proxy.http.h2.conversation import (
    ACK,
    END_HEADERS,
    POST,
    ServerTalk,
    goaway,
    headers,
    ping,
    priority,
    raw,
    rst_stream,
    settings,
    window_update,
)


def test_a_ping_is_answered_with_its_payload() -> None:
    assert ServerTalk().hear(ping(b"\0\1\2\3\4\5\6\7")) == [("PING", b"\0\1\2\3\4\5\6\7", True)]


def test_an_answer_to_nothing_is_ignored() -> None:
    assert ServerTalk().hear(ping(b"whatever", ACK)) == []


def test_settings_are_acknowledged_one_by_one() -> None:
    assert ServerTalk().hear(settings((3, 1)), settings()) == [("SETTINGS", {}, True)] * 2


def test_a_reset_is_told_with_its_code() -> None:
    talk = ServerTalk()
    talk.hear(headers(1), rst_stream(1, 0xABCD))
    assert talk.events[-1] == ("reset", 1, 0xABCD)
    assert not talk.connection.streams


def test_goaway_of_a_client_stops_nothing() -> None:
    talk = ServerTalk(answer=True)
    told = talk.hear(headers(1, POST, END_HEADERS), goaway(0, 2), headers(3))
    assert told[0][:2] == ("HEADERS", 3)
    assert list(talk.connection.streams) == [1]


def test_priority_of_a_wrong_length_on_a_closed_stream_harms_no_other() -> None:
    talk = ServerTalk(answer=True)
    talk.hear(headers(1))
    assert talk.hear(raw(2, 0, 1, b"1234")) == [("RST_STREAM", 1, "FRAME_SIZE_ERROR")]


def test_priority_of_a_wrong_length_on_an_idle_stream_ends_the_connection() -> None:
    talk = ServerTalk()
    assert talk.hear(raw(2, 0, 1, b"1234")) == [("GOAWAY", 0, "FRAME_SIZE_ERROR")]


def test_a_stream_that_depends_on_itself() -> None:
    talk = ServerTalk()
    told = talk.hear(headers(1, POST, END_HEADERS), priority(1, 1))
    assert told == [("RST_STREAM", 1, "PROTOCOL_ERROR")]
    assert talk.events[-1] == ("reset", 1, ErrorCode.PROTOCOL_ERROR)


def test_windows_of_streams_that_are_closed_or_reset_are_ignored() -> None:
    talk = ServerTalk(answer=True)
    talk.hear(headers(1), headers(3, POST, END_HEADERS), rst_stream(3))
    assert talk.hear(window_update(1, 1), window_update(3, 1), window_update(3, 0)) == []
