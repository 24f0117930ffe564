"""The environment as a source of configuration.

Every key is a variable: ``VESTIBULE_`` and the key, its table before it with two underscores
(``VESTIBULE_ACME__EMAIL``). Lists are JSON, or split at commas; ``VESTIBULE_SITES`` is JSON.
Every option of the command line is a variable too (``VESTIBULE_NAME``). A variable that is empty
counts as not set, because that is how Compose and its like write "not set".

``PORT`` and ``WEB_CONCURRENCY`` are read as hosting platforms mean them: the port to serve on,
and how many processes the *app* should have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from proxy.config.options import Options, Tree, put
from proxy.config.problems import closest
from proxy.config.schema import Key, annotation_at, is_list, is_table_of_any, keys_of, leaves
from proxy.errors import ConfigError

PREFIX = "VESTIBULE_"

_LIST_OPTIONS = frozenset({"name", "to"})

# Kubernetes sets these for a Service that is called "vestibule" (its "service links").
_SERVICE_LINK = re.compile(
    r"VESTIBULE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_URL = re.compile(r"(tcp|udp|sctp)://")

# What hooks and the commands of DNS-01 are told (by ``acme_client``), under the variable that all
# of them get: such a program may well call ``vestibule``.
_TOLD = {
    "VESTIBULE_EVENT": frozenset(
        PREFIX + name
        for name in (
            *("EVENT", "CERTIFICATE_ID", "NAMES", "MESSAGE", "RETRY_AT"),
            *("NOT_AFTER", "SERIAL", "CHAIN", "KEY"),
        )
    ),
    "VESTIBULE_DNS_ACTION": frozenset(
        PREFIX + name for name in ("DNS_ACTION", "DNS_NAME", "DNS_VALUE")
    ),
}

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(["'])(.*)\1\s*(?:#.*)?""")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromEnvironment:
    """What the variables say, and which variable said it."""

    tree: Tree
    options: Options
    key_variables: Mapping[Key, str]
    option_variables: Mapping[str, str]
    app_workers: str | None
    problems: tuple[str, ...]


def variable(*key: str) -> str:
    """The variable of a key or an option."""
    return PREFIX + "__".join(key).upper()


def read(environ: Mapping[str, str], ignored: frozenset[str] = frozenset()) -> FromEnvironment:
    """Read all variables; ``ignored`` are known ones that others read (``VESTIBULE_CONFIG``)."""
    keys = {variable(*key): key for key in leaves()}
    options = {variable(field.name): field.name for field in fields(Options)}
    tree: Tree = {}
    given: dict[str, Any] = {}
    key_variables: dict[Key, str] = {}
    option_variables: dict[str, str] = {}
    problems: list[str] = []
    told = frozenset[str]().union(*(names for mark, names in _TOLD.items() if mark in environ))
    for name in sorted(environ):
        value = environ[name].strip()
        if not name.startswith(PREFIX) or not value or name in ignored or name in told:
            continue
        if _SERVICE_LINK.fullmatch(name) or _SERVICE_LINK_URL.match(value):
            continue
        if name in options:
            option = options[name]
            given[option] = _split(value) if option in _LIST_OPTIONS else value
            option_variables[option] = name
        elif name in keys:
            try:
                put(tree, keys[name], _value(value, keys[name]))
            except ValueError as error:
                problems.append(f"{name}: {error}")
            key_variables[keys[name]] = name
        else:
            problems.append(f"{name}: {_unknown(name, {*keys, *options, *ignored})}")
    port = environ.get("PORT", "").strip()
    if port and "port" not in given:
        given["port"] = port
        option_variables["port"] = "PORT"
    return FromEnvironment(
        tree=tree,
        options=Options(**given),
        key_variables=key_variables,
        option_variables=option_variables,
        app_workers=environ.get("WEB_CONCURRENCY", "").strip() or None,
        problems=tuple(problems),
    )


def _unknown(name: str, known: Iterable[str]) -> str:
    # What all of them begin with must not make two of them alike.
    rest = closest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known])
    if rest is not None:
        return f"unknown variable; did you mean {PREFIX + rest!r}?"
    return (
        f"unknown variable; a variable is {PREFIX} and an option of the command or a key of the "
        f"configuration, as in {variable('port')} and {variable('acme', 'email')}"
    )


def _value(text: str, key: tuple[str, ...]) -> object:
    annotation = annotation_at(key)
    if is_table_of_any(annotation):
        return _json(text)
    if not is_list(annotation):
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        # An IPv6 address begins like a JSON list, so what is no JSON may still be a list.
        if keys_of(annotation) or text.startswith(('["', "['")):
            raise ValueError(f"{text!r} is no valid JSON: {error}") from None
        return _split(text)
    return value if isinstance(value, list) or keys_of(annotation) else _split(text)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no valid JSON: {error}") from None


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_env_file(path: Path) -> dict[str, str]:
    """Read ``KEY=value`` lines, as Docker, systemd and Uvicorn's ``--env-file`` have them."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot be read: {error}", source=str(path)) from error
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            problems.append(f"line {number}: {line!r} is not KEY=value")
            continue
        name, value = match.groups()
        quoted = _QUOTED.fullmatch(value)
        # Only a '#' after a blank starts a comment: passwords and URLs have others.
        values[name] = quoted.group(2) if quoted else re.split(r"\s#", value)[0].strip()
    if problems:
        raise ConfigError(problems, source=str(path))
    return values
