"""Revoking: the successor first."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from acme_client.compromised import compromised_keys
from acme_client.errors import LockHeld, RequestError, ValidationFailed
from acme_client.internal import InternalIssuer
from acme_client.issuer import Environment
from acme_client.manager import CertificateManager
from acme_client.revocation import REASONS, revoke_and_remove
from acme_client.store.files import FileStore
from tests.acme_client.managed import Managed, request
from tests.acme_client.support import FakeClock, ScriptedIssuer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]


async def test_the_successor_is_there_before_the_revocation(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    old = await managed.manager.obtain("a.example")
    await managed.manager.revoke("a.example", "superseded")
    assert managed.issuer.revoked == [(old.serial, REASONS["superseded"])]
    new = managed.store.load_certificate("a.example")
    assert new is not None
    assert new.serial != old.serial
    assert compromised_keys(managed.store) == frozenset()


async def test_without_a_successor_it_is_revoked_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    managed = Managed(tmp_path, request())
    old = await managed.manager.obtain("a.example")
    managed.issuer.script = lambda task: ValidationFailed("no")
    await managed.manager.revoke("a.example")
    assert managed.issuer.revoked == [(old.serial, 0)]
    assert "no successor could be had" in caplog.text
    assert managed.store.load_certificate("a.example") == old


async def test_a_compromised_key_is_never_used_again(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    old = await managed.manager.obtain("a.example")
    await managed.manager.revoke("a.example", "keyCompromise")
    assert managed.issuer.revoked == [(old.serial, 1)]
    assert old.key_fingerprint in compromised_keys(managed.store)
    folder = tmp_path / "certificates" / "a.example"
    assert [path.name for path in folder.iterdir()] == ["00000002"]


async def test_a_compromised_key_still_in_use_is_replaced_at_the_first_chance(
    tmp_path: Path,
) -> None:
    first = Managed(tmp_path, request())
    old = await first.manager.obtain("a.example")
    first.issuer.script = lambda task: ValidationFailed("no")
    await first.manager.revoke("a.example", "keyCompromise")
    second = Managed(tmp_path, request(), clock=first.clock)
    second.issuer.tasks += first.issuer.tasks  # so that it makes another key
    async with second.running():
        await second.clock.advance(second.clock.now() - first.clock.now())
        reason = second.status().plan.reason
        assert reason.endswith("its key is compromised") or "of the lifetime left" in reason
    assert await second.manager.obtain("a.example") != old
    # It is no longer there to fall back on either.
    folder = tmp_path / "certificates" / "a.example"
    keys = {(generation / "key.pem").read_text() for generation in folder.iterdir()}
    assert old.key_pem not in keys


async def test_what_cannot_be_revoked_is_told(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    with pytest.raises(RequestError, match="no certificate a"):
        await managed.manager.revoke("a.example")
    await managed.manager.obtain("a.example")
    with pytest.raises(RequestError, match="allowed are unspecified, keyCompromise"):
        await managed.manager.revoke("a.example", "because")
    clock = FakeClock()
    other = Managed(tmp_path, request(), issuers=[ScriptedIssuer(clock, name="other")])
    with pytest.raises(RequestError, match="from scripted, which is not configured"):
        await other.manager.revoke("a.example")


async def test_the_internal_ca_revokes_nothing_and_says_so_before_anything_is_done(
    tmp_path: Path,
) -> None:
    store = FileStore(tmp_path, FakeClock().now)
    manager = CertificateManager(requests=[request()], issuers=[InternalIssuer()], store=store)
    old = await manager.obtain("a.example")
    with pytest.raises(RequestError, match=r"no list of revoked .* renew it by force"):
        await manager.revoke("a.example", "keyCompromise")
    assert store.load_certificate("a.example") == old
    assert compromised_keys(store) == frozenset()


@pytest.mark.parametrize("reason", ["superseded", "keyCompromise"])
async def test_what_nobody_asks_for_any_more_goes(tmp_path: Path, reason: str) -> None:
    managed = Managed(tmp_path, request())
    old = await managed.manager.obtain("a.example")
    environment = Environment(managed.store, managed.clock, Random(0))
    await revoke_and_remove(old, reason, issuers=[managed.issuer], environment=environment)
    assert managed.issuer.revoked == [(old.serial, REASONS[reason])]
    assert managed.store.load_certificate("a.example") is None
    assert len(managed.issuer.tasks) == 1
    assert (old.key_fingerprint in compromised_keys(managed.store)) == (reason == "keyCompromise")


async def test_what_could_not_be_revoked_stays(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    old = await managed.manager.obtain("a.example")
    environment = Environment(managed.store, managed.clock, Random(0))
    with pytest.raises(RequestError, match="which is not configured"):
        await revoke_and_remove(old, "superseded", issuers=[], environment=environment)
    with managed.store.lock("a.example"), pytest.raises(LockHeld):
        await revoke_and_remove(
            old, "superseded", issuers=[managed.issuer], environment=environment
        )
    assert managed.issuer.revoked == []
    assert managed.store.load_certificate("a.example") == old
