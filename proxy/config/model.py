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

from proxy.config.acme import AcmeTable, ForSite, OnDemandTable, SiteAcme, for_site
from proxy.config.acme_faults import (
    Fault,
    faults_of_acme,
    faults_of_on_demand,
    faults_of_site,
)
from proxy.config.addresses import H2cAddress, TcpAddress, UpstreamAddress
from proxy.config.fields import (
    ANY_NAME,
    App,
    Bytes,
    Count,
    File,
    HashBy,
    LimitsField,
    Listen,
    Name,
    Network,
    RoutePath,
    Seconds,
    Section,
    SiteName,
    Statuses,
    Storage,
    Upstream,
    Weight,
    Workers,
    refusal,
    shared,
)
from proxy.http.header_rules import HeaderRules
from proxy.limits import Limits
from proxy.upstream.balance import Policy

LogLevel = Literal["critical", "error", "warning", "info", "debug"]
HttpEngine = Literal["auto", "h11", "httptools"]


class ListenTable(Section):
    """``[listen]``: where the parent binds."""

    https: tuple[Listen, ...] = Field(default=(TcpAddress("::", 443),), min_length=1)
    http: tuple[Listen, ...] = (TcpAddress("::", 80),)
    """Challenge answers and redirects to HTTPS; may be empty."""
    proxy_protocol: tuple[Listen, ...] = ()
    """Those of the above that take connections from trusted_proxies only, and expect each to begin
    with a PROXY protocol header."""


class LogTable(Section):
    """``[log]``."""

    level: LogLevel = "info"
    access: bool = True


class CertificateFiles(Section):
    """A certificate from another tool, followed when its files are replaced."""

    chain: File
    key: File


class Balancing(Section):
    """How requests are spread over the upstreams, and what each upstream may be given."""

    policy: Policy = "round_robin"
    hash_by: HashBy = "address"
    """For policy hash: address, header:NAME or cookie:NAME."""
    weights: tuple[Weight, ...] = ()
    """One for each upstream, in their order; empty: all alike."""
    connections: Bytes = 0
    """Requests in flight at most, per upstream and worker; 0: unlimited."""
    queue: Bytes = 128
    """Requests that may wait for an upstream with room, per worker; then 503."""
    queue_timeout: Seconds = 10.0
    failures: Count = 3
    """So many failed requests..."""
    within: Seconds = 10.0
    """...within so many seconds, and an upstream is avoided..."""
    out_for: Seconds = 10.0
    """...for so many; then one request tries it."""
    proxy_protocol: Literal["off", "v1", "v2"] = "off"
    """Announce the client to the backend; costs a connection for each request."""


class HealthCheck(Section):
    """A request of our own, now and then; an upstream that fails it gets no others."""

    path: RoutePath = "/"
    host: Name | None = None
    """The Host header of the check; None: the site's first name."""
    interval: Seconds = 10.0
    timeout: Seconds = 5.0
    expected: Statuses = "200-399"
    rise: Count = 2
    """Good checks in a row that bring an upstream back."""
    fall: Count = 3
    """Bad checks in a row that take it out."""


class HeaderChanges(Section):
    """Headers set (in place of any there were) and removed."""

    request_set: dict[str, str] = Field(default_factory=dict)
    request_remove: tuple[str, ...] = ()
    response_set: dict[str, str] = Field(default_factory=dict)
    response_remove: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> HeaderChanges:
        try:
            HeaderRules(self.request_set, self.request_remove)
            HeaderRules(self.response_set, self.response_remove)
        except ValueError as error:
            raise refusal(str(error)) from None
        return self


class Route(Section):
    """What happens to requests whose path starts with ``path``; the longest one wins."""

    path: RoutePath
    strip_prefix: bool = False
    upstreams: tuple[Upstream, ...] = ()
    """Empty: the site's."""
    body_bytes: Bytes | None = None
    """Largest request body; None: ``limits.body_bytes``, 0: unlimited."""
    balancing: Balancing | None = None
    """None: the site's; so for the next two."""
    health_check: HealthCheck | None = None
    headers: HeaderChanges | None = None


class ClientCertificates(Section):
    """Who may connect: clients with a certificate of this CA."""

    ca: File
    mode: Literal["required", "optional"] = "required"
    """optional: a client without one is let in too; a bad one never is."""


