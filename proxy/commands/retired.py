"""Certificates that are in the store, and that the configuration asks for no more.

Nobody serves or renews them. They lie there until somebody removes them, and whoever has to revoke
one must not have to put its site back for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from acme_client import Store, StoredCertificate
from acme_client.on_demand import remembered
from proxy.certificate_requests import (
    certificate_request,
    obtained_sites,
    on_demand_request,
    on_demand_site,
)
from proxy.config.model import Config


def find_retired(
    config: Config, store: Store, names: Sequence[str]
) -> tuple[list[StoredCertificate], list[str]]:
    """Those that are meant by these names or ids, and the names that mean others.

    What the configuration asks for comes first: a name that moved to another site means that one.
    """
    requests = [certificate_request(config, site) for site in obtained_sites(config)]
    asked_for = {each for r in requests for each in (*r.names, *r.certificate_ids)}
    found: dict[str, StoredCertificate] = {}
    others = []
    for name in names:
        matching: list[StoredCertificate] = []
        if name not in asked_for and on_demand_site(config, name) is None:
            in_care = asked_for | set(on_demand_ids(config, store))
            matching = [each for each in _named(store, name) if each.id not in in_care]
        found.update({stored.id: stored for stored in matching})
        if not matching:
            others.append(name)
    return list(found.values()), others


def on_demand_ids(config: Config, store: Store) -> Iterator[str]:
    """Of the certificates of names on demand that are tended."""
    for name, _ in remembered(store):
        if (site := on_demand_site(config, name)) is not None:
            yield from on_demand_request(config, site, name).certificate_ids


def _named(store: Store, name: str) -> Iterator[StoredCertificate]:
    for certificate_id in store.certificate_ids():
        stored = store.load_certificate(certificate_id)
        if stored is not None and name in (certificate_id, *stored.names):
            yield stored
