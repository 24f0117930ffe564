"""Floods: each kind ends with ENHANCE_YOUR_CALM after a bounded number, and honest use does not.

The guard alone first, then whole floods through a connection: how many frames it took, how much
output had gathered, and what it cost.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from proxy.http.h2 import floods
from proxy.http.h2.faults import ConnectionFault, ErrorCode
from proxy.http.h2.floods import FREE, NAMES, PER_WORK, PERIOD, FloodGuard
from proxy.http.h2.sending import UNREAD_OUTPUT
from tests.proxy.http.h2.conftest import Figures
from tests.proxy.http.h2.conversation import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GET,
    POST,
    ServerTalk,
    continuation,
    data,
    goaway,
    headers,
    padded,
    ping,
    priority,
    priority_update,
    raw,
    rst_stream,
    settings,
    window_update,
)

KINDS = range(len(FREE))


# -- the guard ----------------------------------------------------------------------------------


def count_until_fault(step: Callable[[], None], most: int = 100_000) -> int:
    """How often it went well."""
    count = 0

    def repeat() -> None:
        nonlocal count
        while count < most:
            step()
            count += 1

    with pytest.raises(ConnectionFault) as caught:
        repeat()
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM
    return count


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_a_number_is_free(kind: int) -> None:
    guard = FloodGuard(0.0)
    assert count_until_fault(lambda: guard.note(kind, 1.0)) == FREE[kind]


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_work_pays_for_more(kind: int) -> None:
    guard = FloodGuard(0.0)
    guard.work = 10
    assert count_until_fault(lambda: guard.note(kind, 1.0)) == FREE[kind] + 10 * PER_WORK[kind]


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_a_new_period_begins_anew(kind: int) -> None:
    guard = FloodGuard(0.0)
    for number in range(10 * FREE[kind]):
        guard.note(kind, number * PERIOD / FREE[kind])


def test_repr_tells_what_was_counted() -> None:
    guard = FloodGuard(0.0)
    assert repr(guard) == "<FloodGuard 0 of 0 reset; quiet>"
    guard.note(floods.PING, 0.0)
    guard.opened = 3
    guard.note_reset(0.0)
    assert repr(guard) == "<FloodGuard 1 of 3 reset; 1 PING>"


@pytest.mark.parametrize(("size", "padding"), [(0, 0), (1, 0), (4, 0), (50, 200)])
def test_framing_may_not_outweigh_data(size: int, padding: int) -> None:
    guard = FloodGuard(0.0)
    count = count_until_fault(lambda: guard.note_data(size, padding, 1.0))
    assert count <= 16 * 1024 / (9 + padding - 2 * size)


@pytest.mark.parametrize(("size", "padding"), [(5, 0), (16_384, 0), (100, 150)])
def test_honest_data_goes_on_for_ever(size: int, padding: int) -> None:
    guard = FloodGuard(0.0)
    for _ in range(100_000):
        guard.note_data(size, padding, 1.0)


def test_single_octets_at_typing_speed_are_fine() -> None:
    guard = FloodGuard(0.0)
    for number in range(10_000):
        guard.note_data(1, 0, number / 20)


def test_rapid_reset_is_judged_after_500_requests() -> None:
    guard = FloodGuard(0.0)

    def request_and_reset() -> None:
        guard.opened += 1
        guard.note_reset(0.0, 0.0)

    assert count_until_fault(request_and_reset) == 499


def test_less_than_half_is_tolerated() -> None:
    guard = FloodGuard(0.0)
    for number in range(20_000):
        guard.opened += 1
        if number % 5 < 2:
            guard.note_reset(0.0, 0.0)


def test_late_resets_are_excused() -> None:
    guard = FloodGuard(0.0)
    for _ in range(5000):
        guard.opened += 1
        guard.note_reset(10.0, 8.5)
    assert guard.resets == 0


def test_a_long_good_record_buys_no_long_flood() -> None:
    guard = FloodGuard(0.0)
    guard.opened = 10_000_000

    def request_and_reset() -> None:
        guard.opened += 1
        guard.note_reset(0.0, 0.0)

    assert count_until_fault(request_and_reset) <= floods.REQUESTS_REMEMBERED


# -- floods through a connection ----------------------------------------------------------------


def streams() -> Iterator[int]:
    return iter(range(1, 2**31, 2))


def rapid_reset() -> Iterator[bytes]:
    """CVE-2023-44487"""
    for stream_id in streams():
        yield headers(stream_id, POST, END_HEADERS) + rst_stream(stream_id)


def made_you_reset_window() -> Iterator[bytes]:
    """CVE-2025-8671, by a WINDOW_UPDATE of 0 on a request that is being served"""
    for stream_id in streams():
        yield headers(stream_id) + window_update(stream_id, 0)


def made_you_reset_overflow() -> Iterator[bytes]:
    """CVE-2025-8671, by a window above its maximum"""
    for stream_id in streams():
        yield headers(stream_id) + window_update(stream_id, 2**31 - 1)


def made_you_reset_half_closed() -> Iterator[bytes]:
    """CVE-2025-8671, by DATA or HEADERS after END_STREAM"""
    for stream_id in streams():
        after = data(stream_id, b"x" * 10) if stream_id % 4 == 1 else headers(stream_id)
        yield headers(stream_id) + after


def made_you_reset_priority() -> Iterator[bytes]:
    """CVE-2025-8671, by a PRIORITY frame of a wrong length"""
    for stream_id in streams():
        yield headers(stream_id) + raw(2, 0, stream_id, bytes(4))


def malformed_requests() -> Iterator[bytes]:
    """requests that are refused with RST_STREAM"""
    for stream_id in streams():
        yield headers(stream_id, [*GET, (b"connection", b"close")])


def oversized_requests() -> Iterator[bytes]:
    """requests that are answered with 431, from one octet per field"""
    yield headers(1, [*GET, (b"x", b"1")])
    for stream_id in range(3, 2**31, 2):
        yield headers(stream_id, b"\xa0" * 900)


def too_many_streams() -> Iterator[bytes]:
    """requests beyond SETTINGS_MAX_CONCURRENT_STREAMS"""
    for stream_id in streams():
        yield headers(stream_id)


def continuation_flood() -> Iterator[bytes]:
    """CVE-2024-27316"""
    yield headers(1, b"", END_STREAM)
    while True:
        yield continuation(1, b"\x00\x01x\x01y", 0)


def empty_continuation_flood() -> Iterator[bytes]:
    """CONTINUATION with nothing in it"""
    yield headers(1, b"", END_STREAM)
    while True:
        yield continuation(1, b"", 0)


def large_continuation_flood() -> Iterator[bytes]:
    """CONTINUATION with all that fits"""
    yield headers(1, b"", END_STREAM)
    while True:
        yield continuation(1, bytes(16_384), 0)


def forever(frame: bytes, *before: bytes) -> Callable[[], Iterator[bytes]]:
    def flood() -> Iterator[bytes]:
        yield from before
        while True:
            yield frame

    return flood


def dribble() -> Iterator[bytes]:
    """CVE-2019-9511: the window is opened octet by octet"""
    yield settings((4, 0)) + headers(1)
    while True:
        yield window_update(1, 1)


def settings_of_windows() -> Iterator[bytes]:
    """SETTINGS that move the windows of all streams up and down"""
    yield b"".join(headers(stream_id) for stream_id in range(1, 201, 2))
    while True:
        yield settings(*[(4, 1), (4, 2**30)] * 32)


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid reset": rapid_reset,
    "MadeYouReset: zero increment": made_you_reset_window,
    "MadeYouReset: window overflow": made_you_reset_overflow,
    "MadeYouReset: half-closed": made_you_reset_half_closed,
    "MadeYouReset: PRIORITY": made_you_reset_priority,
    "malformed requests": malformed_requests,
    "field sections over the cap": oversized_requests,
    "too many streams": too_many_streams,
    "CONTINUATION": continuation_flood,
    "empty CONTINUATION": empty_continuation_flood,
    "large CONTINUATION": large_continuation_flood,
    "PING": forever(ping()),
    "PING acknowledgements": forever(ping(flags=ACK)),
    "SETTINGS": forever(settings()),
    "SETTINGS acknowledgements": forever(raw(4, ACK, 0)),
    "SETTINGS of windows": settings_of_windows,
    "PRIORITY": forever(priority(1)),
    "PRIORITY_UPDATE": forever(priority_update(1, b"u=1")),
    "WINDOW_UPDATE": forever(window_update(0, 1)),
    "WINDOW_UPDATE on a stream": forever(window_update(1, 1), headers(1, POST, END_HEADERS)),
    "WINDOW_UPDATE on closed streams": forever(
        window_update(1, 1), headers(1, POST, END_HEADERS), rst_stream(1)
    ),
    "empty DATA": forever(data(1), headers(1, POST, END_HEADERS)),
    "padded empty DATA": forever(padded(0, 0, 1, b"", 255), headers(1, POST, END_HEADERS)),
    "one-octet DATA": forever(data(1, b"x"), headers(1, POST, END_HEADERS)),
    "unknown frames": forever(raw(0x42, 0, 0, b"?")),
    "GOAWAY": forever(goaway()),
    "RST_STREAM on closed streams": forever(
        rst_stream(1), headers(1, POST, END_HEADERS), rst_stream(1)
    ),
    "dribble": dribble,
}

MOST_PIECES = 4000


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends(name: str, figures: Figures) -> None:
    talk = ServerTalk(answer=name == "field sections over the cap")
    connection = talk.connection
    answering = name == "dribble"
    pieces = octets = resets = 0
    most_unsent = 0
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    began = time.process_time()
    for piece in FLOODS[name]():
        connection.receive(piece)
        pieces += 1
        octets += len(piece)
        if answering and pieces == 1:
            connection.send_response(1, 200, [])
            connection.send_data(1, bytes(100_000))
        most_unsent = max(most_unsent, connection.unsent)
        connection.data_to_send()
        resets += sum(event[0] == "reset" for event in talk.events)
        if connection.closed:
            break
        assert pieces < MOST_PIECES, "no end to it"
    cost = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    figures(
        f"{name:<33} {pieces:>5} frames, {octets / 1024:>6.1f} KiB received: closed;"
        f" {cost * 1e3:>6.1f} ms traced CPU, {(peak - before) / 1024:>6.1f} KiB at most,"
        f" {resets} requests cancelled"
    )
    assert peak - before < 1024 * 1024
    assert most_unsent < UNREAD_OUTPUT + 100_000


@pytest.mark.parametrize("name", ["rapid reset", "MadeYouReset: zero increment"])
def test_every_reset_cancels_its_request(name: str) -> None:
    talk = ServerTalk()
    for number, piece in enumerate(FLOODS[name]()):
        talk.hear(piece)
        events = talk.events
        if talk.connection.closed:
            break
        assert [event[0] for event in events] == ["request", "reset"], number
        assert not talk.connection.streams


def test_a_zero_window_stall_is_ended_and_cancels() -> None:
    talk = ServerTalk()
    talk.hear(settings((4, 0)), headers(1), headers(3))
    talk.connection.send_response(1, 200, [])
    talk.connection.send_data(1, bytes(1000))
    talk.sent()
    assert talk.events[-1][0] == "request"
    for _ in range(70):
        talk.clock.now += 0.5
        # Opened by an octet now and then, which is no progress.
        if talk.clock.now % 10 == 0:
            talk.hear(window_update(1, 1))
        talk.connection.sweep()
    assert ("RST_STREAM", 1, "ENHANCE_YOUR_CALM") in talk.sent()
    assert ("reset", 1, ErrorCode.ENHANCE_YOUR_CALM) in talk.events
    assert list(talk.connection.streams) == [3]


def test_a_peer_that_reads_nothing_is_ended() -> None:
    talk = ServerTalk(answer=True)
    fields = [*GET, (b"x", b"1")]
    for stream_id in streams():
        talk.connection.receive(headers(stream_id, fields))
        assert stream_id < 100_000, "no end to it"
        if talk.connection.closed:
            break
    assert talk.connection.unsent < UNREAD_OUTPUT + 1000
    assert talk.events[-1][:2] == ("error", ErrorCode.ENHANCE_YOUR_CALM)


# -- honest clients -----------------------------------------------------------------------------


def test_many_requests_are_no_flood() -> None:
    talk = ServerTalk(answer=True)
    for stream_id in range(1, 20_000, 2):
        talk.connection.receive(headers(stream_id) + window_update(0, 100))
        talk.connection.data_to_send()
    assert not talk.connection.closed


def test_a_ping_per_message_is_no_flood() -> None:
    """gRPC measures the path with a PING per DATA frame that it reads."""
    talk = ServerTalk()
    talk.hear(headers(1, POST, END_HEADERS), settings((4, 2**30)), window_update(0, 2**30))
    talk.connection.send_response(1, 200, [])
    for _ in range(5000):
        talk.connection.send_data(1, b"\0\0\0\0\1m")
        talk.connection.receive(ping() + data(1, b"\0\0\0\0\1m"))
        talk.connection.acknowledge(1, 6)
        talk.connection.data_to_send()
    assert not talk.connection.closed


def test_two_window_updates_per_frame_are_no_flood() -> None:
    talk = ServerTalk()
    talk.hear(headers(1))
    talk.connection.send_response(1, 200, [])
    for _ in range(5000):
        talk.connection.send_data(1, b"event: tick\n\n")
        talk.connection.data_to_send()
        talk.connection.receive(window_update(0, 13) + window_update(1, 13))
    assert not talk.connection.closed


def test_a_tab_that_is_closed_is_no_flood() -> None:
    talk = ServerTalk()
    for start in range(1, 801, 200):
        for stream_id in range(start, start + 200, 2):
            talk.hear(headers(stream_id))
        for stream_id in range(start, start + 200, 2):
            talk.hear(rst_stream(stream_id))
    assert not talk.connection.closed
