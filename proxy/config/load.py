"""Gather the configuration: file, then environment, then flags; the later wins.

1. The file: ``--config`` or ``VESTIBULE_CONFIG``; else ``vestibule.toml`` in the working
   directory; else ``[tool.vestibule]`` in ``pyproject.toml`` there; else none.
2. The environment: the variables of keys.
3. What a command insists on (``vestibule dev``: the internal CA).
4. Options: ``PORT``, the variables of options, flags.

Paths in a file are relative to that file's folder, all others to the working directory. The tree
that comes out is checked once, as a whole, so that all its faults are told together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from proxy.config import environment
from proxy.config.model import Config
from proxy.config.options import Options, Tree, apply
from proxy.config.problems import problems_of
from proxy.config.schema import Key
from proxy.errors import ConfigError

FILE_NAME = "vestibule.toml"

CONFIG_VARIABLE = environment.variable("config")
ENV_FILE_VARIABLE = environment.variable("env_file")
_IGNORED = frozenset({CONFIG_VARIABLE, ENV_FILE_VARIABLE})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that passed every check, and the file it came from, if any."""

    config: Config
    file: Path | None


def load(
    *,
    environ: Mapping[str, str],
    folder: Path,
    file: Path | None = None,
    flags: Options | None = None,
    amend: Callable[[Tree], None] | None = None,
) -> Loaded:
    """Gather and check the configuration, or raise ConfigError with every fault.

    ``folder`` is the working directory; ``amend`` is what a command changes in the tree before
    the options are applied.
    """
    flags = flags or Options()
    path = find_file(file, environ, folder)
    tree = _read_file(path)
    home = path.parent if path else folder
    _make_absolute(tree, home)
    variables = environment.read(environ, _IGNORED)
    _make_absolute(variables.tree, folder)
    _merge(tree, variables.tree)
    if amend is not None:
        amend(tree)
    problems = list(variables.problems)
    options = flags.over(variables.options)
    faults, option_keys = apply(options, tree, folder)
    origins: dict[Key, str] = dict(variables.key_variables)
    names = {**variables.option_variables, **{name: _flag(name) for name in flags.given()}}
    origins.update({key: names[option] for option, key in option_keys.items()})
    problems += [_name_option(fault, names) for fault in faults]
    if variables.app_workers is not None:
        _default_app_workers(tree, variables.app_workers, origins)
    tree.setdefault("storage", _default_storage(home))
    tree.setdefault("python_path", str(home))
    if faults and "sites" not in tree:
        # The option's fault already says what is missing.
        raise ConfigError(problems, source=str(path) if path else None)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        problems += problems_of(error, lambda key: _origin(key, origins))
    else:
        if not problems:
            return Loaded(config, path)
    raise ConfigError(problems, source=str(path) if path else None)


