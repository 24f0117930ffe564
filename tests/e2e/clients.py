"""Real clients, told that every site is on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.fronts import Front
from tests.e2e.pki import client_context
from tests.e2e.waiting import PATIENCE


def http_client(front: Front, *, http2: bool = False, **options: Any) -> httpx.Client:
    """httpx for the sites of a front."""
    transport = LocalTransport(front.pki.root_file, http2=http2)
    return httpx.Client(transport=transport, timeout=PATIENCE, trust_env=False, **options)


class LocalTransport(httpx.BaseTransport):
    """Connects to this machine whatever the URL's host is; SNI and Host are the URL's."""

    def __init__(self, root: Path, *, http2: bool = False) -> None:
        self._inner = httpx.HTTPTransport(verify=client_context(root), http1=not http2, http2=http2)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1"),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.host},
            )
        )

    def close(self) -> None:
        self._inner.close()


def curl(
    front: Front, *arguments: str, body: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """curl, which resolves every name to this machine and trusts the tests' CA."""
    command = [
        *("curl", "--silent", "--show-error", "--cacert", str(front.pki.root_file)),
        *("--connect-to", "::127.0.0.1:", "--noproxy", "*", "--max-time", "60"),
        *arguments,
    ]
    return subprocess.run(command, input=body or b"", capture_output=True, timeout=90, check=False)


def s_client(port: int, *arguments: str, send: bytes = b"") -> str:
    """``openssl s_client``; what it printed on both streams. It ends with its input."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments]
    done = subprocess.run(
        command,
        input=send,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")
