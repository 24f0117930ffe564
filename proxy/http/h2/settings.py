"""SETTINGS (RFC 9113 §6.5): what the peer allows us, and what we tell it.

Values are checked as RFC 9113 §6.5.2, RFC 8441 §3 and RFC 9218 §2.1 say, in the order in which
they come. A change of SETTINGS_INITIAL_WINDOW_SIZE has to be applied to every open stream; a frame
may hold the setting thousands of times, so only the last value is applied, once.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from proxy.http.h2.faults import ConnectionFault, ErrorCode
from proxy.http.h2.frames import (
    DEFAULT_WINDOW,
    MAX_MAX_FRAME_SIZE,
    MAX_WINDOW,
    MIN_MAX_FRAME_SIZE,
    SETTINGS,
    frame,
)

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8
"""RFC 8441 §3."""
NO_RFC7540_PRIORITIES: Final = 0x9
"""RFC 9218 §2.1."""

UNLIMITED: Final = 0xFFFF_FFFF
ENTRY_BYTES: Final = 6
MAX_ENTRIES: Final = 64
"""Entries in one frame; eight are defined, so more than this is a flood."""

_entry: Final = Struct(">HI")


def settings_frame(entries: Iterable[tuple[int, int]]) -> bytes:
    """A SETTINGS frame with these (identifier, value) pairs."""
    return frame(SETTINGS, 0, 0, b"".join(_entry.pack(key, value) for key, value in entries))


class PeerSettings:
    """What the peer has told us, or the defaults of RFC 9113 §6.5.2.

    Attributes:
        initial_window: what a new stream may send before the first WINDOW_UPDATE.
        max_frame_size: the longest payload that the peer accepts.
        max_concurrent_streams: how many streams we may open.
        max_header_list_size: the peer's advice on how long a field section may be.
        connect_protocol: the peer understands extended CONNECT (RFC 8441).
        received: a SETTINGS frame has come.

    SETTINGS_HEADER_TABLE_SIZE needs no attribute: our encoder never uses a dynamic table.
    """

    __slots__ = (
        "connect_protocol",
        "initial_window",
        "max_concurrent_streams",
        "max_frame_size",
        "max_header_list_size",
        "received",
    )

    def __init__(self) -> None:
        self.initial_window = DEFAULT_WINDOW
        self.max_frame_size = MIN_MAX_FRAME_SIZE
        self.max_concurrent_streams = UNLIMITED
        self.max_header_list_size = UNLIMITED
        self.connect_protocol = False
        self.received = False

    def apply(self, payload: bytes, *, from_server: bool) -> int:
        """Take over a SETTINGS payload.

        Args:
            payload: what the frame carried.
            from_server: the peer is a server, which may not enable push (RFC 9113 §6.5.2).

        Returns:
            By how much the send windows of all open streams change (RFC 9113 §6.9.2).

        Raises:
            ConnectionFault: a value out of its range, or a wrong length.
        """
        if len(payload) % ENTRY_BYTES:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR, "SETTINGS whose length is no multiple of 6"
            )
        if len(payload) > ENTRY_BYTES * MAX_ENTRIES:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"SETTINGS with more than {MAX_ENTRIES} entries"
            )
        before = self.initial_window
        for key, value in _entry.iter_unpack(payload):
            self._apply_one(key, value, from_server)
        self.received = True
        return self.initial_window - before

    def _apply_one(self, key: int, value: int, from_server: bool) -> None:
        if key == INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1"
                )
            self.initial_window = value
        elif key == MAX_FRAME_SIZE:
            if not MIN_MAX_FRAME_SIZE <= value <= MAX_MAX_FRAME_SIZE:
                raise _out_of_range("SETTINGS_MAX_FRAME_SIZE", value)
            self.max_frame_size = value
        elif key == MAX_CONCURRENT_STREAMS:
            self.max_concurrent_streams = value
        elif key == MAX_HEADER_LIST_SIZE:
            self.max_header_list_size = value
        elif key == ENABLE_PUSH:
            if value > 1 or (value and from_server):
                raise _out_of_range("SETTINGS_ENABLE_PUSH", value)
        elif key == ENABLE_CONNECT_PROTOCOL:
            # RFC 8441 §3: once 1 has been sent it may not be taken back.
            if value > 1 or (self.connect_protocol and not value):
                raise _out_of_range("SETTINGS_ENABLE_CONNECT_PROTOCOL", value)
            self.connect_protocol = bool(value)
        elif key == NO_RFC7540_PRIORITIES and value > 1:
            raise _out_of_range("SETTINGS_NO_RFC7540_PRIORITIES", value)
        # RFC 9113 §6.5.2: an unknown setting is ignored.


def _out_of_range(name: str, value: int) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{name} of {value}")
