"""What the tests of certificates from a real Pebble share: settings, commands, what is served."""

from __future__ import annotations

import re
import subprocess
from typing import Final

from cryptography import x509

from tests.e2e.clients import s_client
from tests.e2e.programs import ROOT
from tests.e2e.proxy_process import COMMAND, Value, Vestibule
from tests.e2e.waiting import wait_until
from tests.pebble import Pebble

ISSUING: Final = 150.0
"""Seconds for what takes several requests, validation, and perhaps a first try that failed.

A CA that finds a loaded machine too slow to answer its challenge (Pebble gives it five seconds) is
asked again after a minute, and a tenth more at most."""

COMMAND_SECONDS: Final = 120.0
"""For one command, from Python's start to the certificate."""


def acme(server: Pebble, **more: Value) -> dict[str, Value]:
    return {"directory": server.directory, "ca_certificates": str(server.ca_file), **more}


def site(*names: str, **more: Value) -> dict[str, Value]:
    # Nobody listens there: what is looked at here ends before the backend.
    return {"names": list(names), "upstreams": ["127.0.0.1:9"], **more}


def certs(proxy: Vestibule, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``vestibule certs ...`` with the configuration of a proxy."""
    return command("certs", *arguments, "--config", str(proxy.config_file))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def served(port: int, name: str, *, algorithms: str = "ECDSA+SHA256") -> x509.Certificate | None:
    """The certificate that an ordinary client gets."""
    text = s_client(port, "-servername", name, "-sigalgs", algorithms)
    if "-----BEGIN CERTIFICATE-----" not in text:
        return None
    return x509.load_pem_x509_certificate(text.encode())


def until_served(proxy: Vestibule, name: str) -> x509.Certificate:
    found = wait_until(
        lambda: served(proxy.https, name), lambda: proxy.told(f"a certificate of {name}"), ISSUING
    )
    assert found is not None
    return found


def verified(server: Pebble, port: int, name: str) -> bool:
    """Whether a client that trusts this Pebble accepts what it is shown."""
    root = server.folder / "root.pem"
    root.write_text(server.root_pem())
    options = ("-servername", name, "-verify_hostname", name, "-CAfile", str(root))
    return "Verify return code: 0 (ok)" in s_client(port, *options)


def names_of(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return sorted(extension.value.get_values_for_type(x509.DNSName))


def orders(server: Pebble) -> int:
    """How many orders Pebble has been given."""
    return len(re.findall(r"There are now \d+ orders in the db", server.log()))
