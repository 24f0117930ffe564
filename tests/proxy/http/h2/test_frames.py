"""The frames that we send, read by an independent parser."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2 import frames
from proxy.http.h2.faults import ConnectionFault, ErrorCode
from tests.proxy.http.h2.conversation import parse_frames, raw


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=40))
def test_any_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    assert frames.frame(kind, flags, stream_id, payload) == raw(kind, flags, stream_id, payload)


def test_small_frames() -> None:
    sent = (
        frames.window_update(5, 2**31 - 1)
        + frames.rst_stream(5, ErrorCode.CANCEL)
        + frames.ping(b"12345678", ack=True)
        + frames.ping(b"87654321", ack=False)
        + frames.goaway(7, ErrorCode.ENHANCE_YOUR_CALM, b"why")
    )
    update, reset, pong, ping, goaway = (frame.__dict__ for frame in parse_frames(sent))
    assert (update["stream_id"], update["window_increment"]) == (5, 2**31 - 1)
    assert (reset["stream_id"], reset["error_code"]) == (5, 8)
    assert (pong["opaque_data"], "ACK" in pong["flags"]) == (b"12345678", True)
    assert (ping["opaque_data"], "ACK" in ping["flags"]) == (b"87654321", False)
    assert (goaway["last_stream_id"], goaway["error_code"], goaway["additional_data"]) == (
        7,
        11,
        b"why",
    )


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 21, 100])
def test_a_long_block_goes_on_in_continuation(size: int) -> None:
    block = bytes(range(size))
    sent = parse_frames(frames.field_block_frames(3, block, frames.END_STREAM, 10))
    assert isinstance(sent[0], HeadersFrame)
    assert "END_STREAM" in sent[0].flags
    assert all(isinstance(frame, ContinuationFrame) for frame in sent[1:])
    assert ["END_HEADERS" in frame.flags for frame in sent] == [False] * (len(sent) - 1) + [True]
    assert b"".join(frame.data for frame in sent) == block  # type: ignore[attr-defined]
    assert all(frame.stream_id == 3 and frame.body_len <= 10 for frame in sent)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_padding_is_taken_off(before: bytes, payload: bytes) -> None:
    for padding in (0, 1, 255):
        data = before + bytes((padding,)) + payload + bytes(padding) + b"next"
        start, stop = frames.without_padding(data, len(before), len(data) - 4)
        assert data[start:stop] == payload


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", ErrorCode.FRAME_SIZE_ERROR),
        (b"\x01", ErrorCode.PROTOCOL_ERROR),
        (b"\x05abcd", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_padding_that_is_too_long(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        frames.without_padding(payload, 0, len(payload))
    assert caught.value.code == code
