"""How a request's head goes on to the backend: decided once for a head, and kept with it."""

from __future__ import annotations

from proxy.http.head import HTTP_1_1, RequestHead
from proxy.http.headers import (
    UPGRADE_WEBSOCKET,
    Field,
    field_lines,
    http2_request_fields,
    request_forwardable,
    request_framing,
    request_lines,
    via,
)
from proxy.routing import Route, SiteRoutes
from proxy.upstream.pool import Pool


class Forwarding:
    """How a head goes on: which site and route it belongs to, and what the backend is sent.

    It depends on the head and the configuration alone, so it is made once for a head and kept with
    it (``RequestHead.plan``); what a connection adds is appended per request.

    Attributes:
        maker: the application that made it; a plan is good for that one only.
        head: all of the upstream's head but the connection's part and the empty line.
        tunnel: a WebSocket upgrade is asked for.
        too_large: the body's declared length is over the route's limit.
        changes_response: the route has rules for the response's headers.
    """

    __slots__ = (
        "_http2",
        "changes_response",
        "head",
        "maker",
        "route",
        "site",
        "too_large",
        "tunnel",
    )

    def __init__(
        self, maker: object, head: RequestHead, site: SiteRoutes[Pool], route: Route[Pool]
    ) -> None:
        fields = head.fields
        self.maker = maker
        self.site = site
        self.route = route
        self.too_large = bool(route.body_bytes) and fields.length > route.body_bytes
        self.changes_response = bool(route.response_rules)
        self.tunnel = fields.websocket and head.method == b"GET" and head.version >= HTTP_1_1
        parts = [
            head.method,
            b" ",
            route.rewrite(head.target),
            b" HTTP/1.1\r\n",
        ]
        if rules := route.request_rules:
            parts += (request_lines(fields, rules.dropped), rules.lines)
        else:
            parts.append(request_forwardable(fields))
        parts.append(field_lines([via(head.version)]))
        if route.strip:
            parts += (b"X-Forwarded-Prefix: ", route.prefix, b"\r\n")
        if self.tunnel:
            parts.append(UPGRADE_WEBSOCKET)
        else:
            parts.append(request_framing(head.method, fields.length))
        self.head = b"".join(parts)
        self._http2: tuple[bytes, list[Field]] | None = None

    def http2(self, head: RequestHead) -> tuple[bytes, list[Field]]:
        """The same for a backend that speaks HTTP/2: path and fields; made when asked for."""
        known = self._http2
        if known is None:
            route = self.route
            added = list(route.request_rules.fields)
            if route.strip:
                added.append((b"X-Forwarded-Prefix", route.prefix))
            fields = http2_request_fields(head, route.request_rules.dropped, added)
            known = self._http2 = route.rewrite(head.target), fields
        return known
