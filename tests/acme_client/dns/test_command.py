from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from acme_client.dns import CommandProvider, Credentials
from acme_client.errors import NotPresented, RequestError
from acme_client.programs import KEPT_OUTPUT_BYTES, SHOWN_OUTPUT_CHARS

pytestmark = pytest.mark.anyio

SECRET = "hunter2-hunter2"


def _script(folder: Path, body: str) -> str:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def _credentials() -> Credentials:
    return Credentials({"API_TOKEN": "env:SOME_TOKEN"}, environment={"SOME_TOKEN": SECRET})


async def test_arguments_and_variables(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = _script(
        tmp_path,
        f'echo "$@ / $VESTIBULE_DNS_ACTION $VESTIBULE_DNS_NAME $VESTIBULE_DNS_VALUE" >> {out}',
    )
    provider = CommandProvider([script, "--zone", "a b"])
    await provider.present("_acme-challenge.a.example", "value")
    await provider.clean_up("_acme-challenge.a.example", "value")
    name = "_acme-challenge.a.example"
    assert out.read_text().splitlines() == [
        f"--zone a b present {name} value / present {name} value",
        f"--zone a b clean-up {name} value / clean-up {name} value",
    ]


async def test_only_its_own_secrets_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SITES_TOKEN", "not yours")
    out = tmp_path / "out"
    provider = CommandProvider(
        [_script(tmp_path, f"env > {out}")], _credentials(), environment={"ZONE": "a.example"}
    )
    await provider.present("n", "v")
    found = out.read_text()
    assert f"API_TOKEN={SECRET}\n" in found
    assert "ZONE=a.example\n" in found
    assert f"PATH={os.environ['PATH']}\n" in found
    assert "not yours" not in found


async def test_a_failure_tells_the_end_of_the_output_without_secrets(tmp_path: Path) -> None:
    body = f'head -c {KEPT_OUTPUT_BYTES * 4} /dev/zero; echo "token $API_TOKEN is bad" >&2; exit 3'
    provider = CommandProvider([_script(tmp_path, body)], _credentials())
    with pytest.raises(NotPresented, match="status 3") as caught:
        await provider.present("n", "v")
    assert "token *** is bad" in str(caught.value)
    assert SECRET not in str(caught.value) + repr(provider)
    assert len(str(caught.value)) < SHOWN_OUTPUT_CHARS + 200


async def test_no_part_of_a_secret_is_shown_where_the_output_was_cut(tmp_path: Path) -> None:
    rest = KEPT_OUTPUT_BYTES - len(SECRET) // 2
    body = f'printf %s "$API_TOKEN"; head -c {rest} /dev/zero | tr "\\0" -; exit 3'
    provider = CommandProvider([_script(tmp_path, body)], _credentials())
    with pytest.raises(NotPresented, match="status 3") as caught:
        await provider.present("n", "v")
    assert SECRET[-4:] not in str(caught.value)


async def test_a_failure_without_a_word() -> None:
    with pytest.raises(NotPresented, match="could not clean-up n: status 1, no output"):
        await CommandProvider(["false"]).clean_up("n", "v")


async def test_a_command_that_hangs_is_stopped() -> None:
    with pytest.raises(NotPresented, match=r"within 0\.01 s and was stopped"):
        await CommandProvider(["sh", "-c", "sleep 1000"], seconds=0.01).present("n", "v")


async def test_commands_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(NotPresented, match="cannot be run: No such file"):
        await CommandProvider([str(tmp_path / "none")]).present("n", "v")


@pytest.mark.parametrize("command", [[], "rm -rf /"])
def test_a_command_is_a_list(command: list[str]) -> None:
    with pytest.raises(RequestError, match="needs a list"):
        CommandProvider(command)


async def test_missing_credentials_run_nothing(tmp_path: Path) -> None:
    provider = CommandProvider(["true"], Credentials({"T": "env:NONE"}, environment={}))
    with pytest.raises(RequestError, match="NONE is not set"):
        await provider.present("n", "v")