def find_file(file: Path | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """The file of the configuration, if there is one."""
    if file is None and (named := environ.get(CONFIG_VARIABLE, "").strip()):
        file = Path(named)
    if file is not None:
        return (folder / file).absolute()
    path = folder / FILE_NAME
    if path.is_file():
        return path
    path = folder / "pyproject.toml"
    return path if path.is_file() and _tool_table(_read_toml(path)) else None


def find_storage(environ: Mapping[str, str], folder: Path) -> str:
    """The store where there is no file: what the environment says, or the default."""
    variables = environment.read(environ, _IGNORED)
    _make_absolute(variables.tree, folder)
    storage = variables.tree.get("storage", _default_storage(folder))
    assert isinstance(storage, str)  # variables are text
    return storage


def _default_storage(home: Path) -> str:
    return f"file:{home / 'state'}"


def _read_file(path: Path | None) -> Tree:
    if path is None:
        return {}
    table = _read_toml(path)
    return _tool_table(table) if path.name == "pyproject.toml" else table


def _read_toml(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is no valid TOML: {error}", source=str(path)) from error


def _tool_table(pyproject: Tree) -> Tree:
    tool = pyproject.get("tool")
    table = tool.get("vestibule") if isinstance(tool, dict) else None
    return deepcopy(table) if isinstance(table, dict) else {}


def _make_absolute(tree: Tree, folder: Path) -> None:
    """Make the paths of one source absolute; what has the wrong type is left to the check."""
    storage = tree.get("storage")
    if isinstance(storage, str) and storage.startswith("file:") and storage != "file:":
        tree["storage"] = f"file:{folder / storage.removeprefix('file:')}"
    _make_file_absolute(tree, "python_path", folder)
    _make_acme_absolute(tree.get("acme"), folder)
    sites = tree.get("sites")
    for site in sites if isinstance(sites, list) else []:
        if not isinstance(site, dict):
            continue
        _make_acme_absolute(site.get("acme"), folder)
        for key in ("chain", "key"):
            _make_file_absolute(site.get("certificate"), key, folder)
        _make_file_absolute(site.get("client_certificates"), "ca", folder)
        if "app" in site:
            site.setdefault("app_dir", ".")
        _make_file_absolute(site, "app_dir", folder)


def _make_acme_absolute(acme: object, folder: Path) -> None:
    if not isinstance(acme, dict):
        return
    fallbacks = acme.get("fallbacks")
    for table in (acme, *(fallbacks if isinstance(fallbacks, list) else ())):
        _make_file_absolute(table, "ca_certificates", folder)
        eab = table.get("eab") if isinstance(table, dict) else None
        for key in ("key_id", "hmac_key"):
            _make_secret_absolute(eab, key, folder)
    dns = acme.get("dns")
    if isinstance(dns, dict):
        _make_program_absolute(dns.get("options"), folder)
    hooks = acme.get("hooks")
    for hook in hooks if isinstance(hooks, list) else ():
        _make_program_absolute(hook, folder)
    _make_file_absolute(dns, "credentials_file", folder)
    credentials = dns.get("credentials") if isinstance(dns, dict) else None
    for key in credentials if isinstance(credentials, dict) else ():
        _make_secret_absolute(credentials, key, folder)


def _make_secret_absolute(table: object, key: str, folder: Path) -> None:
    """``file:PATH``; other sources have no path."""
    if isinstance(table, dict) and isinstance(value := table.get(key), str):
        kind, _, path = value.partition(":")
        if kind == "file" and path:
            table[key] = f"file:{folder / path}"


def _make_program_absolute(table: object, folder: Path) -> None:
    """The first word of ``command``; one without a slash is looked for on PATH, as shells do."""
    command = table.get("command") if isinstance(table, dict) else None
    if isinstance(command, list) and command and isinstance(command[0], str) and "/" in command[0]:
        command[0] = str(folder / command[0])


def _make_file_absolute(table: object, key: str, folder: Path) -> None:
    if isinstance(table, dict) and isinstance(value := table.get(key), str) and value:
        table[key] = str(folder / value)


def _merge(tree: Tree, over: Tree) -> None:
    for key, value in over.items():
        present = tree.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value)
        else:
            tree[key] = value


def _default_app_workers(tree: Tree, count: str, origins: dict[Key, str]) -> None:
    sites = tree.get("sites")
    for i, site in enumerate(sites if isinstance(sites, list) else []):
        if isinstance(site, dict) and "app" in site and "app_workers" not in site:
            site["app_workers"] = count
            origins["sites", i, "app_workers"] = "WEB_CONCURRENCY"


def _origin(key: Key, origins: Mapping[Key, str]) -> str | None:
    for length in range(len(key), 0, -1):
        if name := origins.get(key[:length]):
            return name
    return None


def _flag(option: str) -> str:
    return "APP" if option == "app" else f"--{option.replace('_', '-')}"


def _name_option(fault: str, names: Mapping[str, str]) -> str:
    option, colon, rest = fault.partition(":")
    return f"{names.get(option, _flag(option))}{colon}{rest}"
