"""What was asked of the CA, request by request, for a test's assertions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from acme_client.testing.wire import Endpoint


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """One request and how it was answered."""

    at: datetime
    """By the CA's clock."""
    method: str
    path: str
    endpoint: Endpoint | None
    """``None`` when no resource has that path."""
    headers: Mapping[str, str] = field(default_factory=dict)
    protected: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, Any] | None = None
    """The payload of a POST; ``None`` for GET, HEAD and POST-as-GET."""
    names: tuple[str, ...] = ()
    """The identifiers that the request is about."""
    account: int | None = None
    status: int = 0
    problem: str | None = None
    """The type of the problem document without its prefix."""

    def __repr__(self) -> str:
        about = f" {','.join(self.names)}" if self.names else ""
        problem = f" {self.problem}" if self.problem else ""
        return f"<{self.method} {self.endpoint or self.path}{about} {self.status}{problem}>"


class Records:
    """The newest requests, oldest first, and a count of all."""

    __slots__ = ("_counts", "_kept")

    def __init__(self, keep: int) -> None:
        self._kept: deque[Record] = deque(maxlen=keep)
        self._counts: Counter[Endpoint | None] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._kept))

    def __getitem__(self, index: int) -> Record:
        return self._kept[index]

    def add(self, record: Record) -> None:
        self._kept.append(record)
        self._counts[record.endpoint] += 1

    def at(self, *endpoints: str | Endpoint) -> list[Record]:
        """Those to one of these endpoints."""
        wanted = {Endpoint(endpoint) for endpoint in endpoints}
        return [record for record in self if record.endpoint in wanted]

    def about(self, name: str) -> list[Record]:
        """Those about one identifier."""
        return [record for record in self if name in record.names]

    def count(self, endpoint: str | Endpoint) -> int:
        """How many there were, also those no longer kept."""
        return self._counts[Endpoint(endpoint)]

    @property
    def total(self) -> int:
        return sum(self._counts.values())

    def clear(self) -> None:
        self._kept.clear()
        self._counts.clear()
