"""The manager's process, with the internal CA."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acme_client import CertificateManager, InternalIssuer, open_store
from proxy.certificate_requests import certificate_request
from proxy.certificate_settings import root_file
from proxy.certificates import _run
from proxy.changes import note_change
from proxy.channel import ChannelEnd, Notice, make_channel
from proxy.config.model import Config


def config(folder: Path, *names: str, **more: object) -> Config:
    return Config.model_validate(
        {
            "storage": f"file:{folder}",
            "acme": {"directory": "internal"},
            "sites": [
                {"names": list(names), "upstreams": ["h:1"]},
                *([{"on_demand": True, "upstreams": ["h:1"]}] if "on_demand" in more else []),
            ],
            **more,
        }
    )


class Parent:
    """The other end of the channel."""

    def __init__(self, end: ChannelEnd) -> None:
        self.end = end
        self._received: asyncio.Queue[Notice] = asyncio.Queue()
        end.attach(asyncio.get_running_loop(), self._received.put_nowait, lambda: None)

    async def until(self, last: str) -> list[Notice]:
        notices = [await self._received.get()]
        while notices[-1].kind != last:
            notices.append(await self._received.get())
        return notices


async def notices_until_ready(end: ChannelEnd) -> list[Notice]:
    parent = Parent(end)
    notices = await parent.until("ready")
    end.detach()
    return notices


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


VOUCHER = """
async def ask(name):
    return name.endswith(".ours.example")
"""


@pytest.mark.anyio
async def test_names_on_demand(tmp_path: Path) -> None:
    (tmp_path / "voucher.py").write_text(VOUCHER)
    settings = config(
        tmp_path / "state",
        "localhost",
        on_demand={"ask": "voucher:ask", "names_per_hour": 2},
        python_path=str(tmp_path),
    )
    ours, theirs = make_channel()
    manager = asyncio.create_task(_run(settings, theirs))
    parent = Parent(ours)
    await parent.until("ready")
    ours.send(Notice("wanted", "a.ours.example"))
    assert (await parent.until("installed"))[-1].name == "a.ours.example"
    ours.send(Notice("wanted", "a.theirs.example"))
    assert (await parent.until("refused"))[-1].name == "a.theirs.example"
    stored = open_store(settings.storage).load_certificate("a.ours.example")
    assert stored is not None
    assert stored.names == ("a.ours.example",)
    assert open_store(settings.storage).load_certificate("a.theirs.example") is None
    ours.close()
    await manager
    theirs.close()


@pytest.mark.anyio
async def test_what_a_command_changed_is_told(tmp_path: Path) -> None:
    settings = config(tmp_path, "localhost")
    ours, theirs = make_channel()
    manager = asyncio.create_task(_run(settings, theirs))
    parent = Parent(ours)
    await parent.until("ready")
    store = open_store(settings.storage)
    request = certificate_request(settings, settings.sites[0])
    by_hand = CertificateManager(requests=[request], issuers=[InternalIssuer()], store=store)
    await by_hand.obtain("localhost", force=True)
    note_change(store, "localhost", datetime.now(UTC))
    assert await parent.until("installed") == [Notice("installed", "localhost")]
    assert not store.document_names("changes")
    ours.close()
    await manager
    theirs.close()
