"""The command line, as its user types it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from proxy import __version__
from tests.e2e.conftest import StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.programs import Program, ReservedPort
from tests.e2e.proxy_process import COMMAND, SCRIPT, Value, to_toml

APP = """\
from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/")
def root(request: Request) -> dict[str, str]:
    return {"url": str(request.url), "client": request.client.host, "said": "first"}
"""


def run_script(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(folder: Path, *arguments: str, **environ: str) -> Iterator[tuple[Program, int, int]]:
    """A command that serves, on ports of the test's; the program and both ports."""
    with ExitStack() as stack:
        https, http = ReservedPort(), ReservedPort()
        for port in (https, http):
            stack.callback(port.close)
        log = folder / "program.log"
        command = [SCRIPT, *arguments, "--port", str(https.number)]
        program = stack.enter_context(
            Program(
                [*command, "--http-port", str(http.number)], log, folder=folder, environ=environ
            )
        )
        program.wait_for("Vestibule running on")
        yield program, https.number, http.number


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as a FastAPI user has it."""
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def shell(line: str) -> str:
    """What the log says to try, as printed, but for a proxy of this machine."""
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_version_and_help(tmp_path: Path) -> None:
    version = run_script("--version", folder=tmp_path).stdout
    assert re.fullmatch(rf"vestibule {__version__} \((not )?compiled\)\n", version)
    for arguments in (("-h",), ("--help",), ("run", "-h"), ("dev", "-h"), ("certs", "-h")):
        done = run_script(*arguments, folder=tmp_path)
        assert done.returncode == 0
        assert "Usage:" in done.stdout
    module = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert module.stdout == version


def test_dev_serves_the_app_of_the_folder(project: Path) -> None:
    """https://localhost, on a CA of the user's own, with the line to try it that is printed."""
    data = project / "data"
    with running(project, "dev", XDG_DATA_HOME=str(data)) as (program, https, http):
        assert f"https://localhost:{https}" in program.log
        tried = program.wait_for(r"Try: (curl --cacert \S+ https://localhost:\d+/)").group(1)
        assert str(data) in tried
        answer = shell(f"{tried} --silent --show-error")
        assert f'"url":"https://localhost:{https}/"' in answer
        assert '"client":"127.0.0.1"' in answer or '"client":"::1"' in answer
        redirect = shell(f"curl -s -o /dev/null -w '%{{redirect_url}}' http://localhost:{http}/x?y")
        assert redirect == f"https://localhost:{https}/x?y"
        # It reloads what is changed.
        (project / "main.py").write_text(APP.replace("first", "second"))
        program.wait_for("Reloading|Detected")
        for _ in range(200):
            if '"said":"second"' in shell(f"{tried} --silent --show-error"):
                break
        else:
            pytest.fail(program.told("the changed app never answered"))
        assert program.stop() == 0
        assert "Traceback" not in program.log


def test_run_an_app_by_name(project: Path) -> None:
    """A whole deployment in one line; here with the CA inside."""
    environ = {"VESTIBULE_ACME__DIRECTORY": "internal"}
    arguments = ("run", "main:app", "--name", "api.example.com", "--host", "127.0.0.1")
    with running(project, *arguments, **environ) as (program, https, _):
        ca = project / "state" / "internal-ca.pem"
        answer = shell(
            f"curl -sS --cacert {ca} --connect-to ::127.0.0.1:{https} https://api.example.com/"
        )
        assert '"url":"https://api.example.com/"' in answer
        listed = run_script(
            "certs", "list", folder=project, VESTIBULE_STORAGE=f"file:{project / 'state'}"
        )
        row = r"^api\.example\.com +api\.example\.com +p256 +valid +\d{4}-\d\d-\d\d"
        assert re.search(row, listed.stdout, re.MULTILINE)
        assert program.stop() == 0


