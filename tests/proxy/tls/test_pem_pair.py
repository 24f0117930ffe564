"""proxy.tls.pem_pair"""

from __future__ import annotations

import datetime as dt
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CertificateFileError
from proxy.tls.pem_pair import PemPair, date_fault, parse_pair
from tests.proxy.tls.certificates import NAMES, UTC, Authority, self_signed


def blocks(pem: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----\n"
    return [block + end for block in pem.split(end) if block.strip()]


class TestGoodPairs:
    def test_what_is_read(self, authority: Authority) -> None:
        start, end = dt.datetime(2026, 1, 2, tzinfo=UTC), dt.datetime(2026, 4, 2, tzinfo=UTC)
        pair = authority.issue("A.Example.com", "*.b.example", not_before=start, not_after=end)
        assert pair.key_type == "ECDSA"
        assert pair.names == ("a.example.com", "*.b.example")
        assert (pair.not_before, pair.not_after) == (start, end)
        leaf = ssl.PEM_cert_to_DER_cert(blocks(pair.chain_pem)[0].decode())
        assert pair.fingerprint == hashlib.sha256(leaf).hexdigest()
        assert pair.warnings == ()

    def test_names(self, ecdsa_pair: PemPair) -> None:
        assert ecdsa_pair.names == NAMES
        assert ecdsa_pair.covers("a.example.com")
        assert ecdsa_pair.covers("x.w.example.com")
        assert not ecdsa_pair.covers("w.example.com")
        assert not ecdsa_pair.covers("c.example.com")

    def test_the_key_is_not_in_the_repr(self, ecdsa_pair: PemPair) -> None:
        assert "PRIVATE" not in repr(ecdsa_pair)

    def test_rsa(self, rsa_pair: PemPair) -> None:
        assert rsa_pair.key_type == "RSA"

    def test_ed25519(self) -> None:
        assert self_signed(ed25519.Ed25519PrivateKey.generate(), "a.b").key_type == "Ed25519"

    def test_without_names(self, authority: Authority) -> None:
        ca = authority.root
        assert parse_pair(ca.cert_pem.bytes(), ca.private_key_pem.bytes()).names == ()

    @pytest.mark.parametrize(
        "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS8", "old"]
    )
    def test_forms_of_keys(self, rsa_pair: PemPair, form: PrivateFormat) -> None:
        key = load_pem_private_key(rsa_pair.key_pem, None)
        pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
        assert parse_pair(rsa_pair.chain_pem, pem).key_pem == pem

    def test_other_blocks_and_text_around(self, ecdsa_pair: PemPair) -> None:
        parameters = (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        )
        everything = b"my key\n" + parameters + ecdsa_pair.chain_pem + ecdsa_pair.key_pem
        pair = parse_pair(everything, everything)
        assert pair.key_pem == ecdsa_pair.key_pem
        assert pair.fingerprint == ecdsa_pair.fingerprint


