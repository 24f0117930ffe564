"""What is in the store and no longer in the configuration can be explained and revoked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acme_client import open_store
from acme_client.on_demand import remember
from acme_client.testing import AcmeCA
from proxy.commands.by_hand import WrongUsage, issue, renew, revoke
from proxy.commands.diagnosis import explain_names
from proxy.commands.retired import find_retired
from proxy.config.model import Config
from tests.acme_client.support import START, make_new
from tests.proxy.commands.support import Said, closed, make_config


def site(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "upstreams": ["h:1"], **more}


def put(config: Config, certificate_id: str, *names: str) -> None:
    open_store(config.storage).save_certificate(certificate_id, make_new(list(names)))


def test_what_the_configuration_asks_for_comes_first(tmp_path: Path) -> None:
    on_demand = site("*.shop.example", on_demand=True)
    config = make_config(
        tmp_path,
        {"directory": "internal"},
        site("a.example", "moved.example"),
        on_demand,
        on_demand={"ask": "http://127.0.0.1:1/"},
    )
    store = open_store(config.storage)
    put(config, "a.example", "a.example", "left.example")
    put(config, "a.example+rsa2048", "a.example")
    put(config, "gone.example", "gone.example", "www.gone.example")
    put(config, "moved.example", "moved.example")
    put(config, "x.shop.example", "x.shop.example")
    remember(store, "x.shop.example", "x.shop.example", START)

    def retired(*names: str) -> tuple[list[str], list[str]]:
        found, others = find_retired(config, store, names)
        return [stored.id for stored in found], others

    assert retired() == ([], [])
    assert retired("gone.example", "www.gone.example") == (["gone.example"], [])
    assert retired("a.example+rsa2048") == (["a.example+rsa2048"], [])
    for name in ("a.example", "moved.example", "left.example", "x.shop.example", "no.example"):
        assert retired(name, "gone.example") == (["gone.example"], [name])


def test_explaining_and_revoking(acme_ca: AcmeCA, tmp_path: Path) -> None:
    acme_ca.settings.validate = False
    acme, said = closed(acme_ca), Said()
    before = make_config(tmp_path, acme, site("a.example"), site("b.example"))
    assert issue(before, {}, (), said) == 0
    config = make_config(tmp_path, acme, site("b.example"))
    store = open_store(config.storage)
    gone = store.load_certificate("a.example")
    assert gone is not None

    said.clear()
    assert explain_names(config, {}, ["a.example"], said, as_json=False) == 0
    assert f"  stored       serial {gone.serial}, issued by {gone.issuer}" in said
    assert any("not in the configuration, so neither served nor renewed" in line for line in said)
    said.clear()
    explain_names(config, {}, ["b.example", "a.example"], said, as_json=True)
    found = {one["id"]: one for one in json.loads("\n".join(said))}
    assert (found["a.example"]["next"], found["a.example"]["well"]) == (None, True)
    assert found["b.example"]["next"]["action"] == "renew"

    for command in (issue, lambda *given: renew(*given, force=True)):
        with pytest.raises(WrongUsage, match=r"a\.example: the configuration asks for no such"):
            command(config, {}, ["a.example"], said)
    said.clear()
    orders = len(acme_ca.orders)
    assert revoke(config, {}, ["a.example"], said, reason="cessationOfOperation") == 0
    assert said == [
        "a.example: revoked (cessationOfOperation), and removed: it is not in the configuration"
    ]
    assert len(acme_ca.orders) == orders
    assert [each.names for each in acme_ca.certificates if each.revoked] == [("a.example",)]
    assert store.certificate_ids() == ["b.example"]
    with pytest.raises(WrongUsage):
        revoke(config, {}, ["a.example"], said, reason="superseded")


def test_a_retired_one_that_cannot_be_revoked(acme_ca: AcmeCA, tmp_path: Path) -> None:
    config, said = make_config(tmp_path, closed(acme_ca), site("b.example")), Said()
    put(config, "a.example", "a.example")
    assert revoke(config, {}, ["a.example"], said, reason="superseded") == 1
    assert said[-1].startswith("a.example: failed: a.example is from ")
    assert open_store(config.storage).load_certificate("a.example") is not None
