"""Apps that we run: the command, the folder, the configuration afterwards, and finding them."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from proxy.apps import (
    app_environ,
    app_sockets,
    find_app,
    is_listening,
    make_socket_folder,
    remove_stale_socket,
    uvicorn_command,
)
from proxy.config.addresses import UnixAddress
from proxy.config.model import Config, Site
from proxy.errors import ConfigError, StartupError
from proxy.processes import User

ADDRESS = UnixAddress("/run/x/app-0.sock")


def test_the_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = make_socket_folder({"XDG_RUNTIME_DIR": str(tmp_path)}, None)
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    user = User("me", os.geteuid(), os.getegid())
    assert make_socket_folder({"XDG_RUNTIME_DIR": str(tmp_path)}, user) != folder


def test_a_runtime_folder_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    folder = make_socket_folder({"RUNTIME_DIRECTORY": str(tmp_path / "none")}, None)
    assert folder.is_dir()
    folder.rmdir()


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(StartupError, match="No such file or directory"):
        make_socket_folder({}, None)


def test_each_app_has_a_socket() -> None:
    config = Config.model_validate(
        {
            "sites": [
                {"names": ["a.example"], "upstreams": ["h:1"]},
                {"names": ["b.example"], "app": "main:app"},
            ]
        }
    )
    assert app_sockets(config, Path("/run/x")) == {1: UnixAddress("/run/x/app-1.sock")}


def test_how_uvicorn_is_started() -> None:
    site = Site(names=("a.example",), app="main:app", app_dir=Path("/srv"), app_workers=2)
    command = uvicorn_command(site, ADDRESS, level="info", reload=False)
    assert command[:4] == [sys.executable, "-m", "uvicorn", "main:app"]
    assert " ".join(command[4:]) == (
        "--uds /run/x/app-0.sock --app-dir /srv --proxy-headers --forwarded-allow-ips * "
        "--no-access-log --log-level info --workers 2"
    )
    factory = Site(names=("a.example",), app="main:make()", app_dir=Path("/srv"))
    command = uvicorn_command(factory, ADDRESS, level="debug", reload=True)
    assert command[3:5] == ["main:make", "--factory"]
    assert command[-3:] == ["--reload", "--reload-dir", "/srv"]
    with pytest.raises(ValueError, match="no app"):
        uvicorn_command(Site(names=("a.example",)), ADDRESS, level="info", reload=False)


def test_an_app_in_a_package_is_watched_there(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    site = Site(names=("a.example",), app="shop.web:app", app_dir=tmp_path)
    command = uvicorn_command(site, ADDRESS, level="info", reload=True)
    assert command[-1] == f"{tmp_path}/shop"
    site = Site(names=("a.example",), app="elsewhere.web:app", app_dir=tmp_path)
    assert uvicorn_command(site, ADDRESS, level="info", reload=True)[-1] == str(tmp_path)


def test_an_app_does_not_see_our_configuration() -> None:
    environ = {"PATH": "/bin", "HOME": "/root", "VESTIBULE_EMAIL": "x"}
    assert app_environ(environ, None) == {"PATH": "/bin", "HOME": "/root"}
    user = User("me", 1, 1, "/home/me")
    assert app_environ(environ, user) == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "USER": "me",
        "LOGNAME": "me",
    }


def test_a_socket_left_behind_is_removed(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "app.sock"))
    remove_stale_socket(address)
    Path(address.path).touch()
    remove_stale_socket(address)
    assert not Path(address.path).exists()


@pytest.mark.parametrize(
    ("text", "app"),
    [
        ("shop.web:create()", "shop.web:create()"),
        ("main.py", "main:api"),
        ("./main.py:other", "main:other"),
        ("app/main.py", "app.main:app"),
        (None, "main:api"),
    ],
)
def test_an_app_is_found(tmp_path: Path, text: str | None, app: str) -> None:
    (tmp_path / "main.py").write_text("api: object = None\nother = 1\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("x = y = 1\napp = api = 2\n")
    assert find_app(text, tmp_path) == app


def test_files_without_an_app_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import app\nx = 1\n")
    (tmp_path / "api.py").write_text("app = 1\n")
    assert find_app(None, tmp_path) == "api:app"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "APP: is missing"),
        ("main", "'main' is no app"),
        ("none.py", "there is no file 'none.py'"),
        ("../main.py", "there is no file"),
        ("/main.py", "there is no file"),
        ("empty.py", "no `app` is made in empty.py"),
        ("broken.py", "broken.py cannot be read"),
    ],
)
def test_an_app_that_is_not_found(tmp_path: Path, text: str | None, reason: str) -> None:
    (tmp_path / "empty.py").touch()
    (tmp_path / "broken.py").write_text("app = (")
    with pytest.raises(ConfigError, match=reason):
        find_app(text, tmp_path)


def test_an_app_is_up_when_it_listens(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "app.sock"))
    assert not is_listening(address)
    with socket.socket(socket.AF_UNIX) as app:
        app.bind(address.path)
        assert not is_listening(address)
        app.listen(0)
        # However many wait to be accepted.
        assert all(is_listening(address) for _ in range(10))
