"""The internal CA: certificates for development, from this machine.

It is one more issuer, so that everything around it (schedule, store, hot swap) is what also runs
in production. A root for ten years is made once and is what people tell their clients to trust;
under it an intermediate for seven days signs leaves for twelve hours. The intermediate is made
anew when half of its time is left, which outlasts every leaf by days.

Both keys lie in the store, private. The root's certificate is published as ``internal-ca.pem``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_client.checks import check_pair
from acme_client.directories import INTERNAL
from acme_client.documents import read_document
from acme_client.errors import IssuerError
from acme_client.issuer import Environment, IssuanceTask, RenewalInfo
from acme_client.keys import (
    CertificateKey,
    certificate_key_from_pem,
    generate_key,
    key_to_pem,
)
from acme_client.names import ip_address
from acme_client.store.interface import NewCertificate, Store, StoredCertificate
from acme_client.waiting import in_turn
from acme_client.worker import on_disk

logger = logging.getLogger(__name__)

DOCUMENT = "internal-ca"
ROOT_FILE = "internal-ca.pem"

ROOT_LIFETIME = timedelta(days=3652)
INTERMEDIATE_LIFETIME = timedelta(days=7)
LEAF_LIFETIME = timedelta(hours=12)

ROOT_SPARE = timedelta(days=30)
INTERMEDIATE_SPARE = INTERMEDIATE_LIFETIME / 2
"""With less than this left, a new one is made."""

BACKDATE = timedelta(minutes=5)
"""For clients whose clock is a little behind."""
ROOT_BACKDATE = timedelta(days=7)
"""People trust the root by hand: a clock set back after it was made must not cost them that."""

LOCK_WAIT = 0.1
LOCK_TRIES = 50


@dataclass(frozen=True, slots=True)
class Authority:
    """One CA certificate and its key."""

    certificate: x509.Certificate
    key: CertificateKey

    def fits(self, now: datetime, spare: timedelta) -> bool:
        """Whether it is valid and will be for this much longer."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return begin <= now < end - spare


@dataclass(frozen=True, slots=True)
class InternalIssuer:
    """An issuer that signs by itself; see :class:`acme_client.issuer.Issuer`."""

    name: str = INTERNAL
    leaf_lifetime: timedelta = LEAF_LIFETIME

    @property
    def directory(self) -> str:
        return INTERNAL

    async def issue(self, task: IssuanceTask, environment: Environment) -> NewCertificate:
        now = environment.clock.now()
        _, intermediate = await self._authorities(environment)

        def sign() -> NewCertificate:
            key = generate_key(task.key_type)
            leaf = _sign_leaf(task.request.names, key, intermediate, now, now + self.leaf_lifetime)
            return NewCertificate(
                chain_pem=_to_pem(leaf) + _to_pem(intermediate.certificate),
                key_pem=key_to_pem(key),
                directory=self.directory,
            )

        return await on_disk(sign)

    async def settle(self, task: IssuanceTask, environment: Environment) -> None:
        """Nothing is kept: a signature takes no longer than looking for an old one."""

    async def renewal_info(
        self, certificate: StoredCertificate, environment: Environment
    ) -> RenewalInfo | None:
        return None

    async def revoke(
        self, certificate: StoredCertificate, reason: int, environment: Environment
    ) -> None:
        raise IssuerError("the internal CA cannot revoke; its certificates end within hours")

    async def publish_root(self, environment: Environment) -> Path:
        """Make sure that there is a root, and say where its certificate is (for ``--cacert``)."""
        root, _ = await self._authorities(environment)
        return await on_disk(
            lambda: environment.store.publish(ROOT_FILE, _to_pem(root.certificate))
        )

    async def _authorities(self, environment: Environment) -> tuple[Authority, Authority]:
        store, clock = environment.store, environment.clock
        return await in_turn(
            lambda: on_disk(lambda: _load_or_make(store, clock.now())),
            clock,
            every=LOCK_WAIT,
            tries=LOCK_TRIES,
            too_long=IssuerError("another process has been making the internal CA for too long"),
        )


