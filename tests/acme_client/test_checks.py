"""Checks: what may be served, and what must not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from acme_client.checks import MAX_CHAIN_BYTES, check_pair, covers, describe, parse_chain
from acme_client.errors import BadCertificate
from acme_client.keys import fingerprint, key_to_pem
from tests.acme_client.support import DAY, START, any_key, make_chain, signers, to_pem

NAMES = ("example.com", "*.example.com", "192.0.2.1", "2001:db8::1")
KEY = key_to_pem(any_key())


def test_the_facts() -> None:
    chain = make_chain(NAMES)
    facts = describe(chain)
    assert set(facts.names) == set(NAMES)
    assert (facts.not_before, facts.lifetime) == (START, 90 * DAY)
    assert facts.issuer == "CN=Test Intermediate"
    assert facts.key_type == "p256"
    assert facts.key_fingerprint == fingerprint(any_key().public_key())
    assert int(facts.serial, 16) == parse_chain(chain)[0].serial_number


def test_a_good_pair_passes() -> None:
    check_pair(make_chain(NAMES), KEY, names=NAMES, exact=True, now=START + DAY)


def test_a_good_pair_covers_what_its_wildcard_covers() -> None:
    check_pair(make_chain(NAMES), KEY, names=["www.example.com", "example.com"])


def test_the_key_must_match() -> None:
    with pytest.raises(BadCertificate, match="does not belong"):
        check_pair(make_chain(NAMES), key_to_pem(any_key(1)))


def test_a_key_of_no_use_for_certificates() -> None:
    key = x25519.X25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(BadCertificate, match="does not belong"):
        check_pair(make_chain(NAMES), pem)


@pytest.mark.parametrize("names", [["example.com"], [*NAMES, "other.example"]])
def test_exact_means_neither_more_nor_less(names: list[str]) -> None:
    with pytest.raises(BadCertificate, match="not for exactly"):
        check_pair(make_chain(NAMES), KEY, names=names, exact=True)


@pytest.mark.parametrize("name", ["a.b.example.com", "example.org", "192.0.2.2"])
def test_names_that_are_not_covered_are_named(name: str) -> None:
    with pytest.raises(BadCertificate, match=f"does not cover {name}"):
        check_pair(make_chain(NAMES), KEY, names=[name])


def test_dates() -> None:
    chain = make_chain(NAMES)
    check_pair(chain, KEY, now=START - timedelta(minutes=4))
    with pytest.raises(BadCertificate, match="not valid before 2026-03-01 12:00"):
        check_pair(chain, KEY, now=START - timedelta(minutes=6))
    with pytest.raises(BadCertificate, match="expired on 2026-05-30 12:00"):
        check_pair(chain, KEY, now=START + 90 * DAY)
    check_pair(chain, KEY)  # no date, no opinion


def test_an_expired_chain() -> None:
    chain = make_chain(NAMES, lifetime=9000 * DAY)
    check_pair(chain, KEY, now=START + 3600 * DAY)
    with pytest.raises(BadCertificate, match="'CN=Test Intermediate' expired on"):
        check_pair(chain, KEY, now=START + 3650 * DAY)


def test_the_chain_must_be_signed_link_by_link() -> None:
    root, intermediate = signers()
    check_pair(make_chain(NAMES) + to_pem(root), KEY)
    with pytest.raises(BadCertificate, match="chain is broken"):
        check_pair(make_chain(NAMES, signer=101), KEY)
    leaf = make_chain(NAMES).replace(to_pem(intermediate), "")
    check_pair(leaf, KEY)  # a leaf alone: clients may have the rest
    with pytest.raises(BadCertificate, match="chain is broken"):
        check_pair(leaf + to_pem(root), KEY)
    with pytest.raises(BadCertificate, match="not a CA"):
        check_pair(leaf + leaf, KEY)


@pytest.mark.parametrize("chain", ["", "rubbish", "-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_what_is_no_chain(chain: str) -> None:
    with pytest.raises(BadCertificate):
        check_pair(chain, KEY)


def test_caps_on_the_chain() -> None:
    with pytest.raises(BadCertificate, match="more than 10"):
        parse_chain(to_pem(signers()[0]) * 11)
    with pytest.raises(BadCertificate, match="larger"):
        parse_chain("x" * (MAX_CHAIN_BYTES + 1))


@given(st.binary(max_size=400), st.integers(0, 600))
def test_damaged_chains_raise_nothing_else(noise: bytes, position: int) -> None:
    chain = bytearray(make_chain(["example.com"]).encode())
    chain[position : position + len(noise)] = noise
    try:
        check_pair(chain.decode("ascii", "replace"), KEY, names=["example.com"], now=START)
    except BadCertificate:
        return


def test_covers_one_label() -> None:
    assert covers("*.example.com", "a.example.com")
    assert not covers("*.example.com", "example.com")
    assert not covers("*.example.com", "a.b.example.com")
    assert not covers("*.com", "com")
    assert covers("a.example", "a.example")
