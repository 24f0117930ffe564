"""Orders that were placed: kept, and resumed only if they are still wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acme_client.keys import fingerprint, key_to_pem
from acme_client.placed import (
    PlacedOrder,
    document_name,
    forget_order,
    load_order,
    save_order,
    successor_of,
)
from acme_client.store.files import FileStore
from tests.acme_client.simulation import make_task
from tests.acme_client.support import DAY, HOUR, START, any_key, make_new

ACCOUNT = "https://ca.example/account/1"

PLACED = PlacedOrder(
    url="https://ca.example/order/1",
    account_url=ACCOUNT,
    names=("a.example", "b.example"),
    key_type="p256",
    profile=None,
    successor_of=None,
    key_pem=key_to_pem(any_key()),
    placed_at=START,
)
TASK = make_task("a.example", "b.example")


def test_it_fits_what_it_was_placed_for() -> None:
    assert PLACED.fits(TASK, ACCOUNT, None, START + HOUR)
    assert PLACED.fits(make_task("b.example", "a.example"), ACCOUNT, None, START)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACED, names=("a.example",)),
        replace(PLACED, key_type="rsa2048"),
        replace(PLACED, profile="shortlived"),
        replace(PLACED, account_url="https://ca.example/account/2"),
        replace(PLACED, successor_of="ab12"),
        replace(PLACED, placed_at=START - 2 * DAY),
        replace(PLACED, placed_at=START + 2 * DAY),
    ],
)
def test_it_fits_nothing_else(other: PlacedOrder) -> None:
    assert not other.fits(TASK, ACCOUNT, None, START)
    assert not PLACED.fits(TASK, None, None, START)


def test_it_does_not_outlive_its_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = FileStore(tmp_path_factory.mktemp("state"), lambda: START)
    stored = store.save_certificate("a.example", make_new(PLACED.names))
    renewal = make_task(*PLACED.names, replaces=stored)
    assert successor_of(renewal) == stored.fingerprint
    assert not PLACED.fits(renewal, ACCOUNT, None, START)
    assert replace(PLACED, successor_of=stored.fingerprint).fits(renewal, ACCOUNT, None, START)


def test_kept_and_forgotten(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = FileStore(tmp_path_factory.mktemp("state"))
    assert load_order(store, "ca", "a.example") is None
    save_order(store, "ca", "a.example", PLACED)
    assert load_order(store, "ca", "a.example") == PLACED
    assert load_order(store, "other", "a.example") is None
    forget_order(store, "ca", "a.example")
    assert load_order(store, "ca", "a.example") is None


@pytest.mark.parametrize("change", [{"names": None}, {"placed_at": "soon"}, {"key_pem": "no key"}])
def test_a_damaged_order_is_put_aside(tmp_path: Path, change: dict[str, Any]) -> None:
    store = FileStore(tmp_path)
    name = document_name("ca", "a.example")
    store.save_document(name, {**PLACED.to_json(), **change})
    assert load_order(store, "ca", "a.example") is None
    assert store.load_document(name) is None
    assert Path(f"{store.document_place(name)}.damaged").exists()


def test_the_key() -> None:
    assert PLACED.key_fingerprint == fingerprint(any_key().public_key())
    assert "PRIVATE" not in repr(PLACED)
