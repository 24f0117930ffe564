"""What becomes of a request at each port: forwarded to its site, or redirected, or answered.

An application is a callable that gets an :class:`~proxy.exchange.Exchange` and either hands it to
a route or responds. The decision is pure but for one thing: the answer to an ACME challenge lies
in the store, and is fetched by a callable that the composition root hands in.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from proxy.limits import SECONDS
from proxy.routing import Router, SiteRoutes
from proxy.upstream.pool import Pool

logger = logging.getLogger(__name__)

CHALLENGE_PREFIX: Final = b"/.well-known/acme-challenge/"
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_\-]{22,128}")
"""RFC 8555 §8.3: base64url of at least 128 bits; so it can never be a path."""

MAX_LOOKUPS: Final = 32
"""Challenge answers being fetched at once; a flood of made-up tokens gets 503."""
LOOKUP_SECONDS: Final = 5 * SECONDS

ChallengeAnswer = Callable[[str], Awaitable[str | None]]
"""Token to key authorization, or None for a token that is not ours."""


class ForwardToSites:
    """The HTTPS port: by Host to a site, by path to a route.

    A request may only ask for the site whose certificate its connection was shown: another one's
    rules (client certificates above all) have not been applied to it, so it gets 421
    (RFC 9110 §15.5.20) and the client comes again on a connection of its own.
    """

    __slots__ = ("_router",)

    def __init__(self, router: Router[Pool]) -> None:
        self._router = router

    def __call__(self, exchange: Exchange) -> None:
        plan = exchange.head.plan
        own = exchange.info.site
        if plan is not None and plan.maker is self and (own is plan.site or own is None):
            exchange.forward(plan)
        else:
            self._decide(exchange, own)

    def _decide(self, exchange: Exchange, own: SiteRoutes[Pool] | None) -> None:
        head = exchange.head
        site = self._router.site(head.fields.host_name)
        if site is None or (own is not None and own is not site):
            # The client is on the wrong connection; over HTTP/1.1 it is of no more use to it.
            exchange.refuse(421, close=True)
            return
        if head.method in (b"TRACE", b"CONNECT"):
            # TRACE would reflect the headers that we add. CONNECT is for forward proxies, and
            # what follows it may be meant for a tunnel: never for the next request.
            exchange.refuse(405, close=True)
            return
        route = site.route(head.target)
        if route is None:
            exchange.refuse(404)
        else:
            plan = head.plan = Forwarding(self, head, site, route)
            exchange.forward(plan)


class RedirectToHttps:
    """The HTTP port: challenge answers (RFC 8555 §8.3), otherwise a redirect to HTTPS.

    308 keeps the method and the body. Only hosts that are served are redirected, so the port
    reflects no name of an attacker's choice.
    """

    __slots__ = ("_answer", "_https_port", "_router", "_tasks")

    def __init__(self, router: Router[Pool], https_port: int, answer: ChallengeAnswer) -> None:
        self._router = router
        self._https_port = https_port
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, exchange: Exchange) -> None:
        head = exchange.head
        if head.target.startswith(CHALLENGE_PREFIX):
            self._challenge(exchange)
        elif self._router.site(head.fields.host_name) is None:
            exchange.refuse(421, close=True)
        elif head.method in (b"TRACE", b"CONNECT"):
            exchange.refuse(405, close=True)
        else:
            exchange.respond(308, [(b"Location", self._location(exchange))], b"")

    def _location(self, exchange: Exchange) -> bytes:
        fields = exchange.head.fields
        name = fields.host_name
        host = f"[{name}]" if ":" in name else name
        port = "" if self._https_port == 443 else f":{self._https_port}"
        target = b"/" if exchange.head.target == b"*" else exchange.head.target
        return f"https://{host}{port}".encode("ascii") + target

    def _challenge(self, exchange: Exchange) -> None:
        head = exchange.head
        token = head.target[len(CHALLENGE_PREFIX) :]
        if head.method not in (b"GET", b"HEAD"):
            exchange.refuse(405)
        elif _TOKEN.fullmatch(token) is None:
            exchange.refuse(404)
        elif len(self._tasks) >= MAX_LOOKUPS:
            exchange.refuse(503)
        else:
            task = asyncio.get_running_loop().create_task(
                self._look_up(exchange, token.decode("ascii"))
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _look_up(self, exchange: Exchange, token: str) -> None:
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                answer = await self._answer(token)
        except (OSError, TimeoutError) as error:
            logger.error("the answer to a challenge could not be read: %s", error)
            exchange.refuse(500)
        else:
            if answer is None:
                exchange.refuse(404)
            else:
                fields = [(b"Content-Type", b"application/octet-stream")]
                exchange.respond(200, fields, answer.encode("ascii"))
        exchange.flush()
