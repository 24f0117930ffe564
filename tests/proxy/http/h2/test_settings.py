"""SETTINGS, value by value."""

from __future__ import annotations

import struct

import pytest

from proxy.http.h2.faults import ConnectionFault, ErrorCode
from proxy.http.h2.settings import MAX_ENTRIES, PeerSettings, settings_frame
from tests.proxy.http.h2.conversation import settings


def apply(peer: PeerSettings, *entries: tuple[int, int], from_server: bool = False) -> int:
    payload = b"".join(struct.pack(">HI", *entry) for entry in entries)
    return peer.apply(payload, from_server=from_server)


def test_the_frame() -> None:
    assert settings_frame([(3, 100), (8, 1)]) == settings((3, 100), (8, 1))


def test_defaults() -> None:
    peer = PeerSettings()
    assert (peer.initial_window, peer.max_frame_size) == (65_535, 16_384)
    assert not peer.received
    assert apply(peer) == 0
    assert peer.received


def test_every_setting_is_taken_over() -> None:
    peer = PeerSettings()
    delta = apply(peer, (1, 0), (2, 1), (3, 7), (4, 70_000), (5, 20_000), (6, 9), (8, 1), (9, 1))
    assert delta == 70_000 - 65_535
    assert peer.max_concurrent_streams == 7
    assert peer.max_frame_size == 20_000
    assert peer.max_header_list_size == 9
    assert peer.connect_protocol


def test_the_last_value_counts_once() -> None:
    peer = PeerSettings()
    assert apply(peer, (4, 0), (4, 2**31 - 1), (4, 65_545)) == 10
    assert apply(peer, (4, 65_535)) == -10


def test_unknown_settings_are_ignored() -> None:
    assert apply(PeerSettings(), (0, 1), (7, 1), (0xFFFF, 2**32 - 1)) == 0


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ((2, 2), ErrorCode.PROTOCOL_ERROR),
        ((4, 2**31), ErrorCode.FLOW_CONTROL_ERROR),
        ((5, 16_383), ErrorCode.PROTOCOL_ERROR),
        ((5, 2**24), ErrorCode.PROTOCOL_ERROR),
        ((8, 2), ErrorCode.PROTOCOL_ERROR),
        ((9, 2), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_values_out_of_range(entry: tuple[int, int], code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        apply(PeerSettings(), entry)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [16_384, 2**24 - 1])
def test_the_ends_of_the_range_of_frame_sizes(value: int) -> None:
    peer = PeerSettings()
    apply(peer, (5, value))
    assert peer.max_frame_size == value


def test_a_server_may_not_enable_push() -> None:
    apply(PeerSettings(), (2, 0), from_server=True)
    with pytest.raises(ConnectionFault):
        apply(PeerSettings(), (2, 1), from_server=True)


def test_extended_connect_is_not_taken_back() -> None:
    peer = PeerSettings()
    apply(peer, (8, 0))
    apply(peer, (8, 1))
    with pytest.raises(ConnectionFault):
        apply(peer, (8, 0))


@pytest.mark.parametrize("length", [1, 5, 7])
def test_lengths(length: int) -> None:
    with pytest.raises(ConnectionFault) as caught:
        PeerSettings().apply(bytes(length), from_server=False)
    assert caught.value.code == ErrorCode.FRAME_SIZE_ERROR


def test_the_number_of_entries_is_bounded() -> None:
    apply(PeerSettings(), *[(0xFF, 0)] * MAX_ENTRIES)
    with pytest.raises(ConnectionFault) as caught:
        apply(PeerSettings(), *[(0xFF, 0)] * (MAX_ENTRIES + 1))
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM
