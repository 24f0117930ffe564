"""The manager's process, with the internal CA."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import trustme

from acme_client import open_store
from proxy.certificates import (
    _run,
    certificate_requests,
    make_issuers,
    root_file,
    try_ca_certificates,
)
from proxy.channel import ChannelEnd, Notice, make_channel
from proxy.config.model import Config
from proxy.errors import ConfigError, StartupError


def config(folder: Path, *names: str) -> Config:
    return Config.model_validate(
        {
            "storage": f"file:{folder}",
            "acme": {"directory": "internal"},
            "sites": [{"names": list(names), "upstreams": ["h:1"]}],
        }
    )


async def notices_until_ready(end: ChannelEnd) -> list[Notice]:
    received: asyncio.Queue[Notice] = asyncio.Queue()
    end.attach(asyncio.get_running_loop(), received.put_nowait, lambda: None)
    notices = [await received.get()]
    while notices[-1].kind != "ready":
        notices.append(await received.get())
    end.detach()
    return notices


def test_a_request_for_each_site_without_its_own_certificate() -> None:
    site = {"upstreams": ["h:1"]}
    found = certificate_requests(
        Config.model_validate(
            {
                "sites": [
                    {**site, "names": ["a.example", "b.example"]},
                    {**site, "names": ["c.example"], "certificate": {"chain": "c", "key": "k"}},
                ]
            }
        )
    )
    assert [request.names for request in found] == [("a.example", "b.example")]
    assert found[0].challenges == ("http-01", "tls-alpn-01")


def test_more_names_than_a_certificate_holds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="101 names"):
        certificate_requests(config(tmp_path, *(f"n{number}.example" for number in range(101))))


def test_which_ca_is_asked(tmp_path: Path) -> None:
    site = {"names": ["a.example"], "upstreams": ["h:1"]}
    acme = {"directory": "https://ca.example:14000/dir", "email": "a@b.example"}
    (issuer,) = make_issuers(Config.model_validate({"acme": acme, "sites": [site]}))
    assert issuer.directory == "https://ca.example:14000/dir"
    (issuer,) = make_issuers(config(tmp_path, "localhost"))
    assert issuer.name == "internal"


def test_trust_for_the_ca_is_tried(tmp_path: Path) -> None:
    site = {"names": ["a.example"], "upstreams": ["h:1"]}
    path = tmp_path / "ca.pem"
    settings = Config.model_validate({"acme": {"ca_certificates": str(path)}, "sites": [site]})
    with pytest.raises(StartupError, match=r"acme.ca_certificates: .*ca.pem cannot be read"):
        try_ca_certificates(settings)
    path.write_text("no certificate")
    with pytest.raises(StartupError, match="holds no certificate"):
        try_ca_certificates(settings)
    trustme.CA().cert_pem.write_to_path(path)
    try_ca_certificates(settings)
    try_ca_certificates(config(tmp_path, "localhost"))


@pytest.mark.anyio
@pytest.mark.parametrize("end_by", ["SIGTERM", "the parent's end"])
async def test_certificates_are_there_before_it_is_ready(tmp_path: Path, end_by: str) -> None:
    ours, theirs = make_channel()
    settings = config(tmp_path, "localhost", "127.0.0.1")
    manager = asyncio.create_task(_run(settings, theirs))
    assert await notices_until_ready(ours) == [Notice("installed", "localhost"), Notice("ready")]
    stored = open_store(settings.storage).load_certificate("localhost")
    assert stored is not None
    assert set(stored.names) == {"localhost", "127.0.0.1"}
    assert "BEGIN CERTIFICATE" in root_file(settings).read_text()
    if end_by == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        ours.close()
    await manager
    ours.close()
    theirs.close()


@pytest.mark.anyio
async def test_a_store_that_fails_does_not_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "documents").write_text("a file where a folder should be")
    ours, theirs = make_channel()
    manager = asyncio.create_task(_run(config(tmp_path, "localhost"), theirs))
    assert await notices_until_ready(ours) == [Notice("ready")]
    assert "internal-ca" in caplog.text
    ours.close()
    await manager
    theirs.close()
