"""Tests of proxy.http.websocket: the end of a frame is found under any split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.websocket import FrameTracker


def frame(payload: bytes, *, masked: bool) -> bytes:
    bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes([0x82, bit | size])
    elif size < 65536:
        head = bytes([0x82, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x82, bit | 127]) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + payload


FRAMES = st.lists(
    st.builds(
        lambda size, masked: frame(b"x" * size, masked=masked),
        st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65535, 65536, 70000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def boundaries(frames: list[bytes]) -> set[int]:
    ends = {0}
    for one in frames:
        ends.add(max(ends) + len(one))
    return ends


@given(frames=FRAMES, cuts=st.lists(st.integers(min_value=0, max_value=400_000), max_size=20))
def test_between_frames_exactly_at_their_ends(frames: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frames)
    ends = boundaries(frames)
    points = sorted({cut for cut in cuts if cut < len(stream)} | ends)
    tracker = FrameTracker()
    before = 0
    for point in points:
        tracker.follow(memoryview(stream)[before:point])
        before = point
        assert tracker.between_frames == (point in ends)


def test_byte_by_byte() -> None:
    frames = [frame(b"abc", masked=False), frame(b"y" * 200, masked=True)]
    stream = b"".join(frames)
    tracker = FrameTracker()
    for position in range(len(stream)):
        tracker.follow(stream[position : position + 1])
        assert tracker.between_frames == (position + 1 in boundaries(frames))
