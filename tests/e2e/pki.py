"""Certificates for the tests' own sites, from a CA made for the run."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import trustme
from cryptography import x509

from tests.e2e.proxy_process import Value


class Pki:
    """A root and an intermediate; clients trust the root alone, so chains must be whole."""

    def __init__(self, folder: Path) -> None:
        self._root = trustme.CA()
        self._intermediate = self._root.create_child_ca()
        self._folder = folder
        self._count = 0
        self.root_file = folder / "root.pem"
        self._root.cert_pem.write_to_path(self.root_file)

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A chain and a key, written as an operator should."""
        self._count += 1
        chain = self._folder / f"{self._count}.crt"
        key = self._folder / f"{self._count}.key"
        self.write(chain, key, *names)
        return chain, key

    def write(self, chain: Path, key: Path, *names: str) -> int:
        """Put a new pair in the place of these files, as certbot does: each at one blow.

        Returns the serial number.
        """
        leaf = self._intermediate.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
        pem = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        for path, data in ((chain, pem), (key, leaf.private_key_pem.bytes())):
            new = path.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_bytes(data)
            os.replace(new, path)
        return x509.load_pem_x509_certificate(pem).serial_number

    def client_context(self, *alpn: str) -> ssl.SSLContext:
        return client_context(self.root_file, *alpn)

    def site(
        self, name: str, *upstreams: str, files: tuple[Path, Path] | None = None, **more: Value
    ) -> dict[str, Value]:
        """The table of a site with these backends, on a certificate of its own."""
        chain, key = files or self.issue(name)
        certificate: Value = {"chain": str(chain), "key": str(key)}
        return {"names": [name], "certificate": certificate, "upstreams": list(upstreams), **more}

    def own_site(
        self, port: int, *, files: tuple[Path, Path] | None = None, **more: Value
    ) -> dict[str, Value]:
        """A whole configuration: own.test, with a backend on this port of 127.0.0.1."""
        return {"sites": [self.site("own.test", f"127.0.0.1:{port}", files=files)], **more}


def client_context(root: Path, *alpn: str) -> ssl.SSLContext:
    """What a careful client uses."""
    context = ssl.create_default_context(cafile=root)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
