"""The whole configuration as frozen objects; every key has its default here.

A value is checked where it stands (``fields``), what spans several keys in
:func:`_faults_between_keys`. A key exists only when it does something. Paths are as written;
``load`` has made them absolute by the time a :class:`Config` is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from proxy.config.addresses import TcpAddress
from proxy.config.fields import (
    DIRECTORIES,
    INTERNAL,
    App,
    Bytes,
    Count,
    Directory,
    Email,
    File,
    LimitsField,
    Listen,
    Name,
    RoutePath,
    Section,
    Storage,
    Upstream,
    Workers,
    is_ip,
    refusal,
)
from proxy.limits import Limits

LogLevel = Literal["critical", "error", "warning", "info", "debug"]
HttpEngine = Literal["auto", "h11", "httptools"]
Challenge = Literal["http-01"]

_Fault = tuple[tuple[str | int, ...], str, object]


class ListenTable(Section):
    """``[listen]``: where the parent binds."""

    https: tuple[Listen, ...] = Field(default=(TcpAddress("::", 443),), min_length=1)
    http: tuple[Listen, ...] = (TcpAddress("::", 80),)
    """Challenge answers and redirects to HTTPS; may be empty."""


class AcmeTable(Section):
    """``[acme]``: where certificates come from."""

    directory: Directory = "letsencrypt"
    email: Email | None = None
    ca_certificates: File | None = None
    """Trust for the CA's own HTTPS, where it is not public."""
    challenges: tuple[Challenge, ...] = Field(default=("http-01",), min_length=1)

    @property
    def is_internal(self) -> bool:
        return self.directory == INTERNAL


class LogTable(Section):
    """``[log]``."""

    level: LogLevel = "info"
    access: bool = True


class CertificateFiles(Section):
    """A certificate from another tool, followed when its files are replaced."""

    chain: File
    key: File


class Route(Section):
    """What happens to requests whose path starts with ``path``; the longest one wins."""

    path: RoutePath
    strip_prefix: bool = False
    upstreams: tuple[Upstream, ...] = ()
    """Empty: the site's."""
    body_bytes: Bytes | None = None
    """Largest request body; None: ``limits.body_bytes``, 0: unlimited."""


class Site(Section):
    """Some host names, their certificate, and where their requests go."""

    names: tuple[Name, ...] = Field(min_length=1)
    upstreams: tuple[Upstream, ...] = ()
    app: App | None = None
    app_workers: Count = 1
    app_dir: File | None = None
    """The app's working directory, first on its import path; None: the configuration's folder."""
    certificate: CertificateFiles | None = None
    """None: from ``[acme]``."""
    routes: tuple[Route, ...] = ()


class Config(Section):
    """Everything."""

    storage: Storage = "file:./state"
    workers: Workers = "auto"
    user: str | None = Field(default=None, min_length=1)
    """Whom to become after the sockets are bound, when started as root."""
    http: HttpEngine = "auto"
    default_site: Name | None = None
    """The name whose site answers clients that send no server name; None: they are refused."""
    listen: ListenTable = ListenTable()
    acme: AcmeTable = AcmeTable()
    limits: LimitsField = Limits()
    log: LogTable = LogTable()
    sites: tuple[Site, ...] = Field(min_length=1)

    @property
    def state_dir(self) -> Path:
        """The folder of the file store."""
        return Path(self.storage.removeprefix("file:"))

    @model_validator(mode="after")
    def _check_between_keys(self) -> Config:
        faults = list(_faults_between_keys(self))
        if faults:
            raise ValidationError.from_exception_data(
                "Config",
                [
                    InitErrorDetails(type=refusal(message), loc=loc, input=value)
                    for loc, message, value in faults
                ],
            )
        return self


def _faults_between_keys(config: Config) -> Iterator[_Fault]:
    owners: dict[str, int] = {}
    for i, site in enumerate(config.sites):
        here = ("sites", i)
        for j, name in enumerate(site.names):
            if name in owners:
                other = "this site" if owners[name] == i else f"sites[{owners[name]}]"
                yield (*here, "names", j), f"{name!r} is already a name of {other}", name
            owners.setdefault(name, i)
            if site.certificate is None and (reason := _why_no_certificate(name, config.acme)):
                yield (*here, "names", j), reason, name
        yield from _faults_of_backends(site, here)
    if config.default_site is not None and config.default_site not in owners:
        known = ", ".join(owners)
        message = f"{config.default_site!r} is no site's name; allowed are {known}"
        yield ("default_site",), message, config.default_site
    issued = any(site.certificate is None for site in config.sites)
    if issued and not config.acme.is_internal and not config.listen.http:
        message = "must not be empty: the CA asks for http-01 challenges on port 80"
        yield ("listen", "http"), message, config.listen.http
    yield from _faults_of_listeners(config.listen)


def _why_no_certificate(name: str, acme: AcmeTable) -> str | None:
    if acme.is_internal:
        return None
    if is_ip(name):
        return (
            f"{name!r}: {acme.directory} issues no certificate for an IP address here; "
            "give the site a certificate = { chain, key }, or use directory = 'internal'"
        )
    if name.startswith("*."):
        return (
            f"{name!r}: a wildcard cannot be proved over http-01 (RFC 8555 §8.3); "
            "list the names one by one, or give the site a certificate = { chain, key }"
        )
    # Private CAs may well issue for a bare name.
    if "." not in name and acme.directory in DIRECTORIES:
        return (
            f"{name!r} is no public name, so {acme.directory} issues no certificate for it; "
            "use directory = 'internal', or give the site a certificate = { chain, key }"
        )
    return None


def _faults_of_backends(site: Site, here: tuple[str | int, ...]) -> Iterator[_Fault]:
    if site.app is not None and site.upstreams:
        message = f"{site.app!r} stands beside upstreams; a site has one or the other"
        yield (*here, "app"), message, site.app
    if site.app is None:
        for key, default in (("app_workers", 1), ("app_dir", None)):
            if getattr(site, key) != default:
                yield (*here, key), "needs app = 'module:attribute' beside it", getattr(site, key)
    has_backend = bool(site.app or site.upstreams)
    if not has_backend and not site.routes:
        message = "has no backend; give it upstreams = ['127.0.0.1:8000'] or app = 'main:app'"
        yield here, message, site
    paths: set[str] = set()
    for k, route in enumerate(site.routes):
        if route.path in paths:
            yield (*here, "routes", k, "path"), f"{route.path!r} stands here twice", route.path
        paths.add(route.path)
        if not has_backend and not route.upstreams:
            message = "is empty, and so are the site's; write upstreams = ['127.0.0.1:8000']"
            yield (*here, "routes", k, "upstreams"), message, route.upstreams


def _faults_of_listeners(listen: ListenTable) -> Iterator[_Fault]:
    seen: dict[TcpAddress, str] = {}
    for key, addresses in (("https", listen.https), ("http", listen.http)):
        for j, address in enumerate(addresses):
            if address in seen and address.port != 0:
                message = f"{str(address)!r} is already in listen.{seen[address]}"
                yield ("listen", key, j), message, address
            seen.setdefault(address, key)