def _load_or_make(store: Store, now: datetime) -> tuple[Authority, Authority]:
    found = _load(store)
    if found is not None and _both_fit(*found, now):
        return found
    with store.lock(DOCUMENT):
        found = _load(store)  # somebody else may have made it meanwhile
        if found is not None and _both_fit(*found, now):
            return found
        keep_root = found is not None and found[0].fits(now, ROOT_SPARE)
        root = found[0] if found is not None and keep_root else _make_root(now)
        intermediate = _make_intermediate(root, now)
        store.save_document(
            DOCUMENT,
            {
                "root_pem": _to_pem(root.certificate),
                "root_key_pem": key_to_pem(root.key),
                "intermediate_pem": _to_pem(intermediate.certificate),
                "intermediate_key_pem": key_to_pem(intermediate.key),
            },
        )
        store.publish(ROOT_FILE, _to_pem(root.certificate))
    return root, intermediate


def _both_fit(root: Authority, intermediate: Authority, now: datetime) -> bool:
    return root.fits(now, ROOT_SPARE) and intermediate.fits(now, INTERMEDIATE_SPARE)


def _load(store: Store) -> tuple[Authority, Authority] | None:
    return read_document(
        store,
        DOCUMENT,
        lambda document: (
            _authority(document["root_pem"], document["root_key_pem"]),
            _authority(document["intermediate_pem"], document["intermediate_key_pem"]),
        ),
    )


def _authority(certificate_pem: str, key_pem: str) -> Authority:
    check_pair(certificate_pem, key_pem)
    return Authority(
        x509.load_pem_x509_certificate(certificate_pem.encode()),
        certificate_key_from_pem(key_pem),
    )


def _make_root(now: datetime) -> Authority:
    key = generate_key("p256")
    # The year tells two roots apart in a trust store; the key identifier does so for software.
    subject = _subject(f"Vestibule Local CA {now:%Y-%m-%d}")
    certificate = _sign(
        subject=subject,
        issuer=subject,
        key=key,
        signer=key,
        begin=now - ROOT_BACKDATE,
        end=now + ROOT_LIFETIME,
        path_length=1,
        san=None,
    )
    logger.info("made a local CA, valid until %s", certificate.not_valid_after_utc.date())
    return Authority(certificate, key)


def _make_intermediate(root: Authority, now: datetime) -> Authority:
    key = generate_key("p256")
    certificate = _sign(
        subject=_subject("Vestibule Local Intermediate"),
        issuer=root.certificate.subject,
        key=key,
        signer=root.key,
        begin=max(now - BACKDATE, root.certificate.not_valid_before_utc),
        end=min(now + INTERMEDIATE_LIFETIME, root.certificate.not_valid_after_utc),
        path_length=0,
        san=None,
    )
    return Authority(certificate, key)


def _sign_leaf(
    names: tuple[str, ...],
    key: CertificateKey,
    intermediate: Authority,
    now: datetime,
    end: datetime,
) -> x509.Certificate:
    san: list[x509.GeneralName] = []
    for name in names:
        address = ip_address(name)
        san.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
    return _sign(
        subject=x509.Name([]),
        issuer=intermediate.certificate.subject,
        key=key,
        signer=intermediate.key,
        begin=max(now - BACKDATE, intermediate.certificate.not_valid_before_utc),
        end=min(end, intermediate.certificate.not_valid_after_utc),
        path_length=None,
        san=san,
    )


def _sign(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateKey,
    signer: CertificateKey,
    begin: datetime,
    end: datetime,
    path_length: int | None,
    san: list[x509.GeneralName] | None,
) -> x509.Certificate:
    is_ca = san is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_key_usage(is_ca, key), critical=True)
    )
    if san is not None:
        # RFC 5280 §4.2.1.6: with an empty subject this extension must be critical.
        builder = builder.add_extension(
            x509.SubjectAlternativeName(san), critical=True
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _key_usage(is_ca: bool, key: CertificateKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        # RFC 8446 needs signatures only; TLS 1.2 key transport, which this would allow, is off.
        key_encipherment=not is_ca and not isinstance(key, ec.EllipticCurvePrivateKey),
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
