"""``vestibule certs list``: the certificates there are, from the store and from own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from acme_client import AcmeClientError, StoredCertificate, open_store
from proxy.certificate_settings import make_requests
from proxy.config.model import Config
from proxy.errors import CertificateFileError, StartupError
from proxy.tls.pem_files import load_pair

HEADINGS = ("NAMES", "STATE", "UNTIL", "FROM")


@dataclass(frozen=True, slots=True)
class Row:
    names: tuple[str, ...]
    state: str
    until: str
    origin: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return " ".join(self.names), self.state, self.until, self.origin


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
            for certificate_id in request.certificate_ids:
                seen.add(certificate_id)
                stored = store.load_certificate(certificate_id)
                yield _stored(stored, now) if stored else Row(request.names, "missing", "-", "-")
        yield from _own_files(config, now) if config else ()
        for certificate_id in store.certificate_ids():
            if certificate_id not in seen and (stored := store.load_certificate(certificate_id)):
                row = _stored(stored, now)
                unused = f"{row.state}, not in the configuration" if config else row.state
                yield Row(row.names, unused, row.until, row.origin)
    except AcmeClientError as error:
        raise StartupError(str(error)) from error


def _stored(stored: StoredCertificate, now: datetime) -> Row:
    state = _state(stored.not_before, stored.not_after, now)
    return Row(tuple(stored.names), state, _date(stored.not_after), stored.directory)


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
