from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from acme_client.testing.identifiers import Identifier
from acme_client.testing.pki import DEFECTS, Defect, Leaf, Pki, server_identity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = (Identifier("dns", "a.example"), Identifier("dns", "*.b.example"))


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki(NOW)


def _leaf(*identifiers: Identifier, common_name: bool = False) -> Leaf:
    return Leaf(
        public_key=KEY.public_key(),
        identifiers=identifiers or NAMES,
        not_before=NOW,
        not_after=NOW + timedelta(days=90),
        serial=0x80_00_00_01,
        common_name=common_name,
    )


def _verify(chain: bytes, root: x509.Certificate, name: str = "a.example") -> None:
    leaf, *rest = x509.load_pem_x509_certificates(chain)
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(NOW + timedelta(days=1))
        .build_server_verifier(x509.DNSName(name))
    )
    verifier.verify(leaf, rest)


@pytest.mark.parametrize("common_name", [False, True])
def test_each_chain_leads_to_its_root(pki: Pki, common_name: bool) -> None:
    issued = pki.issue(_leaf(common_name=common_name))
    for chain, root, other in zip(issued.chains, pki.roots, reversed(pki.roots), strict=True):
        _verify(chain, root)
        _verify(chain, root, "x.b.example")
        with pytest.raises(VerificationError):
            _verify(chain, other)
    assert issued.leaf.not_valid_after_utc == NOW + timedelta(days=90)


def test_roots_outlive_decades(pki: Pki) -> None:
    for certificate in (*pki.roots, *pki.intermediates):
        assert certificate.not_valid_after_utc > NOW + timedelta(days=365 * 29)


def test_addresses_and_rsa_keys(pki: Pki) -> None:
    key = rsa.generate_private_key(65537, 2048)
    leaf = _leaf(Identifier("ip", "192.0.2.1"), Identifier("ip", "2001:db8::1"))
    certificate = pki.issue(
        Leaf(
            public_key=key.public_key(),
            identifiers=leaf.identifiers,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
            serial=leaf.serial,
        )
    ).leaf
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(name) for name in names.value.get_values_for_type(x509.IPAddress)] == [
        "192.0.2.1",
        "2001:db8::1",
    ]
    assert names.critical
    assert certificate.public_key() == key.public_key()


def test_a_long_name_stays_out_of_the_subject(pki: Pki) -> None:
    long = Identifier("dns", ".".join(["a" * 30] * 3))
    assert not list(pki.issue(_leaf(long, common_name=True)).leaf.subject)


def test_renewal_id_is_key_identifier_and_serial(pki: Pki) -> None:
    certificate = pki.issue(_leaf()).leaf
    # RFC 9773 §4.1: the serial's DER value, so 0x80000001 has a leading zero.
    key, _, serial = pki.renewal_id(certificate).partition(".")
    assert serial == "AIAAAAE"
    assert len(key) == 27


def test_every_defect_spoils_verification_or_form(pki: Pki) -> None:
    for defect in DEFECTS:
        if defect in ("extra-name", "missing-name", "wrong-key", "with-private-key"):
            continue
        chain = pki.issue(_leaf(), defect).chains[0]
        with pytest.raises((VerificationError, ValueError)):
            _verify(chain, pki.roots[0])


def test_defects_that_still_verify(pki: Pki) -> None:
    def leaf_of(defect: Defect) -> x509.Certificate:
        issued = pki.issue(_leaf(), defect)
        _verify(issued.chains[0], pki.roots[0])
        return x509.load_pem_x509_certificates(issued.chains[0])[0]

    def names_of(certificate: x509.Certificate) -> list[str]:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return names.value.get_values_for_type(x509.DNSName)

    assert leaf_of("wrong-key").public_key() != KEY.public_key()
    assert names_of(leaf_of("extra-name")) == ["a.example", "*.b.example", "extra.invalid"]
    assert names_of(leaf_of("missing-name")) == ["a.example"]
    assert b"PRIVATE KEY" in pki.issue(_leaf(), "with-private-key").chains[0]


def test_a_name_can_only_miss_where_there_are_two(pki: Pki) -> None:
    with pytest.raises(ValueError, match="two or more"):
        pki.issue(_leaf(NAMES[0]), "missing-name")


def test_forms_of_bad_downloads(pki: Pki) -> None:
    count = {
        defect: pki.issue(_leaf(), defect).chains[0].count(b"BEGIN CERTIFICATE")
        for defect in DEFECTS
    }
    assert (count["missing-chain"], count["empty"], count["garbage"]) == (1, 0, 0)
    assert count["wrong-key"] == count["reversed-chain"] == count["wrong-chain"] == 2


def test_server_identity_is_trusted_by_openssl() -> None:
    root, chain, key = server_identity(("127.0.0.1", "localhost", "::1"), NOW)
    context = ssl.create_default_context(cadata=root.decode())
    assert context.cert_store_stats()["x509_ca"] == 1
    assert b"PRIVATE KEY" in key
    names = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert len(names.value.get_values_for_type(x509.IPAddress)) == 2
