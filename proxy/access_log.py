"""One line per request, in Uvicorn's style.

::

    1.2.3.4:56789 - "GET /items HTTP/1.1" 200 OK 512B 3.1ms -> 127.0.0.1:8000

The loop formats the line and hands it on; writing it is the business of ``proxy.logs``, which
never makes the loop wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.exchange import Exchange
from proxy.http.error_pages import reason_phrase
from proxy.http.head import VERSION_NAMES

CLIENT_GONE: Final = 499
"""Logged, never sent: the client left before the response began (nginx's number for it)."""

_REASONS: Final = {status: f"{status} {reason_phrase(status)}".rstrip() for status in range(1000)}
_REASONS[CLIENT_GONE] = "499 Client Closed Request"


def format_line(exchange: Exchange, now: float) -> str:
    """The line of a finished exchange. ``now`` is of the clock that ``started`` is of."""
    head = exchange.head
    info = exchange.info
    # A target has visible ASCII only (the grammar saw to it), so the quote is all there is to hide.
    target = head.target.decode("ascii").replace('"', "%22")
    arrow = f" -> {exchange.upstream_name}" if exchange.upstream_name else ""
    return (
        f'{info.address}:{info.port} - "{head.method.decode("ascii")} {target} '
        f'{VERSION_NAMES[head.version]}" {_REASONS[exchange.status]} {exchange.sent}B '
        f"{(now - exchange.started) * 1000:.1f}ms{arrow}"
    )


class AccessLog:
    """Called with each finished exchange."""

    __slots__ = ("_time", "_write")

    def __init__(self, write: Callable[[str], None], time: Callable[[], float]) -> None:
        self._write = write
        self._time = time

    def __call__(self, exchange: Exchange) -> None:
        self._write(format_line(exchange, self._time()))