def test_a_crashing_app_does_not_take_the_proxy_with_it(project: Path) -> None:
    """502 while it is away; it is started again."""
    (project / "main.py").write_text(
        APP + "\n\n@app.get('/die')\ndef die() -> None:\n    import os\n\n    os._exit(1)\n"
    )
    environ = {"VESTIBULE_ACME__DIRECTORY": "internal"}
    arguments = ("run", "main:app", "--name", "api.example.com", "--host", "127.0.0.1")
    with running(project, *arguments, **environ) as (program, https, _):
        ca = project / "state" / "internal-ca.pem"
        curl = (
            "curl -sS -o /dev/null -w '%{http_code}' --retry 0 "
            f"--cacert {ca} --connect-to ::127.0.0.1:{https} https://api.example.com"
        )
        assert shell(f"{curl}/") == "200"
        assert shell(f"{curl}/die") == "502"
        program.wait_for("app main:app .*another is started")
        statuses = set()
        for _ in range(500):
            statuses.add(status := shell(f"{curl}/"))
            if status == "200":
                break
        assert "200" in statuses
        assert statuses <= {"200", "502"}


def test_check_says_what_would_be_served(project: Path, pki: Pki) -> None:
    chain, key = pki.issue("own.test")
    certificate: Value = {"chain": str(chain), "key": str(key)}
    tree: dict[str, Value] = {
        "sites": [
            {
                "names": ["own.test", "other.test"],
                "certificate": certificate,
                "upstreams": ["127.0.0.1:8000"],
            },
            {"names": ["api.example.com"], "app": "main:app"},
        ]
    }
    (project / "vestibule.toml").write_text(to_toml(tree))
    done = run_script("check", folder=project)
    assert done.returncode == 0, done.stderr
    assert "vestibule.toml is right" in done.stdout
    assert "/ -> 127.0.0.1:8000" in done.stdout
    assert "the certificate does not cover other.test" in done.stdout
    assert "certificate from letsencrypt" in done.stdout
    assert not (project / "state").exists()
    key.unlink()
    done = run_script("check", folder=project)
    assert done.returncode == 3
    assert str(key) in done.stderr
    assert "Traceback" not in done.stderr


def test_certs_list_without_certificates(tmp_path: Path) -> None:
    done = run_script("certs", "list", folder=tmp_path)
    assert done.returncode == 0
    assert "no certificates" in done.stdout


def test_a_local_ca_and_own_files_side_by_side(
    start_vestibule: StartVestibule, pki: Pki, tmp_path: Path
) -> None:
    """Each site's certificate is its own; the list shows both, beside the running server."""
    chain, key = pki.issue("own.test")
    certificate: Value = {"chain": str(chain), "key": str(key)}
    upstreams = ["127.0.0.1:1"]
    proxy = start_vestibule(
        {
            "acme": {"directory": "internal"},
            "sites": [
                {"names": ["own.test"], "certificate": certificate, "upstreams": upstreams},
                {"names": ["local.test", "10.1.2.3"], "upstreams": upstreams},
            ],
        }
    ).until_ready()
    for name, ca in (("own.test", pki.root_file), ("local.test", proxy.state / "internal-ca.pem")):
        status = shell(
            f"curl -sS -o /dev/null -w '%{{http_code}}' --cacert {ca} "
            f"--connect-to ::127.0.0.1: https://{name}:{proxy.https}/"
        )
        assert status == "502"
    listed = run_script("certs", "list", "--config", str(proxy.config_file), folder=tmp_path)
    rows = listed.stdout.splitlines()
    assert rows[0].split() == ["ID", "NAMES", "KEY", "STATE", "UNTIL", "FROM"]
    assert any(
        re.match(rf"- +own\.test +- +valid .* {re.escape(str(chain))}$", row) for row in rows
    )
    assert any(
        re.match(r"local\.test +local\.test 10\.1\.2\.3 +p256 +valid .* internal$", row)
        for row in rows
    )
    # Keys are for their owner alone.
    keys = list(proxy.state.rglob("key.pem"))
    assert keys
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
