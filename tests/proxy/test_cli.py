"""The command as users call it: what it prints, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from typer.testing import CliRunner, Result

from proxy import __version__
from proxy.cli import app

COMMAND = [sys.executable, "-m", "proxy"]

LOCAL = [
    "--host", "127.0.0.1", "--port", "0", "--http-port", "0",
    "--name", "localhost", "--workers", "1",
]  # fmt: skip


def clean_environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VESTIBULE_")}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200", **more}


def vestibule(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=clean_environ(PYTHONPATH=os.getcwd(), **environ),
        capture_output=True,
        text=True,
        check=False,
    )


class Called(Protocol):
    def __call__(self, *arguments: str, **environ: str) -> Result: ...


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Called:
    """The command in this process: for those that neither serve nor fork."""

    def invoke(*arguments: str, **environ: str) -> Result:
        for name in set(os.environ) - set(clean_environ()):
            monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(app, arguments, env=clean_environ(**environ))

    return invoke


class Running:
    """A server in the foreground, as a terminal would show it."""

    def __init__(self, *arguments: str, cwd: Path, **environ: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=cwd,
            env=clean_environ(PYTHONPATH=os.getcwd(), **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def wait_for(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return line.rstrip()
        raise AssertionError(f"no {text!r} in {self.lines}")

    def end(self) -> int:
        assert self.process.stdout is not None
        self.lines += [line.rstrip() for line in self.process.stdout]
        self.process.stdout.close()
        return self.process.wait()


class Starter:
    def __init__(self) -> None:
        self.started: list[Running] = []

    def __call__(self, *arguments: str, cwd: Path, **environ: str) -> Running:
        running = Running(*arguments, cwd=cwd, **environ)
        self.started.append(running)
        return running


@pytest.fixture
def start() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    for running in starter.started:
        if running.process.returncode is None:
            running.process.kill()
            running.end()


def port_of(announcement: str) -> int:
    return int(announcement.split("https://localhost:")[1].split()[0])


def test_version_and_help(call: Called, tmp_path: Path) -> None:
    version = vestibule("--version", cwd=tmp_path).stdout
    assert version == f"vestibule {__version__} (not compiled)\n"
    commands = (["run"], ["dev"], ["check"], ["certs"], ["certs", "list"], ["account", "list"])
    for arguments in ([], *commands):
        done = call(*arguments, "-h")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "Usage:" in done.stdout


def test_help_loads_little(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom proxy.cli import app\n"
        "try: app(['run', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'asyncio', 'acme', 'cryptography', 'uvloop', 'acme_client'}\n"
        "print('loaded', *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("loaded\n"), done.stdout[-200:]


def test_wrong_usage(call: Called, tmp_path: Path) -> None:
    done = call("run", "--nonsense")
    assert done.exit_code == 2
    assert "--nonsense" in done.stderr


@pytest.mark.parametrize("command", [["run"], ["check"], ["dev"], ["certs", "list"]])
def test_every_fault_of_a_configuration_is_listed(
    call: Called, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "vestibule.toml").write_text(
        'wrokers = 2\n[log]\nlevel = "loud"\n[[sites]]\nnames = ["a.example"]\nupstreams = ["h"]\n'
    )
    done = call(*command, VESTIBULE_WROKERS="1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"ERROR:    The configuration {tmp_path}/vestibule.toml is wrong",
        "• VESTIBULE_WROKERS: unknown variable; did you mean 'VESTIBULE_WORKERS'?",
        "• log.level: 'loud' is not allowed; allowed are "
        "'critical', 'error', 'warning', 'info' or 'debug'",
        "• sites[0].upstreams[0]: 'h' is no address; write host:port, [v6]:port, "
        "h2c://host:port or unix:/path",
        "• wrokers: unknown key; did you mean 'workers'?",
    ]


def test_nothing_to_serve(call: Called, tmp_path: Path) -> None:
    done = call("run", "main:app")
    assert done.exit_code == 2
    assert "• --name: is missing; say under which domain to serve" in done.stderr


def test_a_configuration_that_is_right(call: Called, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[[sites]]\nnames = ["a.example"]\nupstreams = ["h:1"]\n')
    done = call("check", "--config", "a.toml")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/a.toml is right.\n")
    done = call("certs", "list", "--config", "a.toml")
    row = ["a.example", "a.example", "p256", "missing", "-", "-"]
    assert done.stdout.splitlines()[1].split() == row


def test_certificates_without_a_configuration(call: Called, tmp_path: Path) -> None:
    done = call("certs", "list")
    assert (done.exit_code, done.stdout) == (0, f"no certificates in file:{tmp_path}/state\n")
    done = call("certs", "list", VESTIBULE_STORAGE="file:x")
    assert done.stdout == f"no certificates in file:{tmp_path}/x\n"


def test_an_env_file(call: Called, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VESTIBULE_STORAGE=file:elsewhere\n")
    expected = f"no certificates in file:{tmp_path}/elsewhere\n"
    assert call("certs", "list", "--env-file", ".env").stdout == expected
    done = call("certs", "list", VESTIBULE_ENV_FILE=".env")
    assert done.stdout == expected
    done = call("certs", "list", "--env-file", "none")
    assert done.exit_code == 2
    assert "• cannot be read: No such file or directory\n" in done.stderr


def test_a_busy_port_is_one_line_with_its_holder(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        done = vestibule(
            "run", "--to", "127.0.0.1:1", *LOCAL, "--port", port,
            cwd=tmp_path, VESTIBULE_ACME__DIRECTORY="internal",
        )  # fmt: skip
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ERROR:    Port {port} is in use by ")
    assert f"(PID {os.getpid()})" in line


def test_an_unreadable_key_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vestibule.toml").write_text(
        '[[sites]]\nnames = ["localhost"]\nupstreams = ["127.0.0.1:1"]\n'
        'certificate = { chain = "none.crt", key = "none.key" }\n'
    )
    for command in (["run", *LOCAL], ["check"]):
        done = vestibule(*command, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == (
            f"ERROR:    localhost: the certificate chain {tmp_path}/none.crt cannot be read: "
            f"No such file or directory (the configuration is {tmp_path}/vestibule.toml)\n"
        )


@pytest.mark.parametrize("command", [["run"], ["check"], ["certs", "issue"]])
def test_a_fault_found_late_names_its_file(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "vestibule.toml").write_text(
        'workers = 1\n[listen]\nhttps = ["127.0.0.1:0"]\nhttp = []\n'
        '[acme]\ndirectory = "zerossl"\n'
        'eab = { key_id = "kid", hmac_key = "env:NO_SUCH_KEY" }\n'
        '[[sites]]\nnames = ["a.example.com"]\nupstreams = ["127.0.0.1:1"]\n'
    )
    done = vestibule(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/vestibule.toml" in done.stderr
    assert "acme.eab: " in done.stderr


def test_serving_until_sigterm(tmp_path: Path, start: Starter) -> None:
    running = start(
        "run", "--to", "127.0.0.1:1", *LOCAL, cwd=tmp_path, VESTIBULE_ACME__DIRECTORY="internal"
    )
    port = port_of(running.wait_for("Vestibule running on https://localhost:"))
    trusted = running.wait_for("local CA: ").split("local CA: ")[1]
    assert trusted == f"{tmp_path}/state/internal-ca.pem"
    assert running.wait_for("Try: ").endswith(f"curl --cacert {trusted} https://localhost:{port}/")
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() == "TLSv1.3"
    done = vestibule("certs", "list", cwd=tmp_path)
    assert done.stdout.splitlines()[1].split()[1:4] == ["localhost", "p256", "valid"]
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 0
    assert "Traceback" not in "\n".join(running.lines)


def test_ctrl_c_reaches_all_and_ends_well(tmp_path: Path, start: Starter) -> None:
    (tmp_path / "main.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'lifespan'\n"
        "    while True:\n"
        "        message = await receive()\n"
        "        await send({'type': message['type'] + '.complete'})\n"
        "        if message['type'] == 'lifespan.shutdown':\n"
        "            return\n"
    )
    running = start("run", "main:app", *LOCAL, cwd=tmp_path, VESTIBULE_ACME__DIRECTORY="internal")
    wanted = {"Vestibule running on", "Uvicorn running on unix socket"}
    while wanted:
        line = running.wait_for("running on")
        wanted = {text for text in wanted if text not in line}
    # As a terminal does: the signal goes to the whole foreground group.
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end() == 0
    text = "\n".join(running.lines)
    assert text.count("Shutting down; press CTRL+C again to force") == 1
    assert "Application shutdown complete" in text
    assert "Traceback" not in text


def test_a_dead_worker_is_replaced(tmp_path: Path, start: Starter) -> None:
    running = start(
        "run", "--to", "127.0.0.1:1", *LOCAL, "-v",
        cwd=tmp_path, VESTIBULE_ACME__DIRECTORY="internal",
    )  # fmt: skip
    running.wait_for("Vestibule running on")
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    worker = int(children.read_text().split()[0])
    os.kill(worker, signal.SIGKILL)
    assert f"[{worker}] was ended by SIGKILL" in running.wait_for("another is started at once")
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 0


def test_work_on_certificates_by_hand(tmp_path: Path) -> None:
    (tmp_path / "vestibule.toml").write_text(
        '[acme]\ndirectory = "internal"\n[[sites]]\nnames = ["a.localhost"]\nupstreams = ["h:1"]\n'
    )
    done = vestibule("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no problems found" in done.stdout
    done = vestibule("certs", "explain", "a.localhost", cwd=tmp_path)
    assert (done.returncode, "there is no certificate yet" in done.stdout) == (1, True)
    done = vestibule("certs", "issue", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a.localhost: valid until " in done.stdout
    done = vestibule("certs", "renew", "--force", cwd=tmp_path)
    assert (done.returncode, "--force needs names" in done.stderr) == (2, True)
    done = vestibule("certs", "renew", cwd=tmp_path)
    assert (done.returncode, "not due until" in done.stdout) == (0, True)
    done = vestibule("certs", "revoke", "b.localhost", cwd=tmp_path)
    assert (done.returncode, "there are a.localhost" in done.stderr) == (2, True)
