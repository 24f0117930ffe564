"""``vestibule check``: is the configuration right, and what would be served?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from proxy.certificate_settings import try_ca_certificates, try_settings
from proxy.commands.own_files import faults
from proxy.config.addresses import TcpAddress, UnixAddress, UpstreamAddress
from proxy.config.load import Loaded
from proxy.config.model import Config, Site
from proxy.errors import CertificateFileError, StartupError
from proxy.processes import find_user
from proxy.tls.pem_files import load_pair

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def check(loaded: Loaded, now: datetime) -> list[str]:
    """Check what can be checked without binding a port or asking anybody; the lines of a report.

    Raises what ``run`` would: ConfigError, StartupError. Nothing is called right before all of it
    has been looked at.
    """
    return list(_report(loaded, now))


def _report(loaded: Loaded, now: datetime) -> Iterator[str]:
    config = loaded.config
    try_settings(config)
    try_ca_certificates(config)
    if config.user is not None:
        find_user(config.user)
    yield f"{loaded.file or 'The configuration'} is right."
    yield f"HTTPS on {', '.join(map(str, config.listen.https))}"
    http = ", ".join(map(str, config.listen.http))
    yield f"HTTP  on {http} (challenges, redirects)" if http else "HTTP  is off"
    for site in config.sites:
        yield ""
        yield ", ".join(site.names)
        for line in (*_backends(site), *_certificate(config, site, now), *_hints(site)):
            yield f"  {line}"


def _backends(site: Site) -> Iterator[str]:
    if site.app is not None:
        yield f"/ -> app {site.app} in {site.app_dir}"
    elif site.upstreams:
        yield f"/ -> {', '.join(map(str, site.upstreams))}"
    for route in site.routes:
        to = ", ".join(map(str, route.upstreams)) or "the site's"
        yield f"{route.path} -> {to}{' (prefix stripped)' if route.strip_prefix else ''}"


def _certificate(config: Config, site: Site, now: datetime) -> Iterator[str]:
    if site.certificate is None:
        found = config.acme_of(site)
        issuers = ", else ".join(issuer.name for issuer in found.issuers)
        types = " and ".join(found.key_types)
        when = " when a name is first asked for" if site.on_demand else ""
        yield f"certificate from {issuers} ({types}){when}"
        return
    try:
        pair = load_pair(site.certificate.chain, site.certificate.key)
    except CertificateFileError as error:
        raise StartupError(f"{site.names[0]}: {error}") from error
    yield f"certificate {site.certificate.chain}, until {pair.not_after:%Y-%m-%d %H:%M} UTC"
    for warning in (*faults(site, pair, now), *pair.warnings):
        yield f"warning: {warning}"


def _hints(site: Site) -> Iterator[str]:
    """What an app must be told to believe us about its client (Uvicorn's --help has both)."""
    every = {*site.upstreams, *(address for route in site.routes for address in route.upstreams)}
    for address in sorted(every, key=str):
        if hint := _hint(address):
            yield hint


def _hint(address: UpstreamAddress) -> str | None:
    match address:
        case UnixAddress(path):
            return f"hint: start its app with uvicorn --uds {path} --forwarded-allow-ips '*'"
        case TcpAddress(host) if host not in LOOPBACK:
            return (
                f"hint: {address} believes this proxy with "
                "uvicorn --forwarded-allow-ips <address of this machine>"
            )
    return None
