"""Certificates over ACME (RFC 8555): obtained, stored, renewed.

The life of a certificate, module by module::

    request     what is asked for: names, key types
    manager     tends every certificate; plan, renewal, backoff decide what is due, and when
    attempts    what is due is done, and what becomes of it is noted
    failover    ... by the issuers in order
    issuer      what an issuer is; internal is one, acme_issuer the other
    session     an ACME account in use; account makes it, ledger spares the CA
    issuance    an order on its way; placed remembers it, challenges proves the names
    authority   the CA, one request per method; transport and wire do not trust it
    store       generations, state, locks, challenge answers: on disk, one atomic rename each
    checks      nothing is stored or served that does not fit
    trial       ... or that OpenSSL would not serve
    hooks       telling others

A server needs four things from here: requests made from its configuration, a store, a manager run
in one process, and ``store.load_certificate`` in those that terminate TLS.
"""

from __future__ import annotations

from acme_client.acme_issuer import AcmeIssuer, make_issuer
from acme_client.authority import ExternalAccount
from acme_client.challenges.solver import DnsSolver
from acme_client.checks import CertificateFacts, check_pair, describe
from acme_client.clock import Clock, SystemClock
from acme_client.errors import (
    AcmeClientError,
    BadCertificate,
    IssuerError,
    LockHeld,
    Problem,
    RequestError,
    StoreError,
    UnsafeKeyFile,
)
from acme_client.hooks import CertificateEvent, Hook
from acme_client.internal import InternalIssuer
from acme_client.issuer import Environment, Issuer
from acme_client.manager import CertificateManager, CertificateStatus
from acme_client.request import CertificateRequest
from acme_client.store import Store, StoredCertificate, open_store

__all__ = [
    "CertificateRequest",
    "CertificateManager",
    "CertificateStatus",
    "Issuer",
    "AcmeIssuer",
    "ExternalAccount",
    "InternalIssuer",
    "make_issuer",
    "Environment",
    "DnsSolver",
    "open_store",
    "Store",
    "StoredCertificate",
    "check_pair",
    "describe",
    "CertificateFacts",
    "Hook",
    "CertificateEvent",
    "Clock",
    "SystemClock",
    "AcmeClientError",
    "RequestError",
    "BadCertificate",
    "StoreError",
    "LockHeld",
    "UnsafeKeyFile",
    "IssuerError",
    "Problem",
]
