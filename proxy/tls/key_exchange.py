"""Which key exchanges a client may ask for (pure).

OpenSSL offers the finite fields of RFC 7919 beside the elliptic curves in TLS 1.3, and Python can
only choose between all groups and a single one. A handshake over ffdhe8192 costs a server over a
hundred times what one over X25519 costs, and the client next to nothing ("D(HE)at",
CVE-2002-20001), so a few of them a second fill a core. No client needs them: each that speaks
TLS 1.3 must know P-256 (RFC 8446 §9.1). Whoever leaves OpenSSL no elliptic curve is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from proxy.errors import ClientHelloError
from proxy.tls.alerts import Alert

_CURVES: Final = frozenset({23, 24, 25, 29, 30})
"""P-256, P-384, P-521, X25519, X448 (RFC 8446 §4.2.7): those that every OpenSSL has."""

_FIRST_FIELD: Final = 0x0100
_LAST_FIELD: Final = 0x01FF


def refuse_finite_fields(groups: bytes | None, shares: bytes | None) -> None:
    """Refuse a client that would have OpenSSL choose a finite field.

    OpenSSL takes the first of the client's key shares that it can use, and asks for another share
    only when it can use none.

    Args:
        groups: the supported_groups extension (RFC 8446 §4.2.7).
        shares: the key_share extension (RFC 8446 §4.2.8).

    Raises:
        ClientHelloError: with handshake_failure (RFC 8446 §4.1.1).
        struct.error: a length points past the end.
    """
    if groups is not None:
        offered = set(_groups(groups))
        if not offered & _CURVES and any(map(_is_field, offered)):
            raise _refusal()
    if shares is not None:
        for group in _shared(shares):
            if group in _CURVES:
                return
            if _is_field(group):
                raise _refusal()


def _is_field(group: int) -> bool:
    return _FIRST_FIELD <= group <= _LAST_FIELD


def _groups(data: bytes) -> tuple[int, ...]:
    count = (len(data) - 2) // 2
    return struct.unpack_from(f"!{max(count, 0)}H", data, 2)


def _shared(data: bytes) -> Iterator[int]:
    """The groups of the key shares, in the client's order."""
    at = 2
    while at < len(data):
        group, length = struct.unpack_from("!HH", data, at)
        yield group
        at += 4 + length


def _refusal() -> ClientHelloError:
    return ClientHelloError(
        "the client wants a finite field and no elliptic curve", Alert.HANDSHAKE_FAILURE
    )
