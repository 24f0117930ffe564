"""A connection that proves a name to a CA (TLS-ALPN-01) is good for nothing else.

Anybody may open one while a challenge is pending: it asks for no client certificate and belongs to
no site. So no request may pass through it, to whichever site.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from acme_client.challenges.tls_alpn import challenge_pem
from acme_client.store.files import FileStore
from tests.e2e.backends import recording
from tests.e2e.conftest import StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.programs import ReservedPort
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.wire import Wire

pytestmark = pytest.mark.anyio

REQUEST = b"GET /secret HTTP/1.1\r\nHost: %b\r\n\r\n"


@pytest.fixture
def backend() -> Iterator[ReservedPort]:
    port = ReservedPort()
    yield port
    port.close()


@pytest.fixture
def pending(
    start_vestibule: StartVestibule, pki: Pki, backend: ReservedPort, tmp_path: Path
) -> Vestibule:
    """A proxy with a challenge pending for new.test, beside an open and a guarded site."""

    def site(name: str, **more: Value) -> Value:
        chain, key = pki.issue(name)
        certificate: Value = {"chain": str(chain), "key": str(key)}
        upstreams: Value = [str(backend)]
        return {"names": [name], "certificate": certificate, "upstreams": upstreams, **more}

    ca = tmp_path / "members.pem"
    ca.write_bytes(pki.issue("members.test")[0].read_bytes())
    sites: list[Value] = [
        site("open.test"),
        site("guarded.test", client_certificates={"ca": str(ca)}),
        {"names": ["new.test"], "upstreams": [str(backend)]},
    ]
    # The CA is away for good; what its challenge needs is in the store all the same.
    acme: Value = {"directory": "https://127.0.0.1:9/directory", "email": "a@new.test"}
    proxy = start_vestibule({"sites": sites, "acme": acme}).until_ready()
    now = datetime.now(UTC)
    pem = challenge_pem("new.test", "token.thumbprint", now)
    FileStore(proxy.state).put_challenge("tls-alpn-01", "new.test", pem, now + timedelta(hours=1))
    return proxy


@pytest.mark.parametrize("host", [b"open.test", b"guarded.test", b"new.test"])
async def test_no_request_passes_through_it(
    pending: Vestibule, backend: ReservedPort, host: bytes
) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    async with recording(backend.number) as recorded:
        async with await Wire.open(pending.https, context, "new.test") as wire:
            assert wire.alpn == "acme-tls/1"
            await wire.send(REQUEST % host)
            # RFC 8737 §3: once the handshake is over, no data is exchanged.
            assert await wire.read_to_end() == b""
    assert recorded.records == []
