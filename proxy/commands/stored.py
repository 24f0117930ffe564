"""What ``certs explain`` and ``doctor`` find in the store."""

from __future__ import annotations

from datetime import UTC, datetime

from acme_client import CertificateRequest, Store, StoredCertificate, StoreError
from acme_client.documents import read_document
from acme_client.errors import DamagedDocument
from acme_client.probes import Finding, Level, Wanted
from acme_client.state import CertificateState, document_name


def look_at_store(store: Store) -> Finding:
    try:
        store.check_writable()
    except StoreError as error:
        return Finding(Level.PROBLEM, "store", str(error))
    return Finding(Level.OK, "store", "can be written, and keeps private files private")


def look_at_stored(store: Store, request: CertificateRequest) -> tuple[list[Wanted], list[Finding]]:
    """What there is of each key type."""
    wanted, findings = [], []
    several = len(request.key_types) > 1
    for key_type in request.key_types:
        stored = None
        try:
            stored = store.load_certificate(request.certificate_id(key_type))
        except StoreError as error:
            findings.append(Finding(Level.PROBLEM, "stored", f"{key_type}: {error}"))
        else:
            findings.append(_judge_stored(key_type, stored))
        fingerprint = stored.fingerprint if stored is not None else None
        wanted.append(Wanted(fingerprint, key_type if several else None))
    return wanted, [*findings, *judge_records(store, request)]


def judge_records(store: Store, request: CertificateRequest) -> list[Finding]:
    """What is remembered besides the certificate, where that is damaged."""
    findings = []
    for certificate_id in request.certificate_ids:
        try:
            read_document(store, document_name(certificate_id), CertificateState.from_json)
        except DamagedDocument as error:
            text = (
                f"{error.place} is damaged ({error.fault}); "
                "the certificate manager puts it aside and begins anew"
            )
            findings.append(Finding(Level.NOTE, "stored", text))
    return findings


def _judge_stored(key_type: str, stored: StoredCertificate | None) -> Finding:
    if stored is None:
        return Finding(Level.OK, "stored", f"{key_type}: none yet")
    text = f"{key_type}: from {stored.directory}, valid until {stored.not_after:%Y-%m-%d %H:%M} UTC"
    if stored.not_after <= datetime.now(UTC):
        return Finding(Level.PROBLEM, "stored", f"{text}: expired")
    return Finding(Level.OK, "stored", text)
