"""Frames on the wire (RFC 9113 §4.1 and §6): constants, and the bytes of those that we send.

A frame is a 9-byte header and a payload::

    length (24) | type (8) | flags (8) | R (1) stream identifier (31) | payload

Length and type are read together as one 32-bit number, so a header is one ``unpack``. Frames that
we receive are taken apart where they are handled (:mod:`proxy.http.h2.endpoint`), in place, with
no object per frame; this module only makes the ones that we send.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from proxy.http.h2.faults import ConnectionFault, ErrorCode

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends before its first frame (RFC 9113 §3.4)."""

HEADER_BYTES: Final = 9

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10
"""RFC 9218 §7.1."""

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

MAX_STREAM_ID: Final = 0x7FFF_FFFF
MAX_WINDOW: Final = 0x7FFF_FFFF
DEFAULT_WINDOW: Final = 65_535
MIN_MAX_FRAME_SIZE: Final = 16_384
"""What every endpoint must accept, and all that we accept (RFC 9113 §4.2)."""
MAX_MAX_FRAME_SIZE: Final = 16_777_215

frame_header: Final = Struct(">IBI")
"""``pack`` and ``unpack_from`` of (length << 8 | type, flags, stream identifier)."""

_two_words: Final = Struct(">IBIII")
_one_word: Final = Struct(">IBII")


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Any frame, whole."""
    return frame_header.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def window_update(stream_id: int, increment: int) -> bytes:
    """RFC 9113 §6.9."""
    return _one_word.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    """RFC 9113 §6.4."""
    return _one_word.pack(4 << 8 | RST_STREAM, 0, stream_id, code)


def ping(payload: bytes, *, ack: bool) -> bytes:
    """RFC 9113 §6.7."""
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """RFC 9113 §6.8."""
    length = 8 + len(debug)
    return _two_words.pack(length << 8 | GOAWAY, 0, 0, last_stream_id, code) + debug


def field_block_frames(stream_id: int, block: bytes, flags: int, max_frame: int) -> bytes:
    """A field block as HEADERS and, when it is longer than a frame, CONTINUATION (RFC 9113 §4.3).

    Nothing may come between these frames, so they are made as one piece of bytes.
    """
    if len(block) <= max_frame:
        return frame(HEADERS, flags | END_HEADERS, stream_id, block)
    pieces = [frame(HEADERS, flags, stream_id, block[:max_frame])]
    for start in range(max_frame, len(block), max_frame):
        last = start + max_frame >= len(block)
        piece = block[start : start + max_frame]
        pieces.append(frame(CONTINUATION, END_HEADERS if last else 0, stream_id, piece))
    return b"".join(pieces)


def without_padding(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Where the payload of a PADDED frame is, without its padding (RFC 9113 §6.1).

    Raises:
        ConnectionFault: the padding is as long as the payload or longer, or there is no length.
    """
    if start == stop:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a PADDED frame without a pad length")
    padded_stop = stop - data[start]
    if padded_stop <= start:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding as long as the payload")
    return start + 1, padded_stop
