"""The manager's work by hand, with the internal CA; Pebble's part is in ``tests/e2e``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from acme_client import Store, StoreError, open_store
from acme_client.on_demand import remember, remembered
from proxy.certificate_requests import certificate_request
from proxy.commands.by_hand import WrongUsage, issue, renew, requests_for, revoke
from proxy.config.model import Config
from tests.acme_client.support import START
from tests.proxy.commands.support import Said

SITE = {"names": ["a.localhost"], "upstreams": ["h:1"]}
ANY = {"names": ["*.example.com"], "on_demand": True, "upstreams": ["h:1"]}


def make_config(folder: Path, *sites: dict[str, Any], **acme: Any) -> Config:
    return Config.model_validate(
        {
            "storage": f"file:{folder}",
            "acme": {"directory": "internal", **acme},
            "on_demand": {"ask": "m:f"} if ANY in sites else None,
            "sites": list(sites or (SITE,)),
        }
    )


def test_issue_renew_and_force(tmp_path: Path) -> None:
    config, said = make_config(tmp_path), Said()
    store = open_store(config.storage)
    assert issue(config, {}, (), said) == 0
    first = store.load_certificate("a.localhost")
    assert first is not None
    assert said[-1].startswith(f"a.localhost: valid until {first.not_after:%Y-%m-%d %H:%M} UTC")
    assert store.document_names("changes") == ["changes/a.localhost"]
    assert renew(config, {}, ["a.localhost"], said, force=False) == 0
    assert said[-1].startswith("a.localhost: not due until ")
    assert renew(config, {}, ["a.localhost"], said, force=True) == 0
    second = store.load_certificate("a.localhost")
    assert second is not None
    assert second.serial != first.serial


def test_one_of_two_key_types(tmp_path: Path) -> None:
    config, said = make_config(tmp_path, key_types=["p256", "rsa2048"]), Said()
    store = open_store(config.storage)
    assert issue(config, {}, ["a.localhost"], said) == 0
    assert store.certificate_ids() == ["a.localhost", "a.localhost+rsa2048"]
    before = store.load_certificate("a.localhost")
    assert renew(config, {}, ["a.localhost+rsa2048"], said, force=True) == 0
    assert store.load_certificate("a.localhost") == before
    renewed = store.load_certificate("a.localhost+rsa2048")
    assert renewed is not None
    assert renewed.generation == 2


def test_names_on_demand(tmp_path: Path) -> None:
    config, said = make_config(tmp_path, ANY), Said()
    store = open_store(config.storage)
    assert issue(config, {}, ["x.example.com"], said) == 0
    assert [name for name, _ in remembered(store)] == ["x.example.com"]
    remember(store, "gone.example.org", "gone.example.org", START)
    assert [r.names for r in requests_for(config, store, ())] == [("x.example.com",)]


def test_names_that_are_not_asked_for(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    store = open_store(config.storage)
    with pytest.raises(WrongUsage, match=r"b\.localhost: .* there are a\.localhost"):
        issue(config, {}, ["b.localhost"], Said())
    (request,) = requests_for(config, store, ["a.localhost"])
    assert request == certificate_request(config, config.sites[0])


def test_what_fails_is_told(tmp_path: Path) -> None:
    config, said = make_config(tmp_path), Said()
    assert issue(config, {}, (), said) == 0
    # The internal CA revokes nothing, says what to do, and leaves all as it is.
    before = open_store(config.storage).load_certificate("a.localhost")
    assert revoke(config, {}, ["a.localhost"], said, reason="superseded") == 1
    assert "keeps no list of revoked certificates" in said[-1]
    assert "renew it by force" in said[-1]
    assert open_store(config.storage).load_certificate("a.localhost") == before
    with pytest.raises(WrongUsage, match="'boredom' is not allowed; allowed are unspecified"):
        revoke(config, {}, ["a.localhost"], said, reason="boredom")


def test_a_running_server_that_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the disk is full: what came of the work is said all the same."""

    def note(store: Store, certificate_id: str, now: datetime) -> None:
        raise StoreError("No space left on device")

    monkeypatch.setattr("proxy.commands.by_hand.note_change", note)
    config, said = make_config(tmp_path), Said()
    assert issue(config, {}, (), said) == 0
    assert said[-1].startswith("a.localhost: valid until ")
    assert "a running server is not told of it: No space left" in caplog.text


def test_revoking_what_is_not_there(tmp_path: Path) -> None:
    said = Said()
    assert revoke(make_config(tmp_path), {}, ["a.localhost"], said, reason="unspecified") == 1
    assert "there is no certificate a.localhost to revoke" in said[-1]
