"""Certificate files for tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import trustme


def write_files(
    folder: Path, *names: str, not_after: dt.datetime | None = None, mode: int = 0o600
) -> dict[str, str]:
    """Write a chain and a key; gives the configuration's ``certificate`` table."""
    leaf = trustme.CA().issue_cert(
        *names, not_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), not_after=not_after
    )
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    key.touch(mode)
    key.write_bytes(leaf.private_key_pem.bytes())
    key.chmod(mode)
    return {"chain": str(chain), "key": str(key)}
