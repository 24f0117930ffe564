from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

from acme_client.dns.credentials import MAX_FILE_BYTES, Credentials, Secrets
from acme_client.errors import RequestError

SECRET = "hunter2-hunter2"


def _file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_from_the_environment() -> None:
    credentials = Credentials({"token": "env:TOKEN"}, environment={"TOKEN": SECRET})
    assert dict(credentials.load()) == {"token": SECRET}


def test_from_a_file_per_value(tmp_path: Path) -> None:
    credentials = Credentials({"token": f"file:{_file(tmp_path, SECRET + chr(10))}"})
    assert credentials.load()["token"] == SECRET


def test_from_one_file_with_exceptions(tmp_path: Path) -> None:
    path = _file(tmp_path, f'token = "{SECRET}"\nuser = "ops"\n')
    credentials = Credentials({"user": "env:U"}, file=path, environment={"U": "me"})
    assert dict(credentials.load()) == {"token": SECRET, "user": "me"}


def test_read_anew_each_time(tmp_path: Path) -> None:
    path = _file(tmp_path, 'token = "old-value"')
    credentials = Credentials(file=path)
    assert credentials.load()["token"] == "old-value"
    path.write_text('token = "new-value"')
    assert credentials.load()["token"] == "new-value"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o602])
def test_files_that_others_may_touch_are_refused(tmp_path: Path, mode: int) -> None:
    path = _file(tmp_path, SECRET, mode)
    with pytest.raises(RequestError, match=r"others may read or change it; chmod 600"):
        Credentials({"token": f"file:{path}"}).load()


def test_a_group_may_read(tmp_path: Path) -> None:
    path = _file(tmp_path, SECRET, 0o640)
    assert Credentials({"token": f"file:{path}"}).load()["token"] == SECRET


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="the variable TOKEN is not set"):
        Credentials({"token": "env:TOKEN"}, environment={"TOKEN": ""}).load()
    with pytest.raises(RequestError, match="No such file"):
        Credentials({"token": f"file:{tmp_path / 'none'}"}).load()
    with pytest.raises(RequestError, match="is empty"):
        Credentials({"token": f"file:{_file(tmp_path, chr(10))}"}).load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'token = "{SECRET}', "no TOML"),
        (f'[token]\nx = "{SECRET}"', "'token' must be a string"),
        ("token = 1", "'token' must be a string"),
        ("x" * (MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_files_that_cannot_be_read_show_nothing(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        Credentials(file=_file(tmp_path, text)).load()
    assert SECRET not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = _file(tmp_path, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="UTF-8"):
        Credentials({"token": f"file:{path}"}).load()


@pytest.mark.parametrize("source", [SECRET, "env:", "http://x", "env", ""])
def test_a_secret_in_place_of_its_source_is_refused_unseen(source: str) -> None:
    with pytest.raises(RequestError, match="write env:NAME or file:/path") as caught:
        Credentials({"token": source})
    if source:
        assert source not in str(caught.value).replace("write env:NAME or file:/path", "")


def test_secrets_do_not_show_themselves() -> None:
    secrets = Secrets({"token": SECRET, "user": "ops"})
    assert repr(secrets) == "<Secrets: token, user>"
    assert SECRET not in str(secrets) + f"{secrets}" + repr([secrets])
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secrets)
    try:
        secrets.require("key", "this")
    except RequestError:
        assert SECRET not in traceback.format_exc()
    assert repr(Secrets()) == "<Secrets: none>"


def test_credentials_show_where_they_are_only(tmp_path: Path) -> None:
    credentials = Credentials(
        {"token": "env:TOKEN"}, file=tmp_path / "c.toml", environment={"TOKEN": SECRET}
    )
    assert repr(credentials) == f"<Credentials: token from env:TOKEN, all in {tmp_path / 'c.toml'}>"
    assert repr(Credentials()) == "<Credentials: none>"


def test_blotting_out() -> None:
    secrets = Secrets({"a": SECRET, "b": SECRET + "-longer", "c": "of"})
    text = f"{SECRET}-longer of {SECRET}"
    assert secrets.blot_out(text) == "*** of ***"


def test_required() -> None:
    assert Secrets({"token": SECRET}).require("token", "this") == SECRET
    with pytest.raises(RequestError, match="cloud needs the credential 'token'"):
        Secrets().require("token", "cloud")
