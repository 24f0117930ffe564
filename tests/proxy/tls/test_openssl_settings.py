"""Tests of proxy.tls.openssl_settings, with the real OpenSSL, each time in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls.openssl_settings import with_suites

AES_128, AES_256 = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"

DEBIAN = """\
HOME = .
openssl_conf = openssl_init  # providers are loaded automatically
config_diagnostics = 1
oid_section = new_oids
[ new_oids ]
tsa_policy1 = 1.2.3.4.1
[openssl_init]
[ ca ]
default_ca\t= CA_default
[ CA_default ]
dir = ./demoCA
certs = $dir/certs
"""
UBUNTU = """\
openssl_conf = openssl_init
[openssl_init]
providers = provider_sect
ssl_conf = ssl_sect
[provider_sect]
default = default_sect
[default_sect]
activate = 1
[ssl_sect]
system_default = system_default_sect
[system_default_sect]
CipherString = DEFAULT:@SECLEVEL=2
Options = \\
  -SessionTicket"""
FEDORA = """\
openssl_conf = openssl_init
[openssl_init]
ssl_conf = ssl_module
[ssl_module]
system_default = crypto_policy
[crypto_policy]
.include = /etc/crypto-policies/back-ends/opensslcnf.config
"""
OWN_ORDER = """\
openssl_conf = a
[a]
ssl_conf = b
[b]
system_default = c
[c]
1.Ciphersuites = TLS_CHACHA20_POLY1305_SHA256
"""
BY_VARIABLE = "name = elsewhere\nopenssl_conf = $name\n[elsewhere]\n"

_PROGRAM = """
import json, os, sys
from pathlib import Path
from proxy.tls.openssl_settings import prefer_aes_128
for module in sys.argv[2:]:
    __import__(module)
before = dict(os.environ)
prefer_aes_128(Path(sys.argv[1]))
assert dict(os.environ) == before
import ssl
from proxy.tls.contexts import TlsOptions, make_context
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
print(json.dumps([
    [suite["name"] for suite in make_context(TlsOptions()).get_ciphers()],
    bool(context.options & ssl.OP_NO_TICKET),
]))
"""


def asked(file: Path, *modules: str, **environ: str) -> tuple[list[str], bool]:
    """The suites in order, and whether the machine's file has forbidden tickets."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROGRAM, str(file), *modules],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    suites, no_tickets = json.loads(result.stdout)
    return suites, no_tickets


@pytest.mark.parametrize("text", [DEBIAN, UBUNTU, "", "# nothing\n[ req ]\nprompt = no\n"])
def test_aes_128_comes_first_and_the_rest_of_the_file_counts(tmp_path: Path, text: str) -> None:
    file = tmp_path / "openssl.cnf"
    file.write_text(text)
    suites, no_tickets = asked(file)
    assert suites[:3] == [AES_128, AES_256, "TLS_CHACHA20_POLY1305_SHA256"]
    assert "AES128" in suites[3], "in TLS 1.2, too"
    assert no_tickets == (text is UBUNTU)


def test_what_the_machine_has_said_stays() -> None:
    assert with_suites(FEDORA) is None
    assert with_suites(OWN_ORDER) is None
    assert with_suites(BY_VARIABLE) is None


def test_what_the_operator_has_said_stays(tmp_path: Path) -> None:
    file, own = tmp_path / "openssl.cnf", tmp_path / "own.cnf"
    file.write_text(DEBIAN)
    own.write_text(OWN_ORDER)
    suites, _ = asked(file, OPENSSL_CONF=str(own))
    assert suites[0] == "TLS_CHACHA20_POLY1305_SHA256"


@pytest.mark.parametrize("module", ["ssl", "hashlib"])
def test_too_late_it_changes_nothing(tmp_path: Path, module: str) -> None:
    file = tmp_path / "openssl.cnf"
    file.write_text(DEBIAN)
    suites, _ = asked(file, module)
    assert suites[0] == AES_256


def test_without_a_file_it_changes_nothing(tmp_path: Path) -> None:
    suites, _ = asked(tmp_path / "none.cnf")
    assert suites[0] == AES_256


@given(st.text("[]=. #$\\\nabc" + "é", max_size=60))
def test_any_text_is_answered(text: str) -> None:
    changed = with_suites(text)
    assert changed is None or changed.startswith(text)
