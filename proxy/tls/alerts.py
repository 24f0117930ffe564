"""TLS alerts sent before a TLS session exists.

When the first bytes are refused there is no ``SSLObject`` yet that could say why, so the alert
record is written by hand: content type 21, the frozen record version, two bytes of body. It is in
the clear because no keys have been agreed; RFC 8446 §6 and RFC 5246 §7.2 have the same layout, so
one form serves every client.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

_ALERT: Final = 21
_FATAL: Final = 2
_LEGACY_RECORD_VERSION: Final = b"\x03\x03"


class Alert(IntEnum):
    """The alert numbers used here (RFC 8446 §6.2; 120 is RFC 7301 §3.2)."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    UNRECOGNIZED_NAME = 112
    NO_APPLICATION_PROTOCOL = 120


def alert_record(code: int) -> bytes:
    """A fatal alert as a plaintext record."""
    # RFC 8446 §5.1: type, legacy_record_version 0x0303, length; §6: level, description.
    return bytes((_ALERT, *_LEGACY_RECORD_VERSION, 0, 2, _FATAL, code))