class Site(Section):
    """Some host names, their certificate, and where their requests go."""

    names: tuple[SiteName, ...] = Field(min_length=1)
    """Where ``on_demand`` is set they stand for many; left out there: for any name."""
    on_demand: bool = False
    """Whether each name gets a certificate when it is first asked for."""
    upstreams: tuple[Upstream, ...] = ()
    app: App | None = None
    app_workers: Count = 1
    app_dir: File | None = None
    """The app's working directory, first on its import path; None: the configuration's folder."""
    certificate: CertificateFiles | None = None
    """None: from ``[acme]``."""
    acme: SiteAcme | None = None
    """What is different from ``[acme]``."""
    client_certificates: ClientCertificates | None = None
    """None: clients are not asked for one."""
    balancing: Balancing = Field(default_factory=shared(Balancing))
    health_check: HealthCheck | None = None
    """None: upstreams are not checked."""
    headers: HeaderChanges = Field(default_factory=shared(HeaderChanges))
    routes: tuple[Route, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _any_name_on_demand(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("on_demand") is True and "names" not in value:
            return {**value, "names": [ANY_NAME]}
        return value


class Config(Section):
    """Everything."""

    storage: Storage = "file:./state"
    workers: Workers = "auto"
    user: str | None = Field(default=None, min_length=1)
    """Whom to become after the sockets are bound, when started as root."""
    http: HttpEngine = "auto"
    default_site: Name | None = None
    """The name whose site answers clients that send no server name; None: they are refused."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For, X-Forwarded-Proto and PROXY protocol are believed."""
    listen: ListenTable = ListenTable()
    acme: AcmeTable = AcmeTable()
    on_demand: OnDemandTable | None = None
    """Certificates for names that are not in the configuration."""
    python_path: File | None = None
    """Where ``ask`` and hooks are imported from; None: the configuration's folder."""
    limits: LimitsField = Limits()
    log: LogTable = LogTable()
    sites: tuple[Site, ...] = Field(min_length=1)

    def acme_of(self, site: Site) -> ForSite:
        """How the certificates of a site are obtained."""
        return for_site(self.acme, site.acme, has_http=bool(self.listen.http))

    @property
    def obtains(self) -> bool:
        """Whether there is a certificate that we are to obtain."""
        return any(site.certificate is None for site in self.sites)

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


def _faults_between_keys(config: Config) -> Iterator[Fault]:
    owners: dict[str, int] = {}
    for i, site in enumerate(config.sites):
        here = ("sites", i)
        for j, name in enumerate(site.names):
            if name in owners:
                other = "this site" if owners[name] == i else f"sites[{owners[name]}]"
                yield (*here, "names", j), f"{name!r} is already a name of {other}", name
            owners.setdefault(name, i)
        if site.certificate is None:
            found = config.acme_of(site)
            yield from faults_of_site(
                config.acme, site.acme, found, site.names, here, on_demand=site.on_demand
            )
        else:
            for key in ("acme", "on_demand"):
                if getattr(site, key):
                    message = "stands beside certificate; a site has one or the other"
                    yield (*here, key), message, getattr(site, key)
        yield from _faults_of_backends(site, here)
    if config.listen.proxy_protocol and not config.trusted_proxies:
        message = "must name who may send PROXY headers to listen.proxy_protocol"
        yield ("trusted_proxies",), message, config.trusted_proxies
    if config.default_site is not None and config.default_site not in owners:
        known = ", ".join(owners)
        message = f"{config.default_site!r} is no site's name; allowed are {known}"
        yield ("default_site",), message, config.default_site
    yield from faults_of_acme(config.acme)
    sites = [(site.names, site.on_demand) for site in config.sites]
    yield from faults_of_on_demand(config.on_demand, sites)
    yield from _faults_of_listeners(config.listen)


def _faults_of_backends(site: Site, here: tuple[str | int, ...]) -> Iterator[Fault]:
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
    yield from _faults_of_balancing(site.balancing, site.upstreams, here)
    paths: set[str] = set()
    for k, route in enumerate(site.routes):
        if route.path in paths:
            yield (*here, "routes", k, "path"), f"{route.path!r} stands here twice", route.path
        paths.add(route.path)
        if route.balancing is not None:
            upstreams = route.upstreams or site.upstreams
            yield from _faults_of_balancing(route.balancing, upstreams, (*here, "routes", k))
        if not has_backend and not route.upstreams:
            message = "is empty, and so are the site's; write upstreams = ['127.0.0.1:8000']"
            yield (*here, "routes", k, "upstreams"), message, route.upstreams


def _faults_of_balancing(
    balancing: Balancing, upstreams: tuple[UpstreamAddress, ...], here: tuple[str | int, ...]
) -> Iterator[Fault]:
    weights = balancing.weights
    if weights and len(weights) != len(upstreams):
        message = f"has {len(weights)} weights for {len(upstreams)} upstreams; give one for each"
        yield (*here, "balancing", "weights"), message, weights
    announced = balancing.proxy_protocol
    if announced != "off" and any(isinstance(address, H2cAddress) for address in upstreams):
        message = f"{announced!r} announces one client, and h2c:// connections are shared by many"
        yield (*here, "balancing", "proxy_protocol"), message, announced


def _faults_of_listeners(listen: ListenTable) -> Iterator[Fault]:
    seen: dict[TcpAddress, str] = {}
    for key, addresses in (("https", listen.https), ("http", listen.http)):
        for j, address in enumerate(addresses):
            if address in seen and address.port != 0:
                message = f"{str(address)!r} is already in listen.{seen[address]}"
                yield ("listen", key, j), message, address
            seen.setdefault(address, key)
    for j, address in enumerate(listen.proxy_protocol):
        if address not in seen:
            message = f"{str(address)!r} is neither in listen.https nor in listen.http"
            yield ("listen", "proxy_protocol", j), message, address
