"""Certificates for tests, made when asked for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import trustme

from proxy.tls.pem_pair import PemPair, parse_pair

UTC = dt.UTC
NAMES = ("a.example.com", "b.example.com", "*.w.example.com", "localhost")


class Authority:
    """A root, and an intermediate that issues."""

    def __init__(self) -> None:
        self.root = trustme.CA()
        self.intermediate = self.root.create_child_ca()

    def issue(
        self,
        *names: str,
        key_type: str = "ECDSA",
        not_before: dt.datetime | None = None,
        not_after: dt.datetime | None = None,
    ) -> PemPair:
        leaf = self.intermediate.issue_cert(
            *(names or NAMES),
            key_type=trustme.KeyType[key_type],
            not_before=not_before,
            not_after=not_after,
        )
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        return parse_pair(chain, leaf.private_key_pem.bytes())

    def root_pem(self) -> str:
        return self.root.cert_pem.bytes().decode()


def write_pair(pair: PemPair, folder: Path) -> tuple[Path, Path]:
    """Write chain and key, as an operator should."""
    chain, key = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(pair.chain_pem)
    key.touch(mode=0o600)
    key.write_bytes(pair.key_pem)
    return chain, key
