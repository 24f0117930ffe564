"""Hooks: told what happened, limited, never harmful."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from acme_client.errors import RequestError
from acme_client.hooks import CertificateEvent, Hook, run_hooks
from acme_client.store.files import FileStore
from tests.acme_client.support import START, make_new

pytestmark = pytest.mark.anyio


@pytest.fixture
def event(tmp_path: Path) -> CertificateEvent:
    store = FileStore(tmp_path / "state", lambda: START)
    stored = store.save_certificate("a.example", make_new(["a.example", "b.example"]))
    return CertificateEvent(
        kind="renewed",
        certificate_id="a.example",
        names=("a.example", "b.example"),
        message="from scripted",
        certificate=stored,
        retry_at=START,
    )


async def test_a_command_is_told_in_its_environment(
    event: CertificateEvent, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    script = f'env | grep ^VESTIBULE_ | sort > "{output}"; test -r "$VESTIBULE_KEY"'
    await run_hooks((Hook(run=("sh", "-ec", script)),), event)
    told = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert event.certificate is not None
    assert told["VESTIBULE_EVENT"] == "renewed"
    assert told["VESTIBULE_CERTIFICATE_ID"] == "a.example"
    assert told["VESTIBULE_NAMES"] == "a.example b.example"
    assert told["VESTIBULE_CHAIN"] == str(event.certificate.location) + "/chain.pem"
    assert told["VESTIBULE_SERIAL"] == event.certificate.serial
    assert told["VESTIBULE_RETRY_AT"] == START.isoformat()
    assert not any("PRIVATE" in value for value in told.values())


async def test_functions_sync_and_async(event: CertificateEvent) -> None:
    seen: list[str] = []

    def plain(event: CertificateEvent) -> None:
        seen.append(f"plain {event.kind}")

    async def later(event: CertificateEvent) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(f"async {event.kind}")

    def returns_awaitable(event: CertificateEvent) -> Any:
        return later(event)

    hooks = tuple(Hook(run=function) for function in (plain, later, returns_awaitable))
    await run_hooks(hooks, event)
    assert seen == ["plain renewed", "async renewed", "async renewed"]


async def test_only_the_wanted_events(event: CertificateEvent) -> None:
    seen: list[str] = []

    def hook(event: CertificateEvent) -> None:
        seen.append(event.kind)

    await run_hooks((Hook(run=hook, events=("failed",)), Hook(run=hook)), event)
    assert seen == ["renewed"]


async def test_a_hook_that_raises_does_not_stop_the_next(
    event: CertificateEvent, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def bad(event: CertificateEvent) -> None:
        raise RuntimeError("somebody else's bug")

    def good(event: CertificateEvent) -> None:
        seen.append(event.kind)

    await run_hooks((Hook(run=bad), Hook(run=good)), event)
    assert seen == ["renewed"]
    assert "somebody else's bug" in caplog.text


async def test_a_command_that_fails_is_quoted(
    event: CertificateEvent, caplog: pytest.LogCaptureFixture
) -> None:
    await run_hooks((Hook(run=("sh", "-c", "echo out; echo err >&2; exit 3")),), event)
    assert "ended with status 3" in caplog.text
    assert "out" in caplog.text
    assert "err" in caplog.text


async def test_a_command_that_does_not_exist(
    event: CertificateEvent, caplog: pytest.LogCaptureFixture
) -> None:
    await run_hooks((Hook(run=("/nonexistent/command",)),), event)
    assert "hook /nonexistent/command failed" in caplog.text


async def test_a_command_ends_at_the_limit(
    event: CertificateEvent, caplog: pytest.LogCaptureFixture
) -> None:
    await run_hooks((Hook(run=("sleep", "1000"), timeout=0.01),), event)
    assert "hook sleep 1000 did not end within 0.01 s" in caplog.text


async def test_a_function_that_hangs_is_left_behind(
    event: CertificateEvent, caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(event: CertificateEvent) -> None:
        await anyio.sleep_forever()

    await run_hooks((Hook(run=hangs, timeout=0.01),), event)
    assert "hangs did not end within 0.01 s" in caplog.text


def test_an_event_without_a_certificate_tells_less() -> None:
    event = CertificateEvent(kind="failed", certificate_id="a", names=("a",), message="no")
    assert set(event.environment()) == {
        "VESTIBULE_EVENT",
        "VESTIBULE_CERTIFICATE_ID",
        "VESTIBULE_NAMES",
        "VESTIBULE_MESSAGE",
    }


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(RequestError, match="allowed are issued, renewed, failed, expiring"):
        Hook(run=("true",), events=("revoked",))
    with pytest.raises(RequestError, match="needs a command"):
        Hook(run=())
    assert str(Hook(run=("systemctl", "reload", "nginx"))) == "systemctl reload nginx"
    assert os.environ.get("VESTIBULE_EVENT") is None
