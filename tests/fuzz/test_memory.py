"""No amplification: an input of 10 KiB never makes the proxy allocate over 1 MiB.

What is measured is all that Python allocates from the first byte to the last, at its highest,
with the connection and its backend alive; what is there before the first byte does not count.
"""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable

import hpack
import pytest

from proxy.errors import ClientHelloError
from proxy.limits import KIB, MIB
from proxy.tls.client_hello import ClientHelloReader
from tests.fuzz import exchanges, http2
from tests.fuzz.all_targets import TARGETS
from tests.fuzz.target import random_input
from tests.proxy.http.h2 import conversation as h2

INPUT_BYTES = 10 * KIB
ALLOWED = 1 * MIB
GREETING = h2.PREFACE + h2.settings() + h2.settings_ack()

Feed = Callable[[bytes], object]


def http1() -> Feed:
    client = exchanges.Client("httptools")
    return lambda data: client.send([data])


def http1_in_pieces() -> Feed:
    client = exchanges.Client("h11")
    return lambda data: client.send([data[i : i + 997] for i in range(0, len(data), 997)])


def http_2() -> Feed:
    client = http2.Client()
    client.send(GREETING)
    return lambda data: client.send(data)


def client_hello() -> Feed:
    reader = ClientHelloReader()

    def feed(data: bytes) -> None:
        try:
            reader.receive(data)
        except ClientHelloError:
            pass

    return feed


def peak_of(make: Callable[[], Feed], data: bytes) -> int:
    """The most that was allocated while the data was fed."""
    feed = make()
    gc.collect()
    tracemalloc.start()
    try:
        feed(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(unit: bytes, head: bytes = b"", end: bytes = b"") -> bytes:
    """As much of a unit as an input may hold."""
    return head + unit * ((INPUT_BYTES - len(head) - len(end)) // len(unit)) + end


_HEAD = b"GET / HTTP/1.1\r\nHost: front.test\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: front.test\r\n"
_BODY = b"Transfer-Encoding: chunked\r\n\r\n"

HOSTILE_1 = {
    "a head of short fields": filled(b"a:b\r\n", _HEAD, b"\r\n"),
    "one long field": filled(b"a", _HEAD + b"X: ", b"\r\n\r\n"),
    "one long target": filled(b"a/", b"GET /", b" HTTP/1.1\r\nHost: front.test\r\n\r\n"),
    "a long list of options": filled(b"a,", _HEAD + b"Connection: ", b"\r\n\r\n"),
    "many requests": filled(_HEAD + b"\r\n"),
    "many bad requests": filled(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "chunks of one byte": filled(b"1\r\nx\r\n", _POST + _BODY),
    "chunks with extensions": filled(b"1;a=b;c=d\r\nx\r\n", _POST + _BODY),
    "an endless line": filled(b"a"),
    "empty lines": filled(b"\r\n"),
}


def _hpack_bomb() -> bytes:
    """One field of 4,000 octets in the dynamic table, then one octet for each repetition."""
    encoder = hpack.Encoder()
    first = encoder.encode([*h2.GET, (b"x-bomb", b"v" * 3900)])
    rest = INPUT_BYTES - len(first) - 20
    return h2.headers(1, first) + h2.headers(3, b"\xbe" * rest)


def _cookie_crumbs() -> bytes:
    block = h2.block(h2.GET) + b"\x40\x06cookie\x01a" + b"\xbe" * (INPUT_BYTES - 100)
    return h2.headers(1, block)


def _streams() -> bytes:
    encoder = hpack.Encoder()
    frames, number = b"", 1
    while len(frames) < INPUT_BYTES - 100:
        frames += h2.headers(number, encoder.encode(h2.GET))
        number += 2
    return frames


HOSTILE_2 = {
    "an HPACK bomb": _hpack_bomb(),
    "crumbs of cookies": _cookie_crumbs(),
    "many streams": _streams(),
    "many PINGs": filled(h2.ping()),
    "many SETTINGS": filled(h2.settings((4, 1000))),
    "empty DATA": filled(h2.data(1), h2.headers(1, h2.POST, h2.END_HEADERS)),
    "rapid resets": b"".join(
        h2.headers(number) + h2.rst_stream(number) for number in range(1, 200, 2)
    )[:INPUT_BYTES],
}


@pytest.mark.parametrize("name", HOSTILE_1)
def test_http_1(name: str) -> None:
    assert len(HOSTILE_1[name]) <= INPUT_BYTES
    for make in (http1, http1_in_pieces):
        assert peak_of(make, HOSTILE_1[name]) < ALLOWED


@pytest.mark.parametrize("name", HOSTILE_2)
def test_http_2(name: str) -> None:
    assert len(HOSTILE_2[name]) <= INPUT_BYTES + 200
    assert peak_of(http_2, HOSTILE_2[name]) < ALLOWED


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("exchanges", http1),
        ("h2-exchanges", http_2),
        ("client-hello", client_hello),
    ],
)
def test_whatever_is_fed(name: str, make: Callable[[], Feed]) -> None:
    target = TARGETS[name]
    seeds, chance = target.seeds(), random.Random(name)
    for _ in range(8):
        data = b"".join(random_input(chance, seeds, target.scraps) for _ in range(20))
        assert peak_of(make, data[:INPUT_BYTES]) < ALLOWED, f"{data[:INPUT_BYTES]!r}"
