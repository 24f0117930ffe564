"""``vestibule certs list``: the certificates there are, from the store and from own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from acme_client import AcmeClientError, Store, StoredCertificate, open_store
from acme_client.documents import read_document
from acme_client.errors import DamagedDocument
from acme_client.state import CertificateState, document_name
from proxy.certificate_settings import make_requests
from proxy.commands.retired import on_demand_ids
from proxy.config.model import Config
from proxy.errors import CertificateFileError, StartupError
from proxy.tls.pem_files import load_pair

HEADINGS = ("ID", "NAMES", "KEY", "STATE", "UNTIL", "FROM")


@dataclass(frozen=True, slots=True)
class Row:
    names: tuple[str, ...]
    state: str
    until: str
    origin: str
    certificate_id: str = "-"
    """What the commands call it; a site's own files have none."""
    key_type: str = "-"

    @property
    def cells(self) -> tuple[str, ...]:
        names = " ".join(self.names)
        return self.certificate_id, names, self.key_type, self.state, self.until, self.origin


def list_certificates(storage: str, config: Config | None, now: datetime) -> Iterator[str]:
    """The lines of a table; without a configuration all that the store has."""
    rows = list(_rows(storage, config, now))
    if not rows:
        yield f"no certificates in {storage}"
        return
    table = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADINGS))]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield line.rstrip()


def _rows(storage: str, config: Config | None, now: datetime) -> Iterator[Row]:
    store = open_store(storage)
    seen: set[str] = set()
    try:
        for request in make_requests(config) if config else ():
            for key_type in request.key_types:
                certificate_id = request.certificate_id(key_type)
                seen.add(certificate_id)
                found = _stored(store, certificate_id, now)
                yield found or Row(
                    request.names,
                    f"missing{_failures(store, certificate_id)}",
                    "-",
                    "-",
                    certificate_id,
                    key_type,
                )
        yield from _own_files(config, now) if config else ()
        on_demand = set(on_demand_ids(config, store)) if config else set()
        for certificate_id in store.certificate_ids():
            if certificate_id in seen or (row := _stored(store, certificate_id, now)) is None:
                continue
            if config:
                why = "on demand" if certificate_id in on_demand else "not in the configuration"
                row = replace(row, state=f"{row.state}, {why}")
            yield row
    except AcmeClientError as error:
        raise StartupError(str(error)) from error


def _stored(store: Store, certificate_id: str, now: datetime) -> Row | None:
    stored: StoredCertificate | None = store.load_certificate(certificate_id)
    if stored is None:
        return None
    return Row(
        tuple(stored.names),
        _state(stored.not_before, stored.not_after, now) + _failures(store, certificate_id),
        _date(stored.not_after),
        stored.directory,
        certificate_id,
        stored.key_type,
    )


def _failures(store: Store, certificate_id: str) -> str:
    """What `certs explain` says more of."""
    try:
        state = read_document(store, document_name(certificate_id), CertificateState.from_json)
    except DamagedDocument:
        return ", its record of attempts is damaged"
    if state is None or not state.failures:
        return ""
    return f", failed {state.failures} time{'s' if state.failures > 1 else ''}"


def _own_files(config: Config, now: datetime) -> Iterator[Row]:
    for site in config.sites:
        if site.certificate is None:
            continue
        origin = str(site.certificate.chain)
        try:
            pair = load_pair(site.certificate.chain, site.certificate.key)
        except CertificateFileError as error:
            yield Row(site.names, f"unusable: {error}", "-", origin)
            continue
        state = _state(pair.not_before, pair.not_after, now)
        yield Row(site.names, state, _date(pair.not_after), origin)


def _state(not_before: datetime, not_after: datetime, now: datetime) -> str:
    if now > not_after:
        return "expired"
    return "not yet valid" if now < not_before else "valid"


def _date(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M} UTC"
