"""The accounts at the CAs, by hand; the CA is one in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from acme_client import CertificateManager, CertificateRequest, make_issuer, open_store
from acme_client.testing import AcmeCA
from proxy.commands.accounts import list_accounts, persist, recover, roll_over
from proxy.commands.by_hand import WrongUsage, issue, renew
from proxy.commands.diagnosis import explain_names
from proxy.config.model import Config
from tests.acme_client.dns.servers import DnsServer, zone
from tests.proxy.commands.support import Said

COMMAND = {"provider": "command", "options": {"command": ["/bin/true"]}}


def make_config(ca: AcmeCA, folder: Path, **more: Any) -> Config:
    acme = {
        "directory": ca.directory_url,
        "ca_certificates": str(ca.trust_file),
        "fallbacks": [{"directory": "internal"}],
        **more,
    }
    sites = [{"names": ["a.example"], "upstreams": ["h:1"]}]
    return Config.model_validate({"storage": f"file:{folder}", "acme": acme, "sites": sites})


def key_of(folder: Path) -> str:
    (document,) = (folder / "documents" / "accounts").iterdir()
    key: str = json.loads(document.read_text())["key_pem"]
    return key


@pytest.fixture
def key_file(acme_ca: AcmeCA, tmp_path: Path) -> Path:
    """The key of an account that the CA has."""
    path = tmp_path / "key.pem"
    acme_ca.settings.validate = False
    manager = CertificateManager(
        requests=[CertificateRequest(names=("a.example",))],
        issuers=[make_issuer(acme_ca.directory_url, ca_certificates=acme_ca.trust_file)],
        store=open_store(f"file:{tmp_path / 'first'}"),
    )
    anyio.run(manager.obtain, "a.example")
    path.write_text(key_of(tmp_path / "first"))
    path.chmod(0o600)
    return path


def test_a_lost_account_is_taken_over_and_gets_a_new_key(
    acme_ca: AcmeCA, tmp_path: Path, key_file: Path
) -> None:
    config, said = make_config(acme_ca, tmp_path / "second"), Said()
    name = acme_ca.base_url.removeprefix("https://")
    assert list_accounts(config, {}, said) == 0
    assert said == [f"{name}: no account yet; it is made with the first order"]
    assert roll_over(config, {}, (), said) == 0
    assert roll_over(config, {}, [name], said) == 1
    said.clear()
    assert recover(config, {}, name, key_file, said) == 0
    assert len(acme_ca.accounts) == 1
    assert key_of(tmp_path / "second") == key_file.read_text()
    assert roll_over(config, {}, (), said) == 0
    assert key_of(tmp_path / "second") != key_file.read_text()
    assert said[-1].endswith(" has a new key")
    # What is there is not thrown away.
    assert recover(config, {}, name, key_file, said) == 1
    assert "there is an account already" in said[-1]


def test_keys_that_are_of_no_use(acme_ca: AcmeCA, tmp_path: Path, key_file: Path) -> None:
    config, said = make_config(acme_ca, tmp_path / "second"), Said()
    name = acme_ca.base_url.removeprefix("https://")
    key_file.chmod(0o644)
    assert recover(config, {}, name, key_file, said) == 1
    assert "others may read" in said[-1]
    key_file.chmod(0o600)
    key_file.write_text("no key")
    assert recover(config, {}, name, key_file, said) == 1
    key_file.unlink()
    assert recover(config, {}, name, key_file, said) == 1
    assert "'--key': file" in said[-1]
    assert "No such file" in said[-1]
    with pytest.raises(WrongUsage, match=rf"other: no such CA; there are {name}"):
        recover(config, {}, "other", key_file, said)


def test_the_record_that_proves_a_name_for_good(
    acme_ca: AcmeCA, tmp_path: Path, key_file: Path
) -> None:
    said = Said()

    def look(*lines: str) -> int:
        """Ask for the record where DNS has these."""
        said.clear()
        with DnsServer(zone("a.example. SOA ns. root. 1 60 60 60 60", *lines)) as server:
            dns = {**COMMAND, "resolvers": [f"127.0.0.1:{server.port}"]}
            config = make_config(acme_ca, tmp_path / "first", dns=dns)
            return persist(config, {}, ["*.a.example"], said)

    assert look() == 1
    record, verdict = said
    assert record.startswith('_validation-persist.a.example. IN TXT "ca.example; accounturi=')
    assert record.endswith('; policy=wildcard"')
    assert "there is no such TXT record" in verdict
    assert look(record.replace(" IN TXT", " TXT")) == 0
    assert "valid for ca.example" in said[1]
    config = make_config(acme_ca, tmp_path / "none")
    assert persist(config, {}, ["a.example"], said) == 1
    assert "no account yet" in said[-1]
    with pytest.raises(WrongUsage):
        persist(config, {}, ["no name"], said)


def test_a_damaged_account_is_told_and_left_alone(acme_ca: AcmeCA, tmp_path: Path) -> None:
    acme_ca.settings.validate = False
    dns = {**COMMAND, "propagation_seconds": 0}
    config = make_config(acme_ca, tmp_path, challenges=["dns-01"], dns=dns)
    said = Said()
    assert issue(config, {}, (), said) == 0
    (path,) = (config.state_dir / "documents" / "accounts").glob("*.json")
    path.write_bytes(b"{")
    said.clear()
    assert list_accounts(config, {}, said) == 1
    assert f"{path} is damaged" in said[-1]
    assert explain_names(config, {}, (), said, as_json=False) == 1
    assert f"cannot be used now: {path} is damaged" in "\n".join(said)
    assert path.read_bytes() == b"{"
    assert issue(config, {}, (), said) == 0
    assert renew(config, {}, ["a.example"], said, force=True) == 0
    assert list_accounts(config, {}, said) == 0
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b"{"
