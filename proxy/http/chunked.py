"""The strict check of chunked framing, and the decoder that stands behind it.

:class:`ChunkedGate` follows the framing byte for byte and refuses all that parsers read
differently: a bare LF, a CR or NUL inside an extension, whitespace beside the size, a size of more
than eight digits, a missing CRLF after the data (RFC 9112 §7.1; CVE-2025-43859, CVE-2025-22871).
Only what it has let through reaches the engine, which decodes it. So the gate says where the body
ends, and bytes after that (a pipelined request) are never shown to the engine.

Chunk extensions and trailers are legal, bounded, checked and dropped: no backend of ours uses the
former, and a trailer turned into a header has been an attack more often than a feature.
"""

from __future__ import annotations

import re

from proxy.errors import ProtocolError
from proxy.http.engine import ChunkedReader, EngineRefusal
from proxy.http.grammar import TOKEN
from proxy.limits import CHUNK_OVERHEAD_BYTES, KIB

_MAX_LINE = 4 * KIB
"""Longest chunk-size line with its extensions, or trailer line, in bytes."""

_MAX_TRAILERS = 16 * KIB

# chunk-size [ chunk-ext ], RFC 9112 §7.1.1, without the whitespace beside ';' and '=' that only
# lenient parsers take. No possessive repeats here: Python 3.11.2 gets nested ones wrong; what may
# follow each other differs in its first byte, so matching takes linear time all the same.
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,8})(?:;" + TOKEN + rb"+(?:=(?:" + TOKEN + rb"+|" + _QUOTED + rb"))?)*"
)

# RFC 9110 §6.5.1 forbids framing in trailers, and parsers differ in what they make of it.
_TRAILER_LINE = re.compile(
    rb"(?i:(?!content-length:|transfer-encoding:))" + TOKEN + rb"+:[\t -~\x80-\xff]*"
)

_SIZE, _DATA, _DATA_END, _TRAILERS, _COMPLETE = range(5)


class ChunkedError(ProtocolError):
    """The chunked framing is malformed, or costs more than it carries."""


class ChunkedGate:
    """Where chunked framing stands after the bytes seen so far."""

    __slots__ = ("_data", "_line", "_overhead", "_remaining", "_state", "_trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._remaining = 0
        self._line = b""  # the part of a line that has come so far
        self._overhead = 0
        self._data = 0
        self._trailers = 0

    @property
    def complete(self) -> bool:
        """True once the empty line after the last chunk has been seen."""
        return self._state == _COMPLETE

    @property
    def cut_line(self) -> bytes:
        """The part of a line at the end of the bytes seen so far: not yet judged."""
        return self._line

    def receive(self, data: bytes) -> int:
        """How many of these bytes belong to the body; fewer than all only at its end.

        Raises:
            ChunkedError: the framing is not strictly right.
        """
        position = 0
        end = len(data)
        while position < end and self._state != _COMPLETE:
            if self._state == _DATA:
                step = min(self._remaining, end - position)
                position += step
                self._remaining -= step
                self._data += step
                if not self._remaining:
                    self._state = _DATA_END
                continue
            newline = data.find(b"\n", position)
            stop = end if newline < 0 else newline + 1
            if len(self._line) + stop - position > _MAX_LINE:
                raise ChunkedError("a chunk line is too long")
            self._line += data[position:stop]
            self._count_overhead(stop - position)
            position = stop
            if newline >= 0:
                line, self._line = self._line, b""
                self._take_line(line)
            elif self._state == _DATA_END and not b"\r\n".startswith(self._line):
                raise ChunkedError("a chunk's data is longer than its size")
        return position

    def _count_overhead(self, step: int) -> None:
        self._overhead += step
        if self._overhead > CHUNK_OVERHEAD_BYTES + 2 * self._data:
            raise ChunkedError("more framing than data")

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise ChunkedError("a bare LF in chunked framing")
        line = line[:-2]
        if self._state == _SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise ChunkedError("a malformed chunk size or extension")
            self._remaining = int(match[1], 16)
            self._state = _DATA if self._remaining else _TRAILERS
        elif self._state == _DATA_END:
            if line:
                raise ChunkedError("a chunk's data is longer than its size")
            self._state = _SIZE
        elif not line:
            self._state = _COMPLETE
        else:
            self._trailers += len(line)
            if self._trailers > _MAX_TRAILERS or _TRAILER_LINE.fullmatch(line) is None:
                raise ChunkedError("a malformed or oversized trailer section")


class ChunkedBody:
    """A chunked body being read: the gate first, then the engine."""

    __slots__ = ("_gate", "_reader")

    def __init__(self, reader: ChunkedReader) -> None:
        self._gate = ChunkedGate()
        self._reader = reader

    @property
    def complete(self) -> bool:
        return self._gate.complete

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """The decoded data inside ``data``, and the bytes behind the body's end.

        Raises:
            ChunkedError: gate or engine refused the framing.
        """
        gate = self._gate
        judged = gate.cut_line
        used = gate.receive(data)
        judged += data[:used]
        if gate.cut_line:
            judged = judged[: -len(gate.cut_line)]
        try:
            decoded = self._reader.receive(judged) if judged else b""
        except EngineRefusal as refusal:
            raise ChunkedError(f"malformed chunked framing ({refusal})") from refusal
        if gate.complete and not self._reader.complete:
            raise ChunkedError("the engine saw no end of the chunked body")
        return decoded, data[used:]
