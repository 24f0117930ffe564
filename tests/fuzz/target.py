"""What a fuzz target is, how its input is cut into pieces, and how an input is made of another."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

MAX_BYTES: Final = 8192
"""Longer inputs find nothing that shorter ones do not, and cost more."""

SHORT: Final = 2048
"""For dear targets; no limit of the protocols lies between this and MAX_BYTES but those on lines,
which cheaper targets reach."""

_BYTEWISE: Final = 300
"""Longer inputs are not fed byte by byte, only in larger pieces."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is fuzzed.

    Attributes:
        name: on the command line.
        check: fails (AssertionError, or whatever the code under test raises) on a finding.
        seeds: inputs to begin with; called once, for some are dear to make.
        scraps: what is worth inserting.
        longest: the bytes of an input under ``make fuzz``; dear targets have more use for many
            inputs than for long ones.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    scraps: Sequence[bytes]
    longest: int = MAX_BYTES


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, in irregular pieces that depend on the data alone, and byte by byte."""
    yield [data]
    if len(data) < 2:
        return
    chance = random.Random(zlib.crc32(data))
    pieces = []
    position = 0
    while position < len(data):
        size = chance.choice((1, 2, 3, 9, 30, 100, 700))
        pieces.append(data[position : position + size])
        position += size
    yield pieces
    if len(data) <= _BYTEWISE:
        yield [data[i : i + 1] for i in range(len(data))]


def same(results: Iterable[object], what: str) -> None:
    """All of them are equal; if not, the two that differ are shown."""
    known = list(results)
    for other in known[1:]:
        assert other == known[0], f"{what}:\n  {known[0]!r}\n  {other!r}"


Kind: TypeAlias = Literal["insert", "replace", "delete", "repeat", "flip"]
Edit: TypeAlias = tuple[Kind, int, bytes]
KINDS: Final[tuple[Kind, ...]] = ("insert", "replace", "delete", "repeat", "flip")


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The data after these edits; positions wrap around."""
    for kind, number, payload in edits:
        at = number % (len(data) + 1)
        size = number // 977 % 40 + 1
        before, after = data[:at], data[at:]
        if kind == "insert":
            data = before + payload + after
        elif kind == "replace":
            data = before + payload + after[len(payload) :]
        elif kind == "delete":
            data = before + after[size:]
        elif kind == "repeat":
            data = before + after[:size] * 2 + after[size:]
        elif after:
            data = before + bytes((after[0] ^ 1 << size % 8,)) + after[1:]
    return data[:MAX_BYTES]


def random_input(chance: random.Random, seeds: Sequence[bytes], scraps: Sequence[bytes]) -> bytes:
    """An input of the poor man's fuzzer: a seed and some edits, sometimes two seeds."""
    data = chance.choice(seeds)
    if chance.random() < 0.2:
        data += chance.choice(seeds)
    edits: list[Edit] = []
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        scrap = chance.choice(scraps) if chance.random() < 0.7 else chance.randbytes(2)
        edits.append((chance.choice(KINDS), chance.randrange(1 << 20), scrap))
    return edited(data, edits)


class Choices:
    """Reads an input as a sequence of decisions; at its end all of them are zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def byte(self) -> int:
        taken = self.take(1)
        return taken[0] if taken else 0

    def take(self, size: int) -> bytes:
        data = self._data[self._position : self._position + size]
        self._position += size
        return data

    def string(self) -> bytes:
        """Its length in one byte, then the string."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        return self.take(len(self._data))
