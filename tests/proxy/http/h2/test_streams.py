"""States as tables, backlogs, and what is remembered of closed streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2 import streams
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.priority import UNSAID
from proxy.http.h2.streams import Backlog, ClosedStreams, Stream


def test_both_ends_close_a_stream_in_either_order() -> None:
    assert streams.AFTER_END_SENT[streams.AFTER_END_RECEIVED[streams.OPEN]] == streams.CLOSED
    assert streams.AFTER_END_RECEIVED[streams.AFTER_END_SENT[streams.OPEN]] == streams.CLOSED


def test_an_end_comes_once_per_direction() -> None:
    assert {streams.OPEN, streams.HALF_CLOSED_LOCAL} == streams.RECEIVING
    assert {streams.OPEN, streams.HALF_CLOSED_REMOTE} == streams.SENDING


def test_repr_tells_the_condition() -> None:
    stream = Stream(7, streams.HALF_CLOSED_REMOTE, 100, UNSAID, 0.0)
    assert repr(stream) == "<Stream 7 half-closed (remote), window 100, 0 waiting>"
    stream.backlog = Backlog()
    stream.backlog.size = 5
    assert repr(stream).endswith("5 waiting>")


@given(st.lists(st.binary(max_size=20), max_size=8), st.lists(st.integers(0, 30), max_size=20))
def test_a_backlog_is_cut_without_losing_an_octet(pieces: list[bytes], cuts: list[int]) -> None:
    backlog = Backlog()
    whole = b"".join(pieces)
    for number, piece in enumerate(pieces):
        if piece:
            backlog.pieces.append(memoryview(piece) if number % 2 else piece)
    backlog.size = len(whole)
    taken = b""
    for number, cut in enumerate(cuts):
        if number == 3:
            backlog.keep()
        count = min(cut, backlog.size)
        frames: list[bytes | memoryview] = []
        backlog.cut(count, frames)
        assert sum(map(len, frames)) == count
        taken += b"".join(frames)
    assert taken == whole[: len(taken)]
    assert backlog.size == len(whole) - len(taken)
    assert sum(map(len, backlog.pieces)) - backlog.offset == backlog.size


def test_lent_memory_is_copied() -> None:
    lent = bytearray(b"before")
    backlog = Backlog()
    backlog.pieces.append(memoryview(lent))
    backlog.size = 6
    backlog.keep()
    lent[:] = b"after!"
    frames: list[bytes | memoryview] = []
    backlog.cut(6, frames)
    assert b"".join(frames) == b"before"


def test_a_stream_that_we_reset_is_ignored_up_to_its_window() -> None:
    closed = ClosedStreams()
    closed.reset_by_us(1, 100)
    assert closed.ignores(1)
    assert closed.take_data(1, 60)
    assert closed.take_data(1, 40)
    assert not closed.take_data(1, 1)
    closed.reset_by_peer(1)
    assert not closed.ignores(1)
    assert closed.was_reset_by_peer(1)


def test_skipped_identifiers_are_told_from_closed_ones() -> None:
    closed = ClosedStreams()
    closed.skipped(4, 8)
    assert closed.code_for(3) == ErrorCode.STREAM_CLOSED
    assert closed.code_for(5) == ErrorCode.PROTOCOL_ERROR
    assert closed.code_for(9) == ErrorCode.STREAM_CLOSED


def test_the_memory_is_bounded() -> None:
    closed = ClosedStreams()
    for number in range(1, 10_000, 2):
        closed.reset_by_us(number, 1)
        closed.reset_by_peer(number + 20_000)
        closed.skipped(number, number)
    assert len(closed._reset_by_us) == len(closed._reset_by_peer) == ClosedStreams.RESETS
    assert len(closed._skipped) == ClosedStreams.SKIPS
    assert closed.ignores(9_999)
    assert not closed.ignores(1)
    assert closed.code_for(1) == ErrorCode.STREAM_CLOSED
