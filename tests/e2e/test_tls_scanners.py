"""What TLS scanners say: sslscan always; testssl.sh, which takes a minute, with ``TESTSSL=1``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.proxy_process import Vestibule

AEAD_WITH_ECDHE = re.compile(
    r"TLS_(AES_(128_GCM_SHA256|256_GCM_SHA384)|CHACHA20_POLY1305_SHA256)"
    r"|ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305)"
)

FINE = {"OK", "INFO"}

OF_THIS_MACHINE = ("engine_problem", "RC4")
"""What testssl.sh cannot try with the openssl that it finds here."""


@pytest.fixture
def proxy(start_vestibule: StartVestibule, pki: Pki) -> Vestibule:
    chain, key = pki.issue("localhost")
    return start_vestibule(
        {
            "default_site": "localhost",
            "sites": [
                {
                    "names": ["localhost"],
                    "certificate": {"chain": str(chain), "key": str(key)},
                    "upstreams": ["127.0.0.1:1"],
                }
            ],
        }
    ).until_ready()


@pytest.mark.skipif(shutil.which("sslscan") is None, reason="needs sslscan")
def test_sslscan(proxy: Vestibule) -> None:
    command = ["sslscan", "--no-colour", "--sni-name=localhost", f"127.0.0.1:{proxy.https}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    shown = done.stdout
    states = dict(re.findall(r"^((?:SSL|TLS)v[0-9.]+)\s+(enabled|disabled)$", shown, re.MULTILINE))
    assert states.pop("TLSv1.2") == states.pop("TLSv1.3") == "enabled", shown
    assert len(states) == 4, shown
    assert set(states.values()) == {"disabled"}, shown
    suites = re.findall(r"^(?:Preferred|Accepted)\s+\S+\s+\d+ bits\s+(\S+)", shown, re.MULTILINE)
    assert len(suites) >= 6, shown
    assert [suite for suite in suites if not AEAD_WITH_ECDHE.fullmatch(suite)] == [], shown
    assert "Session renegotiation not supported" in shown
    groups = re.findall(r"^TLSv1\.[23]\s+\d+ bits\s+(.+)$", shown, re.MULTILINE)
    assert any("x25519" in group for group in groups), shown
    assert [group for group in groups if "ffdhe" in group] == [], shown
    assert re.search(r"vulnerable to heartbleed", shown), shown
    assert not re.search(r"(?<!not )vulnerable to heartbleed", shown), shown


@pytest.mark.skipif(not os.environ.get("TESTSSL"), reason="takes a minute: set TESTSSL=1")
@pytest.mark.skipif(shutil.which("testssl") is None, reason="needs testssl.sh")
@pytest.mark.timeout(300)
def test_testssl(proxy: Vestibule, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        *("testssl", "--quiet", "--color", "0", "--fast", "--warnings", "off"),
        *("--openssl-timeout", "5", "-p", "-s", "-f", "-U", "--jsonfile", str(report)),
        f"localhost:{proxy.https}",
    ]
    subprocess.run(command, capture_output=True, timeout=280, check=False)
    findings = json.loads(report.read_text("utf-8"))
    assert len(findings) > 20
    wrong = {
        found["id"]: found["finding"]
        for found in findings
        if found["severity"] not in FINE and found["id"] not in OF_THIS_MACHINE
    }
    assert wrong == {}
