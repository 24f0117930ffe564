"""What the configuration asks ``acme_client`` for.

The manager obtains certificates under ids that workers load them by. Both take their requests from
here, so both have the same ids. What only the manager needs (secrets, DNS providers) it adds
itself; nothing here reads a file or imports the data plane.
"""

from __future__ import annotations

from collections.abc import Iterator

from acme_client import CertificateRequest
from proxy.config.fields import ANY_NAME
from proxy.config.model import Config, Site
from proxy.tls.names import WILDCARD, parent


def certificate_request(config: Config, site: Site) -> CertificateRequest:
    """What is asked for on behalf of a site; RequestError where that cannot be had."""
    found = config.acme_of(site)
    own = site.acme is not None and site.acme.issuers is not None
    return CertificateRequest(
        names=site.names,
        key_types=found.key_types,
        challenges=found.challenges,
        issuers=tuple(issuer.name for issuer in found.issuers) if own else (),
        profile=found.profile,
        preferred_chain=found.preferred_chain,
    )


def obtained_sites(config: Config) -> Iterator[Site]:
    """The sites of which each gets one certificate (of each key type) from a CA."""
    for site in config.sites:
        if site.certificate is None and not site.on_demand:
            yield site


def on_demand_site(config: Config, name: str) -> Site | None:
    """The site that a name gets a certificate for on demand, the narrowest first."""
    by_name = {pattern: site for site in config.sites if site.on_demand for pattern in site.names}
    return by_name.get(WILDCARD + parent(name)) or by_name.get(ANY_NAME)


def on_demand_request(config: Config, site: Site, name: str) -> CertificateRequest:
    """What is asked for when a client wants this name, which ``site`` would serve."""
    return certificate_request(config, _under(site, name))


def _under(site: Site, name: str) -> Site:
    return site.model_copy(update={"names": (name,)})
