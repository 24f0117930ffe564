"""HTTP/2 floods against a real worker, with a client beside them that behaves.

Each flood is legal frame by frame. What must hold: the flooder's connection is ended, by
ENHANCE_YOUR_CALM or at once; the other client is answered all the while; the worker's memory stays
where it was. How long the other client waited is noted, and not judged: this machine is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.e2e.fronts import Front
from tests.e2e.h2_wire import H2Wire
from tests.e2e.programs import resident_bytes
from tests.e2e.waiting import PATIENCE
from tests.e2e.wire import Wire
from tests.proxy.http.h2 import conversation as h2

pytestmark = pytest.mark.anyio

MIB: Final = 1 << 20
MOST_FRAMES: Final = 200_000
"""A flood that got so far has not been stopped."""
FLOODERS: Final = 4

Frames = Iterator[bytes]


def head(path: bytes = b"/status/200", method: bytes = b"GET") -> bytes:
    return h2.block(
        [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", b"app.test"),
            (b":path", path),
        ]
    )


GET, POST, ENDLESS = head(), head(b"/upload", b"POST"), head(b"/wait/flood")
DOWNLOAD = head(b"/download?size=100000000")
ODD: Final = range(1, 2**31, 2)


def rapid_reset() -> Frames:
    """CVE-2023-44487."""
    for number in ODD:
        yield h2.headers(number, ENDLESS) + h2.rst_stream(number)


def made_to_reset() -> Frames:
    """CVE-2025-8671: the client breaks a rule on each stream, and the server resets it."""
    for number in ODD:
        yield h2.headers(number, ENDLESS) + h2.window_update(number, 0)


def endless_continuation() -> Frames:
    """CVE-2024-27316."""
    yield h2.headers(1, GET, 0)
    for _ in itertools.count():
        yield h2.continuation(1, h2.literal(b"x-more", bytes(1000)), 0)


def empty_continuation() -> Frames:
    yield h2.headers(1, GET, 0)
    for _ in itertools.count():
        yield h2.continuation(1, b"", 0)


def pings() -> Frames:
    """CVE-2019-9512."""
    for _ in itertools.count():
        yield h2.ping()


def settings() -> Frames:
    """CVE-2019-9515."""
    for _ in itertools.count():
        yield h2.settings()


def window_updates() -> Frames:
    for _ in itertools.count():
        yield h2.window_update(0, 1)


def priorities() -> Frames:
    """CVE-2019-9513."""
    for number in itertools.count(1):
        yield h2.priority(2 * (number % 1000) + 1)


def priority_updates() -> Frames:
    for _ in itertools.count():
        yield h2.priority_update(1, b"u=1")


def empty_data() -> Frames:
    """CVE-2019-9518."""
    yield h2.headers(1, POST, h2.END_HEADERS)
    for _ in itertools.count():
        yield h2.data(1)


def tiny_data() -> Frames:
    yield h2.headers(1, POST, h2.END_HEADERS)
    for _ in itertools.count():
        yield h2.data(1, b"x")


def unknown_frames() -> Frames:
    for _ in itertools.count():
        yield h2.raw(0x77, 0, 0, b"?")


def hpack_bomb() -> Frames:
    """One large entry in the table, then field sections of nothing but references to it."""
    entry = h2.literal(b"x-bomb", b"b" * 4000, 0x40)
    yield h2.headers(1, GET + entry)
    for number in itertools.count(3, 2):
        yield h2.headers(number, GET + b"\xbe" * 16_000)


def cookie_crumbs() -> Frames:
    """CVE-2026-49975: crumbs of one octet that are joined to something much larger."""
    crumb = h2.literal(b"cookie", b"", 0x40)
    yield h2.headers(1, GET + crumb)
    for number in itertools.count(3, 2):
        yield h2.headers(number, GET + b"\xbe" * 16_000)


def too_many_streams() -> Frames:
    for number in ODD:
        yield h2.headers(number, ENDLESS)


def unread_answers() -> Frames:
    """CVE-2019-9517: much is asked for, and nothing is read."""
    yield h2.settings((4, 2**31 - 1)) + h2.window_update(0, 2**30)
    for number in ODD:
        yield h2.headers(number, DOWNLOAD) + h2.rst_stream(number)


FLOODS: Final[tuple[Callable[[], Frames], ...]] = (
    rapid_reset,
    made_to_reset,
    endless_continuation,
    empty_continuation,
    pings,
    settings,
    window_updates,
    priorities,
    priority_updates,
    empty_data,
    tiny_data,
    unknown_frames,
    hpack_bomb,
    cookie_crumbs,
    too_many_streams,
    unread_answers,
)


async def flood(front: Front, frames: Frames) -> int:
    """Send frames until the proxy has closed; how many it took."""
    async with await Wire.open(front.port, front.pki.client_context("h2"), "app.test") as wire:
        ended = asyncio.create_task(wire.read_to_end())
        await wire.send(h2.PREFACE + h2.settings())
        sent = 0
        while not wire.ended:
            # Many at a time, or the sender would be slower than the proxy.
            batch = list(itertools.islice(frames, 50))
            sent += len(batch)
            assert sent < MOST_FRAMES, "nobody stops this flood"
            await wire.send(b"".join(batch))
            await asyncio.sleep(0)
        await ended
        return sent


async def latencies(client: H2Wire, enough: Callable[[], bool]) -> list[float]:
    """The milliseconds of requests, one after the other."""
    taken = []
    while not enough():
        start = time.perf_counter()
        answer = await client.get("/status/200")
        taken.append(1000 * (time.perf_counter() - start))
        assert (answer.status, bytes(answer.body)) == (200, b"status 200")
    return sorted(taken)


@pytest.mark.parametrize("frames", FLOODS, ids=lambda made: made.__name__)
async def test_a_flood_ends_and_the_other_client_is_served(
    front: Front,
    app_front: Front,
    frames: Callable[[], Frames],
    figure: Callable[[str], None],
) -> None:
    async with await H2Wire.open(app_front, "app.test") as client:
        countdown = iter(range(60, -1, -1))
        quiet = await latencies(client, lambda: next(countdown) == 0)
        before = resident_bytes(front.proxy.worker)
        floods = [asyncio.create_task(flood(front, frames())) for _ in range(FLOODERS)]
        try:
            async with asyncio.timeout(3 * PATIENCE):
                rest = iter(range(20))
                busy = await latencies(
                    client, lambda: all(task.done() for task in floods) and next(rest, None) is None
                )
        finally:
            for task in floods:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*floods, return_exceptions=True)
        counts = [task.result() for task in floods]
        grown = (resident_bytes(front.proxy.worker) - before) / MIB
        assert grown < 16
        figure(
            f"{frames.__name__:22} {front.engine:10} closed after {max(counts):6} frames; "
            f"the other client's p99 {quiet[-1]:5.1f} -> {busy[int(len(busy) * 0.99)]:5.1f} ms, "
            f"{len(busy)} answers; memory {grown:+.1f} MiB"
        )
