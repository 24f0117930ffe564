"""``vestibule dev``: HTTPS on this machine, on certificates of a local CA.

It serves one site under local names, and never talks to a public CA. The CA is kept per user and
not per project, so that it needs to be trusted only once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from proxy.apps import find_app
from proxy.config.environment import variable
from proxy.config.fields import INTERNAL
from proxy.config.load import Loaded, load
from proxy.config.options import Options, Tree
from proxy.errors import ConfigError

HTTPS_PORT = 8443
HTTP_PORT = 8080
HOST = "localhost"
NAMES = ("localhost", "127.0.0.1", "::1")

NOT_LOCAL = frozenset({"certificate", "acme", "on_demand"})
"""Keys of a site that are about its real names."""


def load_dev(
    *, environ: Mapping[str, str], folder: Path, file: Path | None, flags: Options
) -> Loaded:
    """The configuration, changed to what is of use in development."""
    if flags.app is not None:
        flags = replace(flags, app=find_app(flags.app, folder))
    names = flags.name or NAMES

    def amend(tree: Tree) -> None:
        tree["sites"] = [_site(tree.get("sites"))]
        tree["acme"] = {"directory": INTERNAL}
        tree.pop("on_demand", None)
        tree["storage"] = f"file:{state_folder(environ)}"
        tree["workers"] = 1
        tree["default_site"] = names[0]
        tree.pop("user", None)

    def _site(sites: object) -> object:
        if flags.app or flags.to or any(environ.get(variable(name)) for name in ("app", "to")):
            return {}
        if not isinstance(sites, list) or not sites:
            return {"app": find_app(None, folder), "app_dir": str(folder)}
        if len(sites) > 1:
            raise ConfigError(
                f"sites: dev serves one site, and the configuration has {len(sites)}; "
                "name an APP, or a backend with --to"
            )
        site = sites[0]
        if not isinstance(site, dict):
            return site
        return {key: value for key, value in site.items() if key not in NOT_LOCAL}

    local = Options(name=names, host=HOST, port=HTTPS_PORT, http_port=HTTP_PORT)
    return load(environ=environ, folder=folder, file=file, flags=flags.over(local), amend=amend)


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where the local CA is kept (XDG Base Directory Specification)."""
    base = environ.get("XDG_DATA_HOME", "")
    home = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return home / "vestibule"
