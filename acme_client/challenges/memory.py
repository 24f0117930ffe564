"""Which challenge kind worked for a name, and which failed since: kept per certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MAX_FAILURES = 12
"""Enough to know the order in which a handful of kinds failed last."""


@dataclass(frozen=True, slots=True)
class Experience:
    """What happened to one name. ``failed`` is oldest first, and empty after a success."""

    worked: str | None = None
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChallengeMemory:
    """Experience by name."""

    names: Mapping[str, Experience] = field(default_factory=dict)

    def of(self, name: str) -> Experience:
        return self.names.get(name, Experience())

    def succeeded(self, name: str, kind: str) -> ChallengeMemory:
        return ChallengeMemory({**self.names, name: Experience(worked=kind)})

    def failed(self, name: str, kind: str) -> ChallengeMemory:
        known = self.of(name)
        failed = (*known.failed, kind)[-MAX_FAILURES:]
        return ChallengeMemory({**self.names, name: replace(known, failed=failed)})

    def to_json(self) -> dict[str, Any]:
        return {
            name: {"worked": known.worked, "failed": list(known.failed)}
            for name, known in self.names.items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ChallengeMemory:
        return cls(
            {
                name: Experience(known["worked"], tuple(known["failed"]))
                for name, known in document.items()
            }
        )
