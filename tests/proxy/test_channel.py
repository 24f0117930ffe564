"""The notification channel: lines in, notices out, and never a wait."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.channel import (
    MAX_NOTICE_BYTES,
    MAX_PENDING_BYTES,
    ChannelEnd,
    ChannelError,
    Notice,
    decode,
    make_channel,
)


@pytest.fixture
def ends() -> Iterator[tuple[ChannelEnd, ChannelEnd]]:
    ours, theirs = make_channel()
    yield ours, theirs
    ours.close()
    theirs.close()


def ended(end: ChannelEnd) -> bool:
    return end.closed_by_peer


def test_a_notice_arrives(ends: tuple[ChannelEnd, ChannelEnd]) -> None:
    ours, theirs = ends
    ours.send(Notice("installed", "api.example.com"))
    ours.send(Notice("ready"))
    assert theirs.receive() == [Notice("installed", "api.example.com"), Notice("ready")]
    assert theirs.receive() == []
    assert not ended(theirs)


@given(st.lists(st.text(max_size=50), max_size=5), st.data())
def test_any_split_of_the_bytes_gives_the_same_notices(
    names: list[str], data: st.DataObject
) -> None:
    notices = [Notice("installed", name) for name in names]
    stream = b"".join(notice.encode() for notice in notices)
    cut = data.draw(st.integers(0, len(stream)))
    raw, theirs = socket.socketpair()
    end = ChannelEnd(theirs)
    received = []
    for piece in (stream[:cut], stream[cut:]):
        raw.sendall(piece)
        received += end.receive()
    assert received == notices
    raw.close()
    end.close()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"{}",
        b'{"kind": "ready"}',
        b'{"kind": "nonsense", "name": ""}',
        b'{"kind": ["ready"], "name": ""}',
        b'{"kind": "ready", "name": 1}',
        b"\xff",
    ],
)
def test_what_is_no_notice_is_refused(line: bytes) -> None:
    with pytest.raises(ChannelError, match="not a notice"):
        decode(line)


def test_a_notice_has_a_bound() -> None:
    with pytest.raises(ValueError, match="allowed are 4096"):
        Notice("installed", "x" * MAX_NOTICE_BYTES).encode()


def test_a_line_without_end_is_refused() -> None:
    raw, theirs = socket.socketpair()
    end = ChannelEnd(theirs)
    raw.sendall(b"x" * (MAX_NOTICE_BYTES + 1))
    with pytest.raises(ChannelError, match="over 4096 bytes"):
        end.receive()
    raw.close()
    end.close()


def test_a_peer_that_does_not_read_costs_a_bounded_amount(
    ends: tuple[ChannelEnd, ChannelEnd],
) -> None:
    ours, theirs = ends
    notice = Notice("installed", "x" * 1000)
    sent = 0
    while not ours.dropped:
        ours.send(notice)
        sent += 1
    assert ours.has_unsent
    assert len(ours._unsent) <= MAX_PENDING_BYTES
    # What was not dropped arrives whole, in spite of partial writes.
    received = 0
    while received < sent - 1:
        received += len(theirs.receive())
        ours.flush()
    assert theirs.receive() == []
    assert not ours._unsent


def test_the_end_of_the_peer_is_seen_after_its_last_notice(
    ends: tuple[ChannelEnd, ChannelEnd],
) -> None:
    ours, theirs = ends
    ours.send(Notice("ready"))
    ours.close()
    assert theirs.receive() == [Notice("ready")]
    assert not ended(theirs)
    assert theirs.receive() == []
    assert ended(theirs)
    theirs.send(Notice("ready"))
    assert theirs.dropped == 1


def test_sending_to_a_dead_peer_is_no_error(ends: tuple[ChannelEnd, ChannelEnd]) -> None:
    ours, theirs = ends
    theirs.close()
    ours.send(Notice("ready"))
    assert not ours.has_unsent
    assert ours.receive() == []
    assert ended(ours)


@pytest.mark.anyio
async def test_a_loop_delivers_notices_and_the_end() -> None:
    ours, theirs = make_channel()
    loop = asyncio.get_running_loop()
    notices: asyncio.Queue[Notice] = asyncio.Queue()
    closed = asyncio.Event()
    theirs.attach(loop, notices.put_nowait, closed.set)
    ours.send(Notice("installed", "a"))
    assert await notices.get() == Notice("installed", "a")
    ours.close()
    await closed.wait()
    theirs.close()


@pytest.mark.anyio
async def test_a_loop_sends_on_when_there_is_room() -> None:
    ours, theirs = make_channel()
    theirs.attach(asyncio.get_running_loop(), lambda notice: None, lambda: None)
    sent = 0
    while not theirs.has_unsent:
        theirs.send(Notice("installed", "x" * 1000))
        sent += 1
    received = 0
    while received < sent:
        received += len(ours.receive())
        await asyncio.sleep(0)
    ours.close()
    theirs.close()
