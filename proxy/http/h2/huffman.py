"""Huffman strings of HPACK (RFC 7541 §5.2), decoded a byte at a time.

The ``hpack`` package holds the code as a state machine over half bytes, and walks it at some
0.25 µs per byte; with changing paths and cookies that walk was the largest single cost of a
request. Here two of its steps are joined into one: a row per state with 256 entries, each of them
the row to go to, the text to put out, and whether the string may end there. Rows are made when a
string first reaches their state (all 256 of them would take 7 MB and 65 ms), and kept for the life
of the process.
"""

from __future__ import annotations

from typing import Any, Final

from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

from proxy.http.h2.faults import ConnectionFault, ErrorCode

_STATES: Final = 256

# A row is a list of (next row, text, complete); the type is recursive, hence Any.
_Row = list[tuple[Any, bytes, int]]
_rows: Final[list[_Row]] = [[] for _ in range(_STATES)]

# Where a broken string ends up, and cannot leave.
_failed: Final[_Row] = []
_failed.extend([(_failed, b"", 0)] * 256)


def _fill(row: _Row) -> None:
    """Make the entries of a row that was reached for the first time."""
    state = next(number for number, candidate in enumerate(_rows) if candidate is row)
    for middle, flags, symbol in HUFFMAN_TABLE[state * 16 : state * 16 + 16]:
        if flags & HUFFMAN_FAIL:
            row.extend([(_failed, b"", 0)] * 16)
            continue
        text = bytes((symbol,)) if flags & HUFFMAN_EMIT_SYMBOL else b""
        for after, flags_after, symbol_after in HUFFMAN_TABLE[middle * 16 : middle * 16 + 16]:
            if flags_after & HUFFMAN_FAIL:
                row.append((_failed, b"", 0))
            elif flags_after & HUFFMAN_EMIT_SYMBOL:
                whole = text + bytes((symbol_after,))
                row.append((_rows[after], whole, flags_after & HUFFMAN_COMPLETE))
            else:
                row.append((_rows[after], text, flags_after & HUFFMAN_COMPLETE))


def decode_huffman(data: bytes) -> bytes:
    """The text of a Huffman-coded string.

    Raises:
        ConnectionFault: COMPRESSION_ERROR: the padding is wrong, or EOS is inside (RFC 7541 §5.2).
    """
    while True:
        row = _rows[0]
        pieces: list[bytes] = []
        append = pieces.append
        complete = 1
        try:
            for byte in data:
                row, text, complete = row[byte]
                append(text)
        except IndexError:
            # The row is still empty; this happens once per state in the life of a process.
            _fill(row)
            continue
        if not complete:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a broken Huffman string")
        return b"".join(pieces)
