"""What is refused over HTTP/1.1 is refused over HTTP/2: the corpus, said in frames.

A request that a backend must not get is no better for having come in another version: each head
of the corpus that is refused is taken apart and sent as an HTTP/2 field section, byte for byte,
with its body in DATA. None may reach the backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.corpus import fields, framing, request_lines
from tests.corpus.model import Forwarded, Refused, RequestCase
from tests.e2e.backends import recording
from tests.e2e.fronts import Front
from tests.e2e.wire import EndOfStream, Wire

pytestmark = pytest.mark.anyio

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST = 16_000
"""Of a field block in one frame."""
REQUESTS_EACH = 100
"""On one connection: it is given up when it had many more streams reset."""

ALLOWED = {
    # RFC 9113 §8.3.1: what is the second Host there is one beside :authority here.
    "host-twice Host:\\sfront.test",
    "host-twice host:\\sfront.test",
    # And so there is one field less to be counted.
    "fields-101",
}

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Said:
    """A case as HTTP/2 says it."""

    name: str
    block: bytes
    body: bytes
    accepted: bool
    """Over HTTP/1.1."""


@dataclass(slots=True)
class Outcome:
    """What came on the stream."""

    reset: bool = False
    ended: bool = False


def said(case: RequestCase) -> Said | None:
    """The case in HTTP/2; None when there is no such thing."""
    head, end, body = case.raw.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    parts = line.split(b" ")
    if not end or len(parts) != 3 or parts[2] != b"HTTP/1.1":
        return None
    pairs: list[Pair] = [(b":method", parts[0]), (b":scheme", b"https"), (b":path", parts[1])]
    regular: list[Pair] = []
    for entry in lines:
        name, colon, value = entry.partition(b":")
        if not colon:
            return None
        pair = name.lower(), value.strip(b" \t")
        if pair[0] == b"host" and b":authority" not in dict(pairs):
            pairs.append((b":authority", pair[1]))
        else:
            regular.append(pair)
    block = b"".join(literal(pair) for pair in (*pairs, *regular))
    if len(block) > LARGEST or len(body) > LARGEST:
        return None
    return Said(case.name, block, body, isinstance(case.verdict, Forwarded))


def literal(pair: Pair) -> bytes:
    """A field that leaves the table alone (RFC 7541 §6.2.2), without Huffman coding."""
    return b"\0" + b"".join(length(len(part)) + part for part in pair)


def length(number: int) -> bytes:
    """RFC 7541 §5.1, with a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    encoded = bytearray([127])
    number -= 127
    while number >= 128:
        encoded.append(number % 128 + 128)
        number //= 128
    encoded.append(number)
    return bytes(encoded)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


class Connection:
    """One at a time, on stream after stream."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stream = -1
        self.is_open = True

    @classmethod
    async def open(cls, front: Front) -> Connection:
        wire = await Wire.open(front.port, front.pki.client_context("h2"), "front.test")
        await wire.send(PREFACE + frame(SETTINGS, 0, 0))
        return cls(wire)

    async def ask(self, case: Said) -> Outcome:
        self._stream += 2
        data = frame(
            HEADERS, END_HEADERS | (0 if case.body else END_STREAM), self._stream, case.block
        )
        if case.body:
            data += frame(DATA, END_STREAM, self._stream, case.body)
        await self._wire.send(data)
        outcome = Outcome()
        try:
            while not (outcome.reset or outcome.ended):
                await self._read(outcome)
        except EndOfStream:
            self.is_open = False
            outcome.reset = True
        self.is_open = self.is_open and self._stream < 2 * REQUESTS_EACH
        return outcome

    async def _read(self, outcome: Outcome) -> None:
        head = await self._wire.read_exactly(9)
        await self._wire.read_exactly(int.from_bytes(head[:3]))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9])
        if kind == SETTINGS and not flags & ACK:
            await self._wire.send(frame(SETTINGS, ACK, 0))
        elif kind == GOAWAY:
            self.is_open = False
            outcome.reset = True
        elif stream == self._stream:
            outcome.reset |= kind == RST_STREAM
            outcome.ended |= kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def close(self) -> None:
        self._wire.close()


def all_said() -> Iterator[Said]:
    for family in (request_lines, fields, framing):
        for case in family.cases():
            if isinstance(case.verdict, Refused | Forwarded) and (found := said(case)) is not None:
                yield found


async def test_what_http_1_refuses_never_gets_through(front: Front) -> None:
    refused = [case for case in all_said() if not case.accepted and case.name not in ALLOWED]
    assert len(refused) > 300
    faults: list[str] = []
    async with recording(front.backends.recording.number) as backend:
        connection = await Connection.open(front)
        for case in refused:
            if not connection.is_open:
                connection.close()
                connection = await Connection.open(front)
            seen = len(backend.records)
            outcome = await connection.ask(case)
            assert outcome.reset or outcome.ended
            faults += [f"{case.name}: {record.head!r}" for record in backend.records[seen:]]
        connection.close()
    assert not faults, f"{len(faults)} of {len(refused)}:\n" + "\n".join(faults)
