"""One line per request, in Uvicorn's style.

::

    INFO:     1.2.3.4:56789 - "GET /items HTTP/1.1" 200 OK 512B 3.1ms -> 127.0.0.1:8000

The loop only formats and appends. A thread writes what has gathered, at most 20 times a second,
because a pipe or a terminal that nobody reads must not stop the traffic; what cannot be kept
within ``MAX_PENDING_BYTES`` is dropped and counted, and the count is logged.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

from proxy.exchange import Exchange
from proxy.http.error_pages import reason_phrase
from proxy.http.head import VERSION_NAMES
from proxy.limits import MIB

FLUSH_SECONDS: Final = 0.05
MAX_PENDING_BYTES: Final = 4 * MIB

_REASONS: Final = {status: f"{status} {reason_phrase(status)}".rstrip() for status in range(1000)}
_REASONS[499] = "499 Client Closed Request"


def format_line(exchange: Exchange, now: float) -> str:
    """The line of a finished exchange. ``now`` is of the clock that ``started`` is of."""
    head = exchange.head
    info = exchange.client.info
    # A target has visible ASCII only (the grammar saw to it), so the quote is all there is to hide.
    target = head.target.decode("ascii").replace('"', "%22")
    arrow = f" -> {exchange.upstream_name}" if exchange.upstream_name else ""
    return (
        f'INFO:     {info.address}:{info.port} - "{head.method.decode("ascii")} {target} '
        f'{VERSION_NAMES[head.version]}" {_REASONS[exchange.status]} {exchange.sent}B '
        f"{(now - exchange.started) * 1000:.1f}ms{arrow}\n"
    )


class AccessLogWriter:
    """Formats and writes lines; called with each finished exchange."""

    __slots__ = (
        "_dropped",
        "_fd",
        "_lines",
        "_loop",
        "_queue",
        "_queued",
        "_thread",
        "_time",
        "_written",
    )

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop, time: Callable[[], float]) -> None:
        self._fd = fd
        self._loop = loop
        self._time = time
        self._lines: list[str] = []
        self._queued = 0  # bytes ever handed over; the loop counts these...
        self._written = 0  # ...and the thread these, so neither needs a lock
        self._dropped = 0
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="access-log", daemon=True)
        self._thread.start()

    def __call__(self, exchange: Exchange) -> None:
        if not self._lines:
            self._loop.call_later(FLUSH_SECONDS, self.flush)
        self._lines.append(format_line(exchange, self._time()))

    def flush(self) -> None:
        """Hand what has gathered to the thread."""
        if not self._lines:
            return
        data = "".join(self._lines).encode()
        if self._queued - self._written + len(data) > MAX_PENDING_BYTES:
            self._dropped += len(self._lines)
        else:
            if self._dropped:
                notice = f"WARNING:  {self._dropped} access log lines were dropped\n"
                data = notice.encode() + data
                self._dropped = 0
            self._queued += len(data)
            self._queue.put(data)
        self._lines.clear()

    def close(self, timeout: float = 1.0) -> None:
        """Write what is left; waits at most ``timeout`` seconds for a reader that does not read."""
        self.flush()
        self._queue.put(None)
        self._thread.join(timeout)

    def _write_all(self) -> None:
        while (data := self._queue.get()) is not None:
            size = len(data)
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                # Nobody is there to read (a closed pipe, a full disk): the line is lost, the
                # service goes on; the next write tries again.
                pass
            self._written += size
