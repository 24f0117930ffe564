"""The table of ``vestibule certs list``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from acme_client import CertificateManager, CertificateRequest, InternalIssuer, open_store
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
    assert found[0] == ["NAMES", "STATE", "UNTIL", "FROM"]
    assert found[1][:2] == ["a.example b.example", "valid"]
    assert found[1][3] == "internal"
    assert found[2] == ["new.example", "missing", "-", "-"]
    assert found[3] == ["own.example", "expired", "2021-01-01 00:00 UTC", files["chain"]]
    assert found[4][1].startswith("unusable: the certificate chain /no cannot be read")
    assert found[5][:2] == ["old.example", "valid, not in the configuration"]


def test_without_a_configuration_all_that_is_stored(tmp_path: Path) -> None:
    storage = f"file:{tmp_path}"
    assert table(storage, None) == [[f"no certificates in {storage}"]]
    issue(storage, "a.example")
    assert table(storage, None)[1][:2] == ["a.example", "valid"]
    early = datetime(2020, 1, 1, tzinfo=UTC)
    assert table(storage, None, early)[1][1] == "not yet valid"


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "certificates").symlink_to("certificates")
    with pytest.raises(StartupError, match="cannot be listed"):
        table(f"file:{tmp_path}", None)