class TestFaults:
    def test_key_of_another_certificate(self, authority: Authority, ecdsa_pair: PemPair) -> None:
        with pytest.raises(CertificateFileError, match=r"b\.key does not belong .* in a\.crt"):
            parse_pair(
                ecdsa_pair.chain_pem,
                authority.issue().key_pem,
                chain_name="a.crt",
                key_name="b.key",
            )

    def test_key_of_another_type(self, ecdsa_pair: PemPair, rsa_pair: PemPair) -> None:
        with pytest.raises(CertificateFileError, match="does not belong"):
            parse_pair(ecdsa_pair.chain_pem, rsa_pair.key_pem)

    def test_leaf_not_first(self, ecdsa_pair: PemPair) -> None:
        leaf, issuer = blocks(ecdsa_pair.chain_pem)
        with pytest.raises(CertificateFileError, match="certificate 2 of 2; the server's own"):
            parse_pair(issuer + leaf, ecdsa_pair.key_pem)

    @pytest.mark.parametrize(
        ("chain", "message"),
        [
            (b"", "the chain holds no certificate"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "the chain cannot be read"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "the chain cannot be read",
            ),
        ],
    )
    def test_no_chain(self, ecdsa_pair: PemPair, chain: bytes, message: str) -> None:
        with pytest.raises(CertificateFileError, match=message):
            parse_pair(chain, ecdsa_pair.key_pem)

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            (b"", "the key holds no private key"),
            (
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "the key cannot be read",
            ),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "the key holds no private key"),
        ],
    )
    def test_no_key(self, ecdsa_pair: PemPair, key: bytes, message: str) -> None:
        with pytest.raises(CertificateFileError, match=message):
            parse_pair(ecdsa_pair.chain_pem, key)

    def test_key_and_chain_exchanged(self, ecdsa_pair: PemPair) -> None:
        with pytest.raises(CertificateFileError, match="the chain holds no certificate"):
            parse_pair(ecdsa_pair.key_pem, ecdsa_pair.chain_pem)

    @pytest.mark.parametrize(
        "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS8", "old"]
    )
    def test_encrypted_key(self, ecdsa_pair: PemPair, form: PrivateFormat) -> None:
        key = load_pem_private_key(ecdsa_pair.key_pem, None)
        pem = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
        with pytest.raises(CertificateFileError, match="the key is encrypted"):
            parse_pair(ecdsa_pair.chain_pem, pem)

    @pytest.mark.parametrize("kind", ["DSA", "Ed448"])
    def test_key_types_that_no_client_takes(self, kind: str) -> None:
        key = dsa.generate_private_key(1024) if kind == "DSA" else ed448.Ed448PrivateKey.generate()
        with pytest.raises(CertificateFileError, match="allowed are ECDSA, RSA, Ed25519"):
            self_signed(key, "a.b")

    def test_a_curve_that_nobody_knows(self, ecdsa_pair: PemPair) -> None:
        der = ssl.PEM_cert_to_DER_cert(blocks(ecdsa_pair.chain_pem)[0].decode())
        p256, unknown = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030177")
        chain = ssl.DER_cert_to_PEM_cert(der.replace(p256, unknown)).encode()
        with pytest.raises(CertificateFileError, match="public key cannot be read"):
            parse_pair(chain, ecdsa_pair.key_pem)

    def test_names_that_cannot_be_read(self) -> None:
        junk = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"junk")
        with pytest.raises(CertificateFileError, match="extensions cannot be read"):
            self_signed(ec.generate_private_key(ec.SECP256R1()), "a.b", junk)

    @given(st.binary(max_size=200), st.integers(0, 3000))
    def test_damaged_pairs(self, ecdsa_pair: PemPair, junk: bytes, place: int) -> None:
        for chain, key in (
            (_damage(ecdsa_pair.chain_pem, junk, place), ecdsa_pair.key_pem),
            (ecdsa_pair.chain_pem, _damage(ecdsa_pair.key_pem, junk, place)),
        ):
            try:
                pair = parse_pair(chain, key)
            except CertificateFileError:
                continue
            # Junk outside the blocks, or in the signature, which is the clients' to check.
            assert pair.key_type == "ECDSA"


def _damage(pem: bytes, junk: bytes, place: int) -> bytes:
    place %= len(pem)
    return pem[:place] + junk + pem[place + len(junk) :]


class TestOrder:
    def test_issuer_of_another_chain(self, authority: Authority, ecdsa_pair: PemPair) -> None:
        leaf = blocks(ecdsa_pair.chain_pem)[0]
        stranger = Authority().root.cert_pem.bytes()
        pair = parse_pair(leaf + stranger, ecdsa_pair.key_pem, chain_name="a.crt")
        assert pair.warnings == (
            "a.crt: certificate 2 of 2 is not the issuer of the one before it; "
            "some clients will not find their way to the root",
        )

    def test_root_and_intermediate_exchanged(
        self, authority: Authority, ecdsa_pair: PemPair
    ) -> None:
        leaf, intermediate = blocks(ecdsa_pair.chain_pem)
        root = authority.root.cert_pem.bytes()
        assert parse_pair(leaf + intermediate + root, ecdsa_pair.key_pem).warnings == ()
        assert parse_pair(leaf + root + intermediate, ecdsa_pair.key_pem).warnings


class TestDates:
    def test_fault(self, authority: Authority) -> None:
        start, end = dt.datetime(2026, 1, 2, tzinfo=UTC), dt.datetime(2026, 4, 2, tzinfo=UTC)
        pair = authority.issue(not_before=start, not_after=end)
        second = dt.timedelta(seconds=1)
        assert date_fault(pair, start) is None
        assert date_fault(pair, end) is None
        assert date_fault(pair, start - second) == "it is not valid before 2026-01-02 00:00 UTC"
        assert date_fault(pair, end + second) == "it expired on 2026-04-02 00:00 UTC"


def test_curves_share_a_key_type() -> None:
    assert self_signed(ec.generate_private_key(ec.SECP384R1()), "a.b").key_type == "ECDSA"
    assert self_signed(rsa.generate_private_key(65537, 2048), "a.b").key_type == "RSA"
