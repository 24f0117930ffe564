"""Trying a certificate in a throw-away context."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from acme_client.errors import BadCertificate
from acme_client.keys import key_to_pem
from acme_client.trial import secret_file, try_certificate
from tests.acme_client.support import any_key, make_chain, make_new


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_a_good_pair_shakes_hands(key_type: str) -> None:
    new = make_new(["a.example"], key_type=key_type)
    try_certificate(new.chain_pem, new.key_pem)


def test_a_key_that_does_not_match() -> None:
    with pytest.raises(BadCertificate, match="OpenSSL cannot serve"):
        try_certificate(make_chain(["a.example"]), key_to_pem(any_key(1)))


@pytest.mark.parametrize("chain", ["", "rubbish"])
def test_no_chain(chain: str) -> None:
    with pytest.raises(BadCertificate, match="OpenSSL cannot serve"):
        try_certificate(chain, key_to_pem(any_key()))


def test_the_key_is_in_memory_only() -> None:
    with secret_file("secret") as path:
        assert path.startswith("/proc/self/fd/")
        assert Path(path).read_text() == "secret"
    assert not os.path.exists(path)


def test_without_anonymous_memory_the_file_is_in_a_private_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with secret_file("secret") as path:
        assert Path(path).read_text() == "secret"
        assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    assert not os.path.exists(path)
    new = make_new(["a.example"])
    try_certificate(new.chain_pem, new.key_pem)
