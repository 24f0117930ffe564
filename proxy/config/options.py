"""The command line's options as one value, and what each does to the configuration.

An option is a short way to say what the file says at length: ``--email E`` is ``acme.email``,
``main:app --name api.example.com`` is a whole ``[[sites]]`` table. Each has an environment
variable ``VESTIBULE_<OPTION>`` of the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from proxy.config.addresses import MAX_PORT
from proxy.config.schema import Key

Tree = dict[str, Any]

PORT_KEYS = {"port": "https", "http_port": "http"}
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """None and () mean: not given. ``port`` may be text where it comes from the environment."""

    app: str | None = None
    name: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    email: str | None = None
    workers: int | str | None = None
    app_workers: int | str | None = None
    host: str | None = None
    port: int | str | None = None
    http_port: int | str | None = None
    log_level: str | None = None
    access_log: bool | str | None = None

    def over(self, other: Options) -> Options:
        """These, and the other's where these say nothing."""
        return replace(other, **{name: getattr(self, name) for name in self.given()})

    def given(self) -> Iterator[str]:
        for field in fields(self):
            if getattr(self, field.name) not in (None, ()):
                yield field.name


def apply(options: Options, tree: Tree, folder: Path) -> tuple[list[str], dict[str, Key]]:
    """Write the options into the tree.

    Returns the problems met, and for each option the key that it set. ``folder`` is where an
    app named here is imported from.
    """
    problems: list[str] = []
    keys: dict[str, Key] = {}
    for option, key in (
        ("email", ("acme", "email")),
        ("workers", ("workers",)),
        ("log_level", ("log", "level")),
        ("access_log", ("log", "access")),
    ):
        value = getattr(options, option)
        if value is not None and put(tree, key, value):
            keys[option] = key
    _apply_listen(options, tree, problems, keys)
    _apply_site(options, tree, folder, problems, keys)
    return problems, keys


def put(tree: Tree, key: tuple[str, ...], value: object) -> bool:
    """Set a key, making its tables; False where something else than a table is in the way."""
    table: Any = tree
    for name in key[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return False
    table[key[-1]] = value
    return True


def _apply_listen(options: Options, tree: Tree, problems: list[str], keys: dict[str, Key]) -> None:
    host = options.host
    hosts = _hosts(host) if host is not None else ("::",)
    for option, key in PORT_KEYS.items():
        port = getattr(options, option)
        if port is None and host is None:
            continue
        if port is not None and not _is_port(port):
            problems.append(f"{option}: {port!r} is no port; allowed are 0 to {MAX_PORT}")
            continue
        listen = tree.get("listen", {})
        present = listen.get(key) if isinstance(listen, dict) else None
        if port is None and present is not None and not present:
            continue  # turned off: a host alone does not turn it on again
        if port is None:
            port = str(present[0]).rpartition(":")[2] if present else _DEFAULT_PORTS[key]
        addresses = [f"[{bound}]:{port}" if ":" in bound else f"{bound}:{port}" for bound in hosts]
        if put(tree, ("listen", key), addresses):
            keys[option if getattr(options, option) is not None else "host"] = ("listen", key)


def _hosts(host: str) -> tuple[str, ...]:
    bare = host.removeprefix("[").removesuffix("]")
    # What the name means to a browser, which may try either first.
    return {"localhost": ("127.0.0.1", "::1"), "*": ("::",)}.get(bare, (bare,))


def _is_port(port: int | str) -> bool:
    text = str(port)
    return text.isascii() and text.isdigit() and int(text) <= MAX_PORT


def _apply_site(
    options: Options, tree: Tree, folder: Path, problems: list[str], keys: dict[str, Key]
) -> None:
    given = [name for name in ("app", "name", "to", "app_workers") if name in options.given()]
    if not given:
        return
    if options.app is not None and options.to:
        problems.append("to: stands beside an app; a site has one or the other")
        return
    sites = tree.get("sites", [])
    if not isinstance(sites, list):
        return
    if len(sites) > 1:
        problems.append(
            f"{given[0]}: the configuration has {len(sites)} sites; say there which one is meant"
        )
        return
    if not sites:
        if not options.name:
            problems.append(
                "name: is missing; say under which domain to serve, as in --name api.example.com "
                "(or use `vestibule dev` for https://localhost)"
            )
            return
        tree["sites"] = sites = [{}]
    site = sites[0]
    if not isinstance(site, dict):
        return
    if options.name:
        site["names"] = list(options.name)
        keys["name"] = ("sites", 0, "names")
    if options.to:
        for key in ("app", "app_workers", "app_dir"):
            site.pop(key, None)
        site["upstreams"] = list(options.to)
        keys["to"] = ("sites", 0, "upstreams")
    if options.app is not None:
        site.pop("upstreams", None)
        site["app"] = options.app
        site["app_dir"] = str(folder)
        keys["app"] = ("sites", 0, "app")
    if options.app_workers is not None:
        site["app_workers"] = options.app_workers
        keys["app_workers"] = ("sites", 0, "app_workers")
