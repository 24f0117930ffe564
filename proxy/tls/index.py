"""Which certificate a server name gets.

The lookup order, for a name in the ClientHello:

1. the entry of exactly that name;
2. the entry of the wildcard that covers it, one label deep;
3. the default entry, but only when unknown names may have it;
4. nothing: the caller sends ``unrecognized_name``.

For a client without a server name: the default entry, or nothing.

Two dictionaries answer this in constant time, whether there are ten names or ten thousand. The
index is generic in what it holds, so nothing here knows of TLS; a renewal replaces an entry and a
connection that took the old one before never notices. All methods run on one thread and none of
them waits, so no lookup sees half a change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from proxy.tls.names import WILDCARD, is_wildcard, parent

T = TypeVar("T")


class CertificateIndex(Generic[T]):
    """Server names, and wildcards, to entries. All names are in normal form."""

    __slots__ = ("_exact", "_wildcards", "default", "default_for_unknown")

    def __init__(self, *, default: T | None = None, default_for_unknown: bool = False) -> None:
        self._exact: dict[str, T] = {}
        self._wildcards: dict[str, T] = {}  # by what follows the star and its dot
        self.default = default
        """For clients that name no server."""
        self.default_for_unknown = default_for_unknown
        """Whether names without an entry get the default too."""

    def __repr__(self) -> str:
        default = "no default" if self.default is None else "a default"
        return (
            f"<CertificateIndex {len(self._exact)} names, "
            f"{len(self._wildcards)} wildcards, {default}>"
        )

    def __len__(self) -> int:
        return len(self._exact) + len(self._wildcards)

    def lookup(self, server_name: str | None) -> T | None:
        """The entry for a ClientHello's server name, or None for ``unrecognized_name``."""
        if server_name is None:
            return self.default
        entry = self._exact.get(server_name)
        if entry is None:
            entry = self._wildcards.get(parent(server_name))
            if entry is None and self.default_for_unknown:
                return self.default
        return entry

    def set(self, names: Iterable[str], entry: T) -> None:
        """Let ``names`` have ``entry``, in place of what they had."""
        for name in names:
            if is_wildcard(name):
                self._wildcards[name[len(WILDCARD) :]] = entry
            else:
                self._exact[name] = entry

    def remove(self, names: Iterable[str]) -> None:
        """Forget ``names``; one that is not here is no error."""
        for name in names:
            if is_wildcard(name):
                self._wildcards.pop(name[len(WILDCARD) :], None)
            else:
                self._exact.pop(name, None)
