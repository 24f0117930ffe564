"""Hooks of a running Vestibule: told of everything, and unable to disturb it.

The certificates live for seconds, so that one is renewed while the test looks.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.certificates import ISSUING, acme, served, site, until_served
from tests.e2e.conftest import Ports, StartVestibule
from tests.e2e.proxy_process import Value
from tests.e2e.waiting import wait_until
from tests.pebble import PebbleFactory

pytestmark = [pytest.mark.pebble]

RECORD = """
file="$1/$VESTIBULE_EVENT $VESTIBULE_CERTIFICATE_ID $VESTIBULE_SERIAL"
env | grep ^VESTIBULE_ > "$file.part" && mv "$file.part" "$file.told"
"""
FUNCTIONS = """
async def trouble(event):
    raise RuntimeError(f"no pager for {event.names}")
"""


def shell(script: str, *arguments: str, **more: Value) -> dict[str, Value]:
    return {"command": ["sh", "-c", script, "sh", *arguments], **more}


def told(folder: Path, event: str, certificate_id: str) -> dict[str, str]:
    """What a command was given at the first such event; waits for it."""
    (file, *_) = wait_until(
        lambda: sorted(folder.glob(f"{event} {certificate_id} *.told")),
        lambda: f"{event} of {certificate_id}, but only {sorted(folder.iterdir())}",
        ISSUING,
    )
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_hooks_of_every_kind(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, tmp_path: Path
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number, validity_seconds=12)
    server.fail_dns("bad.example.com")
    (notes := tmp_path / "notes").mkdir()
    (tmp_path / "pagers.py").write_text(FUNCTIONS)
    # A start is refused with a program that there is not; this one is removed later.
    (gone := tmp_path / "gone").write_text("#!/bin/sh\n")
    gone.chmod(0o755)
    every: Value = ["issued", "renewed", "failed", "expiring"]
    hooks: list[Value] = [
        # In this order: what hangs, fails or raises comes before what is waited for.
        shell("sleep 1000", on=["issued"], timeout=0.5),
        shell("echo no such host >&2; exit 3", on=every),
        {"command": [str(gone)], "on": every},
        {"call": "pagers:trouble", "on": every},
        shell(RECORD, str(notes), on=every),
        shell('echo $$ > "$1/hanging"; exec sleep 1000', str(notes), on=["renewed"], timeout=900.0),
    ]
    settings: dict[str, Value] = {
        "acme": acme(server, hooks=hooks),
        "python_path": str(tmp_path),
        "sites": [site("a.example.com"), site("bad.example.com")],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    gone.unlink()
    first = until_served(proxy, "a.example.com")
    issued = told(notes, "issued", "a.example.com")
    assert issued["VESTIBULE_NAMES"] == "a.example.com"
    assert int(issued["VESTIBULE_SERIAL"], 16) == first.serial_number
    chain = x509.load_pem_x509_certificate(Path(issued["VESTIBULE_CHAIN"]).read_bytes())
    assert chain == first
    assert Path(issued["VESTIBULE_KEY"]).is_file()
    failed = told(notes, "failed", "bad.example.com")
    assert failed["VESTIBULE_MESSAGE"]
    assert failed["VESTIBULE_RETRY_AT"]
    assert "VESTIBULE_CHAIN" not in failed
    renewed = told(notes, "renewed", "a.example.com")
    assert renewed["VESTIBULE_SERIAL"] != issued["VESTIBULE_SERIAL"]
    # The service goes on while one hangs: the next certificate comes, is announced and served.
    hanging = int(
        wait_until(
            lambda: (notes / "hanging").is_file() and (notes / "hanging").read_text(), "a pid"
        )
    )
    wait_until(
        lambda: len(list(notes.glob("renewed a.example.com *.told"))) > 1,
        lambda: proxy.told("a renewal beside a hook that hangs"),
        ISSUING,
    )
    assert served(proxy.https, "a.example.com") not in (None, first)
    assert os.path.exists(f"/proc/{hanging}")
    for line in (
        r"hook sh -c sleep 1000 sh did not end within 0\.5 s and was stopped",
        r"hook sh ended with status 3: no such host",
        r"hook .*gone failed at event renewed",
        r"no pager for \('a\.example\.com',\)",
    ):
        proxy.wait_for(line)
    # Nor do they hold up its end, or outlive it.
    assert proxy.stop() == 0, proxy.told("an unclean end")
    wait_until(lambda: not os.path.exists(f"/proc/{hanging}"), "the end of the hook that hangs")
