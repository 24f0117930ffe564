"""Active health checks: a small GET now and then, on a connection of its own.

A check goes the way requests go: the same connection class, the same strict reading of what comes
back. So a backend that answers in a way that no client could be given fails its check too. Each
worker checks for itself; the spread of the interval keeps them from checking in step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.errors import ProtocolError, UpstreamError
from proxy.http.head import HTTP_1_1, RequestFields, RequestHead, ResponseHead
from proxy.http.headers import Field, Trailers
from proxy.limits import SWEEP_SECONDS
from proxy.upstream.balance import DOWN
from proxy.upstream.health import ActivePolicy, UpstreamHealth
from proxy.upstream.http1 import UpstreamConnection
from proxy.upstream.http2 import Http2UpstreamConnection
from proxy.upstream.http2_stream import UpstreamSide, UpstreamStream

logger = logging.getLogger(__name__)

OpenConnection = Callable[[], Awaitable[UpstreamSide]]

_USER_AGENT: Final = b"vestibule-check"


class CheckHome:
    """The home of a check's connection, which serves nobody else and is nobody's to count."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def give_back(self, connection: UpstreamConnection) -> None:
        connection.close_idle()

    def forget(self, connection: UpstreamConnection) -> None:
        """It was never remembered."""

    def ended(self, stream: UpstreamStream) -> None:
        stream.connection.close()

    def streams_allowed(self, count: int) -> None:
        """One is enough."""

    def gone(self, connection: Http2UpstreamConnection) -> None:
        """As for ``forget``."""


class _Verdict:
    """Hears the response to a check (a StreamSink); only the status is of interest."""

    tunnel = False
    request_trailers: Trailers = ()

    def __init__(
        self, head: RequestHead, request_head: bytes, status: asyncio.Future[int | None]
    ) -> None:
        self.head = head
        self.request_head = request_head
        self._status = status

    def http2_request(self) -> tuple[bytes, list[Field]]:
        return self.head.target, [(b"user-agent", _USER_AGENT)]

    def _settle(self, status: int | None) -> None:
        if not self._status.done():
            self._status.set_result(status)

    def response_whole(self, head: ResponseHead, length: int | None, data: bytes) -> None:
        self._settle(head.status)

    def response_head(self, head: ResponseHead, length: int | None) -> None:
        if head.status >= 200:
            self._settle(head.status)

    def response_upgrade(self, head: ResponseHead) -> None:
        self._settle(None)

    def response_data(self, data: bytes | memoryview) -> None:
        """The body says nothing."""

    def response_end(self, trailers: Trailers = ()) -> None:
        """The status has been noted."""

    def tunnel_received(self, data: bytes | memoryview) -> None:
        self._settle(None)

    def response_tunnel_end(self) -> None:
        self._settle(None)

    def tunnel_closed(self) -> None:
        self._settle(None)

    def upstream_failed(self, error: UpstreamError | ProtocolError, *, untouched: bool) -> None:
        self._settle(None)

    def upstream_writable(self, writable: bool) -> None:
        """The request is far smaller than any buffer."""

    def flush(self) -> None:
        """Nothing is written to anybody."""


async def check(open_connection: OpenConnection, policy: ActivePolicy) -> int | None:
    """Ask once; the status, or None when there was no usable response in time."""
    try:
        async with asyncio.timeout(policy.timeout):
            connection = await open_connection()
            status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
            target = policy.path.encode("ascii")
            fields = RequestFields([])
            fields.host = policy.host.encode("ascii")
            head = RequestHead(b"GET", target, HTTP_1_1, fields)
            request = (
                b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n"
                b"Connection: close\r\n\r\n" % (target, fields.host, _USER_AGENT)
            )
            try:
                connection.request(_Verdict(head, request, status))
                return await status
            finally:
                connection.discard()
    except (TimeoutError, UpstreamError):
        return None


async def keep_checking(
    name: str,
    health: UpstreamHealth,
    open_connection: OpenConnection,
    time: Callable[[], float],
) -> None:
    """Check an upstream for ever; its state is what balancing looks at."""
    active = health.active
    assert active is not None
    while True:
        # Never busy, whatever the interval.
        await asyncio.sleep(max(active.next_check - time(), SWEEP_SECONDS / 5))
        active.check_started(time())
        status = await check(open_connection, active.policy)
        if health.check_ended(status):
            if health.state.condition == DOWN:
                shown = "no answer" if status is None else f"status {status}"
                logger.warning("upstream %s fails its health check (%s) and is out", name, shown)
            else:
                logger.info("upstream %s passes its health check again", name)
