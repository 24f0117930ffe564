"""Sites whose app we run ourselves: Uvicorn on a unix socket that only we can reach.

Uvicorn makes its socket with mode 0666, so what protects it is the folder around it, made for
this run and closed to others. Only we can connect, hence ``--forwarded-allow-ips '*'`` is right
there, and needed: on a unix socket Uvicorn knows no peer address that it could compare.
"""

from __future__ import annotations

import ast
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from proxy.config.addresses import UnixAddress
from proxy.config.environment import PREFIX
from proxy.config.model import Config, Site
from proxy.errors import ConfigError, StartupError
from proxy.processes import User

FOLDER_MODE = 0o750

# Where `fastapi dev` looks, in its order.
_USUAL_FILES = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
_USUAL_NAMES = ("app", "api")


def make_socket_folder(environ: Mapping[str, str], user: User | None) -> Path:
    """A new folder for the sockets of this run; whoever makes it removes it."""
    base = environ.get("RUNTIME_DIRECTORY") or environ.get("XDG_RUNTIME_DIR")
    try:
        folder = Path(tempfile.mkdtemp(prefix="vestibule-", dir=base if _usable(base) else None))
        os.chmod(folder, FOLDER_MODE)
        if user is not None and user.uid != os.geteuid():
            os.chown(folder, user.uid, user.gid)
    except OSError as error:
        raise StartupError(
            f"Cannot make a folder for the apps' sockets: {error.strerror} ({error.filename})"
        ) from error
    return folder


def _usable(base: str | None) -> bool:
    return base is not None and os.access(base, os.W_OK | os.X_OK)


def app_sockets(config: Config, folder: Path) -> dict[int, UnixAddress]:
    """Where each app listens, by its site's position."""
    return {
        position: UnixAddress(str(folder / f"app-{position}.sock"))
        for position, site in enumerate(config.sites)
        if site.app is not None
    }


def uvicorn_command(site: Site, address: UnixAddress, *, level: str, reload: bool) -> list[str]:
    """How Uvicorn is started for a site's app."""
    if site.app is None or site.app_dir is None:
        raise ValueError("the site has no app")
    command = [sys.executable, "-m", "uvicorn", site.app.removesuffix("()")]
    if site.app.endswith("()"):
        command.append("--factory")
    command += ["--uds", address.path]
    command += ["--app-dir", str(site.app_dir)]
    command += ["--proxy-headers", "--forwarded-allow-ips", "*"]
    # Our own access log has the line, with the client that Uvicorn learns from us.
    command += ["--no-access-log", "--log-level", level]
    if reload:
        command += ["--reload", "--reload-dir", str(_watched(site.app, site.app_dir))]
    else:
        # Said also when it is 1: otherwise WEB_CONCURRENCY would say it.
        command += ["--workers", str(site.app_workers)]
    return command


def _watched(app: str, folder: Path) -> Path:
    """An app in a package is watched there: the folder around it often has a whole .venv."""
    package, dot, _ = app.partition(":")[0].partition(".")
    return folder / package if dot and (folder / package).is_dir() else folder


def app_environ(environ: Mapping[str, str], user: User | None) -> dict[str, str]:
    """The environment of an app: ours, without our own configuration and its secrets.

    Whom we have become is told as login does, so that nothing looks for root's home.
    """
    own = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    if user is not None:
        own |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    return own


def remove_stale_socket(address: UnixAddress) -> None:
    """Clear the way for Uvicorn, whose reloader does not bind over a socket left behind."""
    Path(address.path).unlink(missing_ok=True)


def is_listening(address: UnixAddress) -> bool:
    """Whether an app accepts connections already; it does when its own start is complete."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except BlockingIOError:
            return True  # others are waiting to be accepted
        except OSError:
            return False
    return True


def find_app(text: str | None, folder: Path) -> str:
    """The app as ``module:attribute``; a file, or nothing, is looked into as FastAPI's CLI does."""
    if text is not None and ":" in text and not text.partition(":")[0].endswith(".py"):
        return text
    if text is None:
        for name in _USUAL_FILES:
            if (folder / name).is_file() and (found := _app_in(folder, name)):
                return found
        raise ConfigError(
            "APP: is missing; write module:attribute, such as main:app "
            f"(looked for `app` in {', '.join(_USUAL_FILES)})"
        )
    file, _, attribute = text.partition(":")
    if not file.endswith(".py"):
        raise ConfigError(f"APP: {text!r} is no app; write module:attribute, such as main:app")
    path = os.path.normpath(file)
    if os.path.isabs(path) or path.startswith(os.pardir) or not (folder / path).is_file():
        raise ConfigError(f"APP: there is no file {file!r} in {folder}")
    if attribute:
        return f"{_module(path)}:{attribute}"
    if found := _app_in(folder, path):
        return found
    raise ConfigError(
        f"APP: no `app` is made in {file}; write which object it is, as in {file}:app"
    )


def _app_in(folder: Path, name: str) -> str | None:
    """Look for ``app = ...`` without importing: importing runs code, and ours is no app."""
    try:
        tree = ast.parse((folder / name).read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"APP: {name} cannot be read: {error}") from error
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for attribute in _USUAL_NAMES:
        if attribute in assigned:
            return f"{_module(name)}:{attribute}"
    return None


def _module(path: str) -> str:
    return path.removesuffix(".py").replace(os.sep, ".")
