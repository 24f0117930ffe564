"""A real browser over HTTP/2: headless Chromium opens FastAPI's page of the API's documentation.

The page's script comes from a CDN, which no test reaches; so ``/openapi.json`` is opened by itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.fronts import Front
from tests.e2e.programs import Program
from tests.e2e.wire import Wire

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
    ),
]


async def key_hash(front: Front, name: str) -> str:
    """What Chromium is told to trust: the hash of the key of a site's certificate."""
    async with await Wire.open(front.port, front.pki.client_context(), name) as wire:
        certificate = x509.load_der_x509_certificate(wire.certificate)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def browse(front: Front, folder: Path, trusted: str, path: str) -> tuple[str, list[dict[str, Any]]]:
    """Open a page of app.test; the document as the browser sees it, and its network log."""
    assert CHROMIUM is not None
    log_file = folder / "net.json"
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"),
            f"--user-data-dir={folder / 'profile'}",
            f"--ignore-certificate-errors-spki-list={trusted}",
            # Nothing but the proxy is to be found, so nobody else is asked.
            "--host-resolver-rules=MAP app.test 127.0.0.1, MAP * ~NOTFOUND",
            f"--log-net-log={log_file}",
            *("--virtual-time-budget=2000", "--dump-dom"),
            front.url("app.test", path),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = json.loads(log_file.read_text(encoding="utf-8"))
    names = {number: name for name, number in log["constants"]["logEventTypes"].items()}
    return done.stdout, [{**event, "name": names[event["type"]]} for event in log["events"]]


def http2_requests(events: list[dict[str, Any]]) -> list[str]:
    """The paths that were asked for in HTTP/2."""
    return [
        field.removeprefix(":path: ")
        for event in events
        if event["name"] == "HTTP2_SESSION_SEND_HEADERS"
        for field in event["params"]["headers"]
        if field.startswith(":path: ")
    ]


async def test_the_documentation_page_loads_over_http_2(
    app_front: Front, tmp_path: Path, log_on_failure: list[Program]
) -> None:
    trusted = await key_hash(app_front, "app.test")
    page, events = browse(app_front, tmp_path / "docs", trusted, "/docs")
    assert "<title>Behind the proxy - Swagger UI</title>" in page
    assert "/openapi.json" in page
    assert "/docs" in http2_requests(events)
    agreed = [
        event["params"]["next_proto"]
        for event in events
        if event["name"] == "SSL_CONNECT" and "next_proto" in event.get("params", {})
    ]
    assert set(agreed) == {"h2"}
    assert not [event for event in events if event["name"] == "HTTP2_SESSION_RECV_GOAWAY"]

    page, events = browse(app_front, tmp_path / "json", trusted, "/openapi.json")
    assert "Behind the proxy" in page
    assert "/openapi.json" in http2_requests(events)
