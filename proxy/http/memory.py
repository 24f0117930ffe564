"""What was seen before: a bounded memory of bytes and their meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from proxy.limits import KIB, MIB

Meaning = TypeVar("Meaning")

ENTRIES: Final = 1024
"""Per generation."""
KEY_BYTES: Final = 4 * KIB
"""Longer ones are not remembered."""
GENERATION_BYTES: Final = 1 * MIB
"""Of keys, per generation; a meaning takes up to ten times the bytes of its key."""


class Memory(Generic[Meaning]):
    """Bytes seen before, and what they mean; bounded in entries and in bytes.

    Two generations stand in for an exact least-recently-used order: when the young one is full it
    becomes the old one, and a hit in the old one is moved up. So an entry in use stays, and a
    flood of new bytes costs the flooder's own misses and no more than the bound in memory.
    """

    __slots__ = ("_old", "_room", "_young", "recall")

    def __init__(self) -> None:
        self._young: dict[bytes, Meaning] = {}
        self._old: dict[bytes, Meaning] = {}
        self._room = GENERATION_BYTES
        self.recall: Callable[[bytes], Meaning | None] = self._young.get
        """As ``get``, for what was seen lately; without a Python function, for the hot path."""

    def get(self, key: bytes) -> Meaning | None:
        meaning = self._young.get(key)
        if meaning is None:
            meaning = self._old.get(key)
            if meaning is not None:
                self.put(key, meaning)
        return meaning

    def put(self, key: bytes, meaning: Meaning) -> None:
        if len(key) > KEY_BYTES:
            return
        if len(self._young) >= ENTRIES or self._room < len(key):
            self._old = dict(self._young)
            self._young.clear()  # the same object always: ``recall`` is bound to it
            self._room = GENERATION_BYTES
        self._young[key] = meaning
        self._room -= len(key)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
