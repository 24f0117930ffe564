"""The sending half: windows, backlogs, turns, back-pressure, and what is handed out when."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.h2.priority import Priority
from proxy.http.h2.sending import CONNECTION_BACKLOG, CROWDED_MARK, OUTPUT_BYTES
from proxy.limits import BUFFER_BYTES
from tests.proxy.http.h2.conversation import (
    GET,
    Event,
    ServerTalk,
    headers,
    priority_update,
    rst_stream,
    window_update,
)
from tests.proxy.http.h2.conversation import settings as settings_frame

WIDE = settings_frame((4, 2**30)) + window_update(0, 2**30)


def talk_with(*stream_ids: int, greeting: bytes = WIDE) -> ServerTalk:
    """A server that has begun a response on each of these streams."""
    talk = ServerTalk()
    talk.hear(greeting)
    for stream_id in stream_ids:
        talk.hear(headers(stream_id))
        talk.connection.send_response(stream_id, 200, [])
    talk.sent()
    talk.handler.events.clear()
    return talk


def bodies(told: list[Event]) -> dict[int, bytes]:
    """The data of each stream."""
    result: dict[int, bytes] = {}
    for event in told:
        if event[0] == "DATA":
            result[event[1]] = result.get(event[1], b"") + event[2]
    return result


def order(told: list[Event]) -> list[int]:
    """Whose DATA frames came, in order."""
    return [event[1] for event in told if event[0] == "DATA"]


# -- heads and small bodies ---------------------------------------------------------------------


def test_all_of_a_turn_is_one_piece() -> None:
    talk = ServerTalk(answer=True)
    talk.connection.receive(headers(1) + headers(3) + headers(5))
    sent = talk.connection.data_to_send()
    assert talk.connection.data_to_send() == b""
    assert sent.count(b"hello") == 3


def test_only_the_first_block_carries_the_table_size_update() -> None:
    talk = talk_with()
    talk.connection.receive(headers(1) + headers(3))
    for stream_id in (1, 3):
        talk.connection.send_response(stream_id, 204, [], end_stream=True)
    assert talk.connection.data_to_send().endswith(
        b"\0\0\2\1\5\0\0\0\1\x20\x89" + b"\0\0\1\1\5\0\0\0\3\x89"
    )


def test_a_long_head_goes_on_in_continuation() -> None:
    talk = talk_with()
    talk.hear(headers(1))
    fields = [(b"x-%d" % number, b"v" * 5000) for number in range(5)]
    talk.connection.send_response(1, 200, fields, end_stream=True)
    (head,) = talk.sent()
    assert head == ("HEADERS", 1, ((b":status", b"200"), *fields), True)


def test_an_empty_piece_is_nothing() -> None:
    talk = talk_with(1)
    assert talk.connection.send_data(1, b"")
    assert not talk.connection.wants_to_send


def test_trailers() -> None:
    talk = talk_with(1)
    talk.connection.send_data(1, b"body")
    talk.connection.send_trailers(1, [(b"grpc-status", b"0")])
    assert talk.sent() == [
        ("DATA", 1, b"body", False),
        ("HEADERS", 1, ((b"grpc-status", b"0"),), True),
    ]
    assert not talk.connection.streams


def test_trailers_wait_for_the_data_before_them() -> None:
    talk = talk_with(1, greeting=settings_frame((4, 2)))
    talk.connection.send_data(1, b"body")
    talk.connection.send_trailers(1, [(b"grpc-status", b"0")])
    assert talk.sent() == [("DATA", 1, b"bo", False)]
    assert talk.hear(window_update(1, 2)) == [
        ("DATA", 1, b"dy", False),
        ("HEADERS", 1, ((b"grpc-status", b"0"),), True),
    ]
    assert not talk.connection.streams


# -- misuse, and streams that are gone ----------------------------------------------------------


def test_out_of_order_use_is_told() -> None:
    talk = ServerTalk()
    talk.hear(settings_frame((4, 2)), headers(1), headers(3))
    connection = talk.connection
    with pytest.raises(RuntimeError, match="data out of place"):
        connection.send_data(1, b"x")
    with pytest.raises(RuntimeError, match="trailers out of place"):
        connection.send_trailers(1, [])
    connection.send_response(1, 200, [])
    connection.send_data(1, b"body", end_stream=True)
    with pytest.raises(RuntimeError, match="data after the end"):
        connection.send_data(1, b"x")
    with pytest.raises(RuntimeError, match="trailers after the end"):
        connection.send_trailers(1, [])


def test_a_stream_that_is_gone_is_left_alone() -> None:
    talk = talk_with(1)
    talk.hear(rst_stream(1))
    connection = talk.connection
    connection.send_response(1, 200, [])
    assert connection.send_data(1, b"x")
    connection.send_trailers(1, [])
    connection.end(1)
    connection.reset(1, 8)
    connection.reprioritize(1, Priority(0))
    assert connection.buffered(1) == 0
    assert talk.sent() == []


# -- windows ------------------------------------------------------------------------------------


def test_the_stream_window_holds_data_back() -> None:
    talk = talk_with(1, greeting=settings_frame((4, 10)))
    talk.connection.send_data(1, b"0123456789abcdef", end_stream=True)
    assert talk.sent() == [("DATA", 1, b"0123456789", False)]
    assert talk.connection.buffered(1) == talk.connection.unsent == 6
    assert not talk.connection.wants_to_send
    assert talk.hear(window_update(1, 4)) == [("DATA", 1, b"abcd", False)]
    assert talk.hear(window_update(1, 9)) == [("DATA", 1, b"ef", True)]
    assert not talk.connection.streams


def test_small_pieces_use_the_windows_up_too() -> None:
    talk = talk_with(1, greeting=settings_frame((4, 10)))
    for piece in (b"012345", b"6789ab"):
        talk.connection.send_data(1, piece)
    assert bodies(talk.sent()) == {1: b"0123456789"}
    talk = talk_with(1, 3, greeting=settings_frame((4, 2**30)))
    for _ in range(10):
        talk.connection.send_data(1, bytes(8000))
    assert bodies(talk.sent()) == {1: bytes(65_535)}


def test_the_connection_window_holds_all_streams_back() -> None:
    talk = talk_with(1, 3, greeting=settings_frame((4, 2**30)))
    talk.connection.send_data(1, bytes(65_000))
    talk.connection.send_data(3, bytes(1000))
    assert {number: len(body) for number, body in bodies(talk.sent()).items()} == {
        1: 64_535,
        3: 1000,
    }
    assert not talk.connection.wants_to_send
    assert bodies(talk.hear(window_update(0, 465))) == {1: bytes(465)}


def test_a_closed_window_lets_an_end_pass() -> None:
    talk = talk_with(1, 3, greeting=settings_frame((4, 5)))
    talk.connection.send_data(1, b"12345")
    talk.connection.end(1)
    talk.connection.send_data(3, b"123")
    talk.hear(settings_frame((4, 0)))
    talk.connection.end(3)
    assert not talk.connection.streams
    assert talk.sent() == [("DATA", 3, b"", True)]


def test_a_lowered_initial_window_takes_a_stream_out_of_the_turns() -> None:
    talk = talk_with(1, greeting=settings_frame((4, 100_000)) + window_update(0, 2**20))
    talk.connection.send_data(1, bytes(90_000))
    talk.connection.data_to_send(limit=50_000)
    talk.hear(settings_frame((4, 10_000)))
    left = talk.connection.buffered(1)
    assert 0 < left < 90_000
    assert not talk.connection.wants_to_send
    assert len(bodies(talk.hear(settings_frame((4, 100_000))))[1]) == left


def test_a_stalled_stream_stalls_no_other() -> None:
    talk = talk_with(1, 3, greeting=settings_frame((4, 10)))
    talk.connection.send_data(1, bytes(100))
    talk.connection.send_data(3, b"through")
    assert bodies(talk.sent()) == {1: bytes(10), 3: b"through"}


# -- turns --------------------------------------------------------------------------------------


def test_large_bodies_take_turns() -> None:
    talk = talk_with(1, 3)
    for stream_id in (1, 3):
        talk.connection.send_data(stream_id, bytes(50_000), end_stream=True)
    assert order(talk.sent()) == [1, 3] * 4


def test_priorities_decide() -> None:
    talk = talk_with(1, 3, 5)
    talk.hear(priority_update(5, b"u=0"), priority_update(1, b"u=7"))
    for stream_id in (1, 3, 5):
        talk.connection.send_data(stream_id, bytes(40_000), end_stream=True)
    assert order(talk.sent()) == [5, 5, 5, 3, 3, 3, 1, 1, 1]


def test_a_waiting_stream_can_be_moved() -> None:
    talk = talk_with(1, 3)
    for stream_id in (1, 3):
        talk.connection.send_data(stream_id, bytes(30_000))
    talk.connection.reprioritize(3, Priority(0))
    talk.connection.reprioritize(3, Priority(0))
    assert order(talk.sent()) == [3, 3, 1, 1]


def test_a_priority_field_counts() -> None:
    talk = talk_with()
    talk.hear(headers(1), headers(3, [*GET, (b"priority", b"u=1")]))
    for stream_id in (1, 3):
        talk.connection.send_response(stream_id, 200, [])
        talk.connection.send_data(stream_id, bytes(30_000))
    assert order(talk.sent()) == [3, 3, 1, 1]


# -- how much at a time, and back-pressure ------------------------------------------------------


def test_a_piece_is_bounded() -> None:
    talk = talk_with(1)
    talk.connection.send_data(1, bytes(1_000_000))
    sizes = []
    while piece := talk.connection.data_to_send():
        sizes.append(len(piece))
    assert max(sizes) <= OUTPUT_BYTES + 16_384 + 9
    assert len(sizes) == 4


def test_the_owner_is_told_to_pause_and_to_go_on() -> None:
    talk = talk_with(1)
    assert talk.connection.send_data(1, bytes(BUFFER_BYTES))
    assert not talk.connection.send_data(1, b"x")
    assert not talk.connection.send_data(1, b"x")
    for _ in range(3):
        talk.connection.data_to_send(limit=1)
    assert talk.connection.buffered(1) == CROWDED_MARK + 2
    assert talk.events == []
    talk.connection.data_to_send(limit=1)
    assert talk.connection.buffered(1) == 2
    assert talk.events == [("writable", 1)]
    talk.connection.data_to_send()
    assert talk.events == []


def test_what_was_sent_in_one_go_is_told_too() -> None:
    talk = talk_with(1)
    assert not talk.connection.send_data(1, bytes(BUFFER_BYTES + 1))
    talk.sent()
    assert talk.events == [("writable", 1)]


def test_small_pieces_do_not_pass_by_the_pause() -> None:
    """A transport that takes nothing must not let pieces gather as frames."""
    talk = talk_with(1)
    count = 0
    while talk.connection.send_data(1, bytes(1000)):
        count += 1
    assert count < 2 * BUFFER_BYTES / 1000 + 2


def test_many_stalled_streams_hold_less_each() -> None:
    stream_ids = range(1, 201, 2)
    talk = talk_with(*stream_ids, greeting=settings_frame((4, 0)))
    for stream_id in stream_ids:
        while talk.connection.send_data(stream_id, bytes(4096)):
            pass
    assert talk.connection.unsent < CONNECTION_BACKLOG + BUFFER_BYTES + 100 * (CROWDED_MARK + 4096)


def test_dropped_data_is_no_longer_counted() -> None:
    talk = talk_with(1, 3, 5, greeting=settings_frame((4, 5)) + window_update(0, 2**20))
    for stream_id in (1, 3, 5):
        talk.connection.send_data(stream_id, bytes(5000))
    talk.hear(rst_stream(1))
    talk.connection.reset(3, 8)
    talk.sent()
    assert talk.connection.unsent == talk.connection.buffered(5) == 4995
    talk = talk_with(1)
    talk.connection.send_data(1, bytes(50_000))
    talk.hear(rst_stream(1))
    assert talk.connection.unsent == 0
    assert not talk.connection.wants_to_send


def test_lent_memory_holds_until_the_next_hand_out() -> None:
    talk = talk_with(1, 3, greeting=settings_frame((4, 4)))
    lent = bytearray(b"12345678")
    talk.connection.send_data(1, memoryview(lent))
    talk.connection.send_data(3, memoryview(lent)[:2])
    first = bodies(talk.sent())
    lent[:] = b"overwrit"
    assert first == {1: b"1234", 3: b"12"}
    assert bodies(talk.hear(window_update(1, 10))) == {1: b"5678"}


def test_lent_memory_is_kept_when_there_is_nothing_to_hand_out() -> None:
    talk = talk_with(1, greeting=settings_frame((4, 4)))
    talk.connection.send_data(1, b"1234")
    assert bodies(talk.sent()) == {1: b"1234"}
    lent = bytearray(b"5678")
    talk.connection.send_data(1, memoryview(lent))
    assert talk.sent() == []
    lent[:] = b"over"
    assert bodies(talk.hear(window_update(1, 10))) == {1: b"5678"}


def test_lent_memory_can_be_settled() -> None:
    talk = talk_with(1, 3, greeting=settings_frame((4, 4)))
    lent = bytearray(b"12345678")
    talk.connection.send_data(1, memoryview(lent))
    talk.connection.send_data(3, memoryview(lent)[:2])
    talk.connection.settle()
    lent[:] = b"overwrit"
    assert bodies(talk.sent()) == {1: b"1234", 3: b"12"}
    talk.connection.settle()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 3), st.integers(0, 40_000)),
            st.tuples(st.just("open"), st.integers(0, 3), st.integers(1, 50_000)),
            st.tuples(st.just("open all"), st.just(0), st.integers(1, 100_000)),
            st.tuples(st.just("initial"), st.just(0), st.integers(0, 70_000)),
            st.tuples(st.just("take"), st.just(0), st.integers(1, 100_000)),
        ),
        max_size=40,
    )
)
def test_windows_are_kept_and_nothing_is_lost(plan: list[tuple[str, int, int]]) -> None:
    talk = talk_with(1, 3, 5, 7, greeting=b"")
    windows = dict.fromkeys((1, 3, 5, 7), 65_535)
    everything = initial = 65_535
    meant = dict.fromkeys(windows, b"")
    got = dict.fromkeys(windows, b"")
    told: list[Event] = []
    for what, which, amount in plan:
        stream_id = 2 * which + 1
        if what == "send":
            talk.connection.send_data(stream_id, bytes((which,)) * amount)
            meant[stream_id] += bytes((which,)) * amount
        elif what == "open":
            talk.connection.receive(window_update(stream_id, amount))
            windows[stream_id] += amount
        elif what == "open all":
            talk.connection.receive(window_update(0, amount))
            everything += amount
        elif what == "initial":
            talk.connection.receive(settings_frame((4, amount)))
            windows = {number: size + amount - initial for number, size in windows.items()}
            initial = amount
        told = talk.sent()
        assert not talk.connection.closed
        for number, body in bodies(told).items():
            windows[number] -= len(body)
            everything -= len(body)
            got[number] += body
            assert windows[number] >= 0
        assert everything >= 0
    for number, body in meant.items():
        assert body.startswith(got[number])
        assert len(body) - len(got[number]) == talk.connection.buffered(number)
        assert not talk.connection.buffered(number) or windows[number] <= 0 or everything == 0
