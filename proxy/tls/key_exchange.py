"""Which key exchanges a client may ask for (pure).

OpenSSL offers the finite fields of RFC 7919 beside the elliptic curves in TLS 1.3, and Python can
only choose between all groups and a single one. A handshake over ffdhe8192 costs a server over a
hundred times what one over X25519 costs, and the client next to nothing ("D(HE)at",
CVE-2002-20001), so a few of them a second fill a core. No client needs them: each that speaks
TLS 1.3 must know P-256 (RFC 8446 §9.1). Whoever leaves OpenSSL no elliptic curve is refused.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import ClientHelloError
from proxy.tls.alerts import Alert

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
        IndexError: a length points past the end.
    """
    if groups is not None:
        _look_at_groups(groups)
    if shares is not None:
        _look_at_shares(shares)


def _look_at_groups(data: bytes) -> None:
    size = len(data)
    if size < 2:
        raise IndexError("the supported groups end too early")
    field = False
    for at in range(2, size - 1, 2):
        group = data[at] << 8 | data[at + 1]
        if _is_curve(group):
            return
        if _is_field(group):
            field = True
    if field:
        raise _refusal()


def _look_at_shares(data: bytes) -> None:
    size = len(data)
    at = 2
    while at < size:
        group = data[at] << 8 | data[at + 1]
        length = data[at + 2] << 8 | data[at + 3]
        if _is_curve(group):
            return
        if _is_field(group):
            raise _refusal()
        at += 4 + length


def _is_curve(group: int) -> bool:
    """P-256, P-384, P-521, X25519, X448 (RFC 8446 §4.2.7): those that every OpenSSL has."""
    return 23 <= group <= 25 or 29 <= group <= 30


def _is_field(group: int) -> bool:
    return _FIRST_FIELD <= group <= _LAST_FIELD


def _refusal() -> ClientHelloError:
    return ClientHelloError(
        "the client wants a finite field and no elliptic curve", Alert.HANDSHAKE_FAILURE
    )
