"""Credentials of DNS services: per site, from the environment or a file, never shown.

A configuration names where a secret is (``env:NAME``, ``file:/path``) or one TOML file with
several; the values are read when they are used, so that a rotated secret needs no restart. What
comes out is :class:`Secrets`, whose ``repr`` has no values and which can blot its values out of
other people's messages before those are logged.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from acme_client.errors import RequestError

MAX_FILE_BYTES = 64 * 1024

BLOT = "***"
MIN_BLOTTED = 4
"""Shorter values are not blotted out: they would take ordinary words with them."""


class Secrets(Mapping[str, str]):
    """Values by name, hidden from ``repr``, ``str`` and tracebacks that print variables."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Secrets: {', '.join(sorted(self._values)) or 'none'}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("secrets are not pickled")

    def require(self, name: str, what: str) -> str:
        try:
            return self._values[name]
        except KeyError:
            raise RequestError(f"{what} needs the credential {name!r}") from None

    def blot_out(self, text: str) -> str:
        """The text with every secret value in it replaced."""
        for value in sorted(self._values.values(), key=len, reverse=True):
            if len(value) >= MIN_BLOTTED:
                text = text.replace(value, BLOT)
        return text


class Credentials:
    """Where a site's secrets are; ``load`` reads them."""

    __slots__ = ("_environment", "_file", "_sources")

    def __init__(
        self,
        sources: Mapping[str, str] | None = None,
        *,
        file: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``sources`` maps names to ``env:NAME`` or ``file:/path``; they go before ``file``."""
        self._sources = dict(sources or {})
        self._file = file
        self._environment = os.environ if environment is None else environment
        for name, source in self._sources.items():
            kind, colon, where = source.partition(":")
            if kind not in ("env", "file") or not colon or not where:
                # The source itself is not shown: it may well be the secret, put here by mistake.
                raise RequestError(
                    f"credential {name!r}: write env:NAME or file:/path, not the secret itself"
                )

    def __repr__(self) -> str:
        parts = [f"{name} from {source}" for name, source in sorted(self._sources.items())]
        if self._file is not None:
            parts.append(f"all in {self._file}")
        return f"<Credentials: {', '.join(parts) or 'none'}>"

    def load(self) -> Secrets:
        """Read them all; what is missing is named, what is there is not shown."""
        values = {} if self._file is None else _read_table(self._file)
        for name, source in self._sources.items():
            kind, _, where = source.partition(":")
            values[name] = (
                self._from_environment(name, where)
                if kind == "env"
                else _read_value(name, Path(where))
            )
        return Secrets(values)

    def _from_environment(self, name: str, variable: str) -> str:
        value = self._environment.get(variable, "")
        if not value:
            raise RequestError(f"credential {name!r}: the variable {variable} is not set")
        return value


def _read_table(path: Path) -> dict[str, str]:
    text = _read_private(path, f"credentials file {path}")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's message quotes no content, only a place.
        raise RequestError(f"credentials file {path} is no TOML: {error}") from None
    for name, value in table.items():
        if not isinstance(value, str):
            raise RequestError(f"credentials file {path}: {name!r} must be a string")
    return table


def _read_value(name: str, path: Path) -> str:
    value = _read_private(path, f"credential {name!r}: file {path}").strip("\r\n")
    if not value:
        raise RequestError(f"credential {name!r}: file {path} is empty")
    return value


def _read_private(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & (stat.S_IWGRP | stat.S_IRWXO):
                raise RequestError(
                    f"{what} has mode {mode:04o}: others may read or change it; chmod 600 it"
                )
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{what} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise RequestError(f"{what} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RequestError(f"{what} is not UTF-8 text") from None
