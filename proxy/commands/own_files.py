"""What is wrong with a site's own certificate, although it can be loaded and served.

A server must start with it: an hour of warnings in browsers is better than one without the other
sites. So it is told wherever somebody looks: ``check``, ``doctor``, and at the start of ``run``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from proxy.config.fields import is_ip
from proxy.config.model import Site
from proxy.tls.pem_pair import PemPair, date_fault


def faults(site: Site, pair: PemPair, now: datetime) -> Iterator[str]:
    """Why clients will refuse this pair; ``pair.warnings`` is what only some of them mind."""
    if fault := date_fault(pair, now):
        yield fault
    for name in site.names:
        # A pair knows its DNS names only.
        if not is_ip(name) and not (name in pair.names or pair.covers(name)):
            yield f"the certificate does not cover {name}"
