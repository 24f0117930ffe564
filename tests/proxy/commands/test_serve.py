"""Putting the process tree together; ``tests/proxy/test_cli.py`` runs the whole."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.commands.serve import Plan, prepare_state, try_own_files
from proxy.config.addresses import TcpAddress, UnixAddress
from proxy.config.model import Config
from proxy.errors import StartupError
from proxy.processes import User
from proxy.sockets import BoundSockets, address_of, bind
from proxy.supervisor import BackendRole
from tests.proxy.commands.own_files import write_files


def plan(sockets: BoundSockets, **tree: object) -> Plan:
    config = Config.model_validate({"acme": {"directory": "internal"}, **tree})
    return Plan(
        config=config,
        sockets=sockets,
        contexts=[],
        app_sockets={0: UnixAddress("/run/a.sock")} if config.sites[0].app else {},
        environ={},
        reload=False,
    )


def test_who_is_started() -> None:
    sockets = BoundSockets(https=(), http=())
    app = {"names": ["a.example"], "app": "main:app"}
    roles = plan(sockets, workers=2, sites=[app]).roles(with_manager=True)
    assert [role.name for role in roles] == [
        "app main:app",
        "worker 1",
        "worker 2",
        "certificate manager",
    ]
    assert isinstance(roles[0], BackendRole)
    backend = {"names": ["a.example"], "upstreams": ["h:1"]}
    roles = plan(sockets, sites=[backend]).roles(with_manager=False)
    assert [role.name for role in roles[:1]] == ["worker 1"]
    assert len(roles) <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("names", "default", "host"),
    [
        (["*.a.example", "b.example"], None, "b.example"),
        (["*.a.example"], None, "*.a.example"),
        (["b.example", "localhost"], "localhost", "localhost"),
        (["::1"], None, "[::1]"),
    ],
)
def test_the_address_that_is_announced(names: list[str], default: str | None, host: str) -> None:
    sockets = bind([TcpAddress("127.0.0.1", 0)], [])
    site = {"names": names, "upstreams": ["h:1"]}
    found = plan(sockets, sites=[site], default_site=default).url
    assert found == f"https://{host}:{address_of(sockets.https[0]).port}"
    sockets.close()


def test_own_files_are_tried(tmp_path: Path) -> None:
    site = {"names": ["a.example"], "upstreams": ["h:1"]}
    files = write_files(tmp_path, "a.example")
    assert try_own_files(Config.model_validate({"sites": [{**site, "certificate": files}]})) == 0
    Path(files["key"]).unlink()
    with pytest.raises(StartupError, match=r"a.example: the key .*key.pem cannot be read"):
        try_own_files(Config.model_validate({"sites": [{**site, "certificate": files}]}))


def test_an_own_certificate_that_clients_will_refuse(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_files(tmp_path, "a.example", not_after=datetime(2021, 1, 1, tzinfo=UTC))
    site = {"names": ["b.example"], "upstreams": ["h:1"], "certificate": files}
    assert try_own_files(Config.model_validate({"sites": [site]})) == 0
    assert caplog.messages == [
        f"b.example: {tmp_path}/chain.pem: it expired on 2021-01-01 00:00 UTC",
        f"b.example: {tmp_path}/chain.pem: the certificate does not cover b.example",
    ]


def test_an_app_that_is_not_up_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sockets = bind([TcpAddress("127.0.0.1", 0)], [])
    app = {"names": ["a.example"], "app": "main:app"}
    made = plan(sockets, sites=[app])
    made.announce()
    assert caplog.messages[-1] == "app main:app is not up: until it is, its clients get 502"
    caplog.clear()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "a.sock"))
        listening.listen()
        up = replace(made, app_sockets={0: UnixAddress(str(tmp_path / "a.sock"))})
        up.announce()
    sockets.close()
    assert caplog.messages == []


def test_the_folder_of_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "state"
    prepare_state(folder, None)
    prepare_state(folder, User("me", os.geteuid(), os.getegid()))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot be made: Not a directory"):
        prepare_state(tmp_path / "file" / "state", None)


def test_a_folder_that_we_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StartupError, match="is not writable"):
        prepare_state(tmp_path, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_is_for_whom_we_become(tmp_path: Path) -> None:
    prepare_state(tmp_path / "state", User("someone", 12345, 12346))
    found = (tmp_path / "state").stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)
