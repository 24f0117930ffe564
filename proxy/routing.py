"""Where a request goes: host name to site, longest path prefix to route.

Pure, and generic in what a route leads to (``Pool``): the composition root puts connection pools
there, tests put strings.

A prefix matches whole segments only: ``/api/v1`` matches ``/api/v1`` and ``/api/v1/app``, never
``/api/v10``. The target's bytes are compared as they came, without decoding or dot-segment
removal, because the backend gets these same bytes: a route decides who answers, and is no access
rule (docs/architecture.md, "Paths").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.http.header_rules import NO_RULES, HeaderRules

Pool = TypeVar("Pool")


@dataclass(frozen=True, slots=True, eq=False)
class Route(Generic[Pool]):
    """One path prefix of a site.

    Attributes:
        prefix: without a final slash; empty for the site's root.
        pool: what the requests are handed to.
        strip: the prefix is taken off and told in X-Forwarded-Prefix.
        body_bytes: largest request body; 0 is unlimited.
        request_rules, response_rules: what is changed in the headers.
    """

    prefix: bytes
    pool: Pool
    strip: bool = False
    body_bytes: int = 0
    request_rules: HeaderRules = NO_RULES
    response_rules: HeaderRules = NO_RULES

    def matches(self, target: bytes) -> bool:
        """True when the target's path is the prefix or lies below it."""
        prefix = self.prefix
        return target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in _AFTER_PREFIX

    def rewrite(self, target: bytes) -> bytes:
        """The target as the backend gets it."""
        if not self.strip:
            return target
        rest = target[len(self.prefix) :]
        return rest if rest.startswith(b"/") else b"/" + rest


_AFTER_PREFIX = (b"", b"/", b"?")


class SiteRoutes(Generic[Pool]):
    """The routes of one site, longest prefix first.

    Attributes:
        names: the site's host names; the first one names it in logs.
        root: the only route, when that is the root: the common case needs no search.
    """

    __slots__ = ("_routes", "names", "root")

    def __init__(self, names: tuple[str, ...], routes: list[Route[Pool]]) -> None:
        self.names = names
        self._routes = sorted(routes, key=lambda route: len(route.prefix), reverse=True)
        only = self._routes[0] if len(self._routes) == 1 else None
        self.root = only if only is not None and not only.prefix else None

    def __repr__(self) -> str:
        return f"<SiteRoutes {self.names[0]}>"

    def under(self, name: str) -> SiteRoutes[Pool]:
        """The same routes for another name, as a site of its own."""
        return SiteRoutes((name,), self._routes)

    @property
    def pools(self) -> list[Pool]:
        """The pools of all routes, each once."""
        return list({id(route.pool): route.pool for route in self._routes}.values())

    def route(self, target: bytes) -> Route[Pool] | None:
        """The route of the longest prefix that matches, or None."""
        if self.root is not None:
            return self.root
        for route in self._routes:
            if not route.prefix or route.matches(target):
                return route
        return None


class Router(Generic[Pool]):
    """All sites by host name: exact before wildcard (one label), as for certificates.

    A site named ``*`` gets the names that no other has.
    """

    __slots__ = ("_any", "_exact", "_wildcard")

    def __init__(self, sites: list[SiteRoutes[Pool]]) -> None:
        self._exact: dict[str, SiteRoutes[Pool]] = {}
        self._wildcard: dict[str, SiteRoutes[Pool]] = {}
        self._any: SiteRoutes[Pool] | None = None
        for site in sites:
            self.add(site)

    def add(self, site: SiteRoutes[Pool]) -> None:
        """Let a site have its names, in place of what they had."""
        for name in site.names:
            if name == "*":
                self._any = site
            elif name.startswith("*."):
                self._wildcard[name[2:]] = site
            else:
                self._exact[name] = site

    def remove(self, site: SiteRoutes[Pool]) -> None:
        """Forget a site without wildcards."""
        for name in site.names:
            if self._exact.get(name) is site:
                del self._exact[name]

    def site(self, host_name: str) -> SiteRoutes[Pool] | None:
        """The site of a lower-case host name, or None."""
        site = self._exact.get(host_name)
        if site is None and self._wildcard:
            label, dot, parent = host_name.partition(".")
            if label and dot:
                site = self._wildcard.get(parent)
        return self._any if site is None else site
