"""Error codes of HTTP/2, and the two ways in which a peer can break the protocol.

RFC 9113 §5.4 knows two kinds of error. A *stream error* ends one stream with RST_STREAM and leaves
the others alone; a *connection error* ends everything with GOAWAY. Here they are two exceptions
that never leave ``proxy.http.h2``: whoever detects a fault raises it, and the connection turns it
into frames and into one call of its handler.
"""

from __future__ import annotations

from enum import IntEnum

from proxy.errors import ProtocolError


class ErrorCode(IntEnum):
    """RFC 9113 §7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(ProtocolError):
    """The peer did what ends the connection (RFC 9113 §5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(ProtocolError):
    """The peer did what ends one stream (RFC 9113 §5.4.2)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def malformed(reason: str) -> StreamFault:
    """A message that breaks the rules of HTTP in HTTP/2 (RFC 9113 §8.1.1)."""
    return StreamFault(ErrorCode.PROTOCOL_ERROR, reason)
