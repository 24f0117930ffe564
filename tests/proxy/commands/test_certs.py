"""The table of ``vestibule certs list``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from acme_client import CertificateManager, CertificateRequest, InternalIssuer, open_store
from acme_client.on_demand import remember
from acme_client.state import CertificateState, document_name
from proxy.commands.certs import list_certificates
from proxy.config.model import Config
from proxy.errors import StartupError
from tests.proxy.commands.own_files import write_files


def table(storage: str, config: Config | None, now: datetime | None = None) -> list[list[str]]:
    lines = list_certificates(storage, config, now or datetime.now(UTC))
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def issue(storage: str, *names: str) -> None:
    async def obtain() -> None:
        manager = CertificateManager(
            requests=[CertificateRequest(names=names)],
            issuers=[InternalIssuer()],
            store=open_store(storage),
        )
        await manager.obtain(names[0])

    anyio.run(obtain)


def config(storage: str, *sites: dict[str, object]) -> Config:
    return Config.model_validate(
        {
            "storage": storage,
            "acme": {"directory": "internal"},
            "sites": [{"upstreams": ["h:1"], **site} for site in sites],
        }
    )


def test_each_site_has_a_line(tmp_path: Path) -> None:
    storage = f"file:{tmp_path / 'state'}"
    issue(storage, "a.example", "b.example")
    issue(storage, "old.example")
    files = write_files(tmp_path, "own.example", not_after=datetime(2021, 1, 1, tzinfo=UTC))
    found = table(
        storage,
        config(
            storage,
            {"names": ["a.example", "b.example"]},
            {"names": ["new.example"]},
            {"names": ["own.example"], "certificate": files},
            {"names": ["bad.example"], "certificate": {"chain": "/no", "key": "/no"}},
        ),
    )
    assert found[0] == ["ID", "NAMES", "KEY", "STATE", "UNTIL", "FROM"]
    assert found[1][:4] == ["a.example", "a.example b.example", "p256", "valid"]
    assert found[1][5] == "internal"
    assert found[2] == ["new.example", "new.example", "p256", "missing", "-", "-"]
    assert found[3] == ["-", "own.example", "-", "expired", "2021-01-01 00:00 UTC", files["chain"]]
    assert found[4][3].startswith("unusable: the certificate chain /no cannot be read")
    assert found[5][:2] == ["old.example", "old.example"]
    assert found[5][3] == "valid, not in the configuration"


def test_each_key_type_has_a_line_with_its_id(tmp_path: Path) -> None:
    storage = f"file:{tmp_path}"
    key_types = {"key_types": ["rsa2048", "p256"]}
    found = table(storage, config(storage, {"names": ["a.example"], "acme": key_types}))
    assert [row[:3] for row in found[1:]] == [
        ["a.example", "a.example", "rsa2048"],
        ["a.example+p256", "a.example", "p256"],
    ]


def test_failures_are_counted(tmp_path: Path) -> None:
    storage = f"file:{tmp_path}"
    issue(storage, "a.example")
    store = open_store(storage)
    for name, failures in (("a.example", 1), ("b.example", 3)):
        store.save_document(document_name(name), CertificateState(failures=failures).to_json())
    found = table(storage, config(storage, {"names": ["a.example"]}, {"names": ["b.example"]}))
    assert found[1][3] == "valid, failed 1 time"
    assert found[2][3] == "missing, failed 3 times"


def test_names_on_demand_belong_to_the_configuration(tmp_path: Path) -> None:
    storage = f"file:{tmp_path}"
    for name in ("a.example.com", "b.elsewhere.com"):
        issue(storage, name)
        remember(open_store(storage), name, name, datetime.now(UTC))
    settings = Config.model_validate(
        {
            "storage": storage,
            "on_demand": {"ask": "http://127.0.0.1:1/"},
            "sites": [{"names": ["*.example.com"], "on_demand": True, "upstreams": ["h:1"]}],
        }
    )
    assert [row[3] for row in table(storage, settings)[1:]] == [
        "valid, on demand",
        "valid, not in the configuration",
    ]


def test_without_a_configuration_all_that_is_stored(tmp_path: Path) -> None:
    storage = f"file:{tmp_path}"
    assert table(storage, None) == [[f"no certificates in {storage}"]]
    issue(storage, "a.example")
    assert table(storage, None)[1][:4] == ["a.example", "a.example", "p256", "valid"]
    early = datetime(2020, 1, 1, tzinfo=UTC)
    assert table(storage, None, early)[1][3] == "not yet valid"


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "certificates").symlink_to("certificates")
    with pytest.raises(StartupError, match="cannot be listed"):
        table(f"file:{tmp_path}", None)
