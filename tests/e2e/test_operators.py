"""What operators do to it, and machines: streams that are closed, logs that nobody can write."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.programs import ReservedPort
from tests.e2e.proxy_process import COMMAND, STARTING, Value, to_toml
from tests.e2e.waiting import PATIENCE, wait_until
from tests.e2e.wire import Wire

REQUEST = b"GET /%b HTTP/1.1\r\nHost: own.test\r\n\r\n"


@pytest.fixture
def config(pki: Pki) -> dict[str, Value]:
    chain, key = pki.issue("own.test")
    site: Value = {
        "names": ["own.test"],
        "certificate": {"chain": str(chain), "key": str(key)},
        "upstreams": ["127.0.0.1:9"],
    }
    return {"sites": [site]}


def through(script: str) -> tuple[str, ...]:
    """The command, started by a line of shell."""
    return "/bin/sh", "-c", f'{script} "$0" "$@"', *COMMAND


async def answers(port: int, count: int) -> None:
    async with await Wire.open(port) as wire:
        for _ in range(count):
            assert (await wire.ask(REQUEST % (b"x" * 1000))).status == 308


@pytest.mark.anyio
async def test_a_log_that_cannot_grow_holds_up_nobody(
    config: dict[str, Value], start_vestibule: StartVestibule
) -> None:
    """A file at its limit, as on a full disk: lines are lost, and nothing else."""
    most = 64 * 512
    command = through("ulimit -f 64; exec")
    proxy = start_vestibule(config, command=command).until_ready()
    await answers(proxy.http, 200)
    wait_until(lambda: len(proxy.log) == most, "the full log")
    await answers(proxy.http, 50)
    assert proxy.stop() == 0


def test_a_log_whose_reader_has_gone_holds_up_nobody(
    config: dict[str, Value], tmp_path: Path, ports: tuple[ReservedPort, ReservedPort]
) -> None:
    listen: Value = {"https": [str(ports[0])], "http": [str(ports[1])]}
    file = tmp_path / "vestibule.toml"
    file.write_text(to_toml({"workers": 1, "listen": listen, **config}), "utf-8")
    with subprocess.Popen(
        [*COMMAND, "run", "--config", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if b"Vestibule running on" in line:
                    break
            process.stdout.close()
            asyncio.run(answers(ports[1].number, 50))
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(
    config: dict[str, Value], start_vestibule: StartVestibule, closed: str
) -> None:
    """No socket takes their numbers, so no log line goes into a connection."""
    proxy = start_vestibule(config, command=through(f"exec {closed}; exec"))

    def is_served() -> bool:
        assert proxy.exit_code is None, proxy.told("it ended")
        try:
            with socket.create_connection(("127.0.0.1", proxy.http), PATIENCE) as sock:
                sock.sendall(REQUEST % b"")
                return sock.recv(1000).startswith(b"HTTP/1.1 308 ")
        except ConnectionRefusedError:
            return False

    wait_until(is_served, lambda: proxy.told("service"), STARTING)
    for pid in (proxy.pid, *proxy.children):
        for number in range(3):
            assert not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
    assert proxy.stop() == 0


@pytest.mark.anyio
async def test_nohup(config: dict[str, Value], start_vestibule: StartVestibule) -> None:
    proxy = start_vestibule(config, command=through("trap '' HUP; exec")).until_ready()
    for pid in (proxy.pid, *proxy.children):
        os.kill(pid, signal.SIGHUP)
    await answers(proxy.http, 10)
    assert proxy.exit_code is None
    assert proxy.stop() == 0
    assert proxy.log.count("Shutting down") == 1
