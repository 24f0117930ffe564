"""Field lists into field blocks (HPACK encoding, RFC 7541), from remembered encodings of fields.

The encoder never uses a dynamic table. A field's encoding then depends on the field alone, not on
what was sent before, so it can be made once and shared by all connections of a worker: encoding a
head is one look-up per field and one join. The price is some twenty octets per response that an
index would have saved.

Two consequences. The first block of each connection begins with a table size update to zero
(:data:`NO_TABLE`): the peer may then lower SETTINGS_HEADER_TABLE_SIZE as it likes, and we never owe
it another update (RFC 7541 §4.2). And every literal is of the "never indexed" kind: whoever passes
a field on must keep that mark (RFC 7541 §6.2.3), a decoded list does not carry it, and for us the
mark costs nothing.

Strings are not Huffman-coded: it would halve what is left to save, at 0.1 µs per octet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hpack.table import HeaderTable

from proxy.http.h2.header_blocks import Field

NO_TABLE: Final = b"\x20"
"""Dynamic table size update to 0 (RFC 7541 §6.3)."""

_NEVER_INDEXED: Final = 0x10

_INDEX: Final[dict[Field, int]] = {}
_NAME_INDEX: Final[dict[bytes, int]] = {}
for _index, _field in enumerate(HeaderTable.STATIC_TABLE, 1):
    _NAME_INDEX.setdefault(_field[0], _index)
    if _field[1] or not _field[0].startswith(b":"):
        _INDEX.setdefault(_field, _index)

ENTRIES: Final = 1024
"""Fields that are remembered, per generation."""
FIELD_BYTES: Final = 256
"""Name and value; longer fields are seldom the same twice."""

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")


class FieldEncoder:
    """Encodes field lists; one per worker. Bounded in entries and in bytes per entry.

    Two generations stand in for an exact least-recently-used order: when the young one is full it
    becomes the old one, and a hit in the old one is moved up.
    """

    __slots__ = ("_old", "_statuses", "_young")

    def __init__(self) -> None:
        self._young: dict[Field, bytes] = {}
        self._old: dict[Field, bytes] = {}
        self._statuses = {
            int(value): bytes((0x80 | index,))
            for (name, value), index in _INDEX.items()
            if name == b":status"
        }

    def encode(self, fields: Iterable[Field]) -> bytes:
        """The block of a field list. Names are lower-cased (RFC 9113 §8.2.1).

        Raises:
            ValueError: a name or value that HTTP does not know.
        """
        get = self._young.get
        encode = self._encode
        return b"".join([get(field) or encode(field) for field in fields])

    def encode_response(self, status: int, fields: Iterable[Field]) -> bytes:
        """The block of a response head: ``:status``, then the fields.

        Raises:
            ValueError: as :meth:`encode`, or a status that is none.
        """
        get = self._young.get
        encode = self._encode
        parts = [get(field) or encode(field) for field in fields]
        parts.insert(0, self._statuses.get(status) or self._encode_status(status))
        return b"".join(parts)

    def _encode(self, field: Field) -> bytes:
        encoded = self._old.get(field)
        if encoded is None:
            encoded = encode_field(field[0].lower(), field[1])
            if len(field[0]) + len(field[1]) > FIELD_BYTES:
                return encoded
        if len(self._young) >= ENTRIES:
            self._old = self._young
            self._young = {}
        self._young[field] = encoded
        return encoded

    def _encode_status(self, status: int) -> bytes:
        if not 100 <= status <= 999:
            raise ValueError(f"{status} is no status code; 100 to 999 are")
        encoded = encode_field(b":status", b"%d" % status)
        self._statuses[status] = encoded
        return encoded

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field without the dynamic table (RFC 7541 §6.1, §6.2.3)."""
    index = _INDEX.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no field name")
    if _VALUE.fullmatch(value) is None:
        raise ValueError(f"the value of {name!r} holds a control character")
    index = _NAME_INDEX.get(name)
    if index is not None:
        head = _encode_integer(index, 4, _NEVER_INDEXED)
    else:
        head = bytes((_NEVER_INDEXED,)) + _encode_integer(len(name), 7, 0) + name
    return head + _encode_integer(len(value), 7, 0) + value


def _encode_integer(value: int, prefix_bits: int, first: int) -> bytes:
    """RFC 7541 §5.1; ``first`` holds the bits in front of the prefix."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    octets = bytearray((first | most,))
    value -= most
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
