"""What is found in the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from acme_client import CertificateRequest
from acme_client.store.files import FileStore
from proxy.commands.by_hand import issue
from proxy.commands.certs import list_certificates
from proxy.commands.diagnosis import doctor, explain_names
from proxy.commands.stored import look_at_store, look_at_stored
from tests.acme_client.support import make_new
from tests.proxy.commands.support import Said, make_config


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    assert "can be written" in look_at_store(FileStore(tmp_path / "state")).text
    (tmp_path / "file").touch()
    assert "cannot be written" in look_at_store(FileStore(tmp_path / "file")).text


def test_what_there_is_of_each_key_type(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    request = CertificateRequest(names=("a.example",), key_types=("p256", "rsa2048"))
    long_ago = datetime.now(UTC) - timedelta(days=400)
    store.save_certificate("a.example", make_new(request.names, not_before=long_ago))
    wanted, found = look_at_stored(store, request)
    assert [one.key_type for one in wanted] == ["p256", "rsa2048"]
    assert wanted[1].fingerprint is None
    first, second = (str(finding) for finding in found)
    assert first.startswith("stored: p256: from scripted, valid until")
    assert first.endswith(": expired")
    assert second == "stored: rsa2048: none yet"


def test_a_damaged_record_is_told_and_left_alone(tmp_path: Path) -> None:
    config, said = make_config(tmp_path, {"directory": "internal"}), Said()
    assert issue(config, {}, (), said) == 0
    path = tmp_path / "state" / "documents" / "certificates" / "a.localhost.json"
    path.write_bytes(b"{")
    assert explain_names(config, {}, (), said, as_json=False) == 0
    assert doctor(config, {}, said, as_json=False) == 0
    told = [line for line in said if f"note    stored: {path} is damaged (not JSON" in line]
    assert len(told) == 2
    (row,) = list(list_certificates(config.storage, config, datetime.now(UTC)))[1:]
    assert "valid, its record of attempts is damaged" in row
    assert path.read_bytes() == b"{"
    assert issue(config, {}, (), said) == 0
    assert explain_names(config, {}, (), said, as_json=False) == 0
    assert path.with_name("a.localhost.json.damaged").read_bytes() == b"{"
