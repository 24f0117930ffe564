"""What a request costs in the HTTP/2 layer alone: ``python -m benchmarks.h2_frame_layer``.

No socket, no TLS, no upstream: the bytes of a client are made beforehand, ten requests (streams)
are given to ``ServerConnection.receive`` at a time, each is answered with a small response, and
``data_to_send`` is called once per turn, as one turn of the event loop does it. Printed is CPU time
per request and response, the best of several rounds (the machine is shared, and nothing makes code
faster than it is).

*same*: h2load's request, again and again; after the first its block is a few index octets.
*changing*: 1,000 different paths and a session cookie that is new each time, encoded as nghttp2
does it: paths never enter the dynamic table, cookies always do.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator

from hpack import Encoder, NeverIndexedHeaderTuple

from proxy.clock import CoarseClock
from proxy.http.h2.connection import ServerConnection
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    WINDOW_UPDATE,
    frame,
    window_update,
)
from proxy.http.h2.header_blocks import Field
from proxy.http.h2.request_fields import DecodedRequest
from proxy.http.h2.settings import INITIAL_WINDOW_SIZE, settings_frame
from proxy.limits import Limits

STREAMS = 10
REQUESTS = 20_000
ROUNDS = 5
RESPONSE = [
    (b"date", b"Mon, 02 Nov 2026 10:00:00 GMT"),
    (b"server", b"uvicorn"),
    (b"content-length", b"12"),
    (b"content-type", b"text/plain; charset=utf-8"),
]
BODY = b"Hello, world"

assert WINDOW_UPDATE


class Answerer:
    """Answers every request at once, as a very near backend would."""

    def __init__(self) -> None:
        self.connection: ServerConnection | None = None
        self.answered = 0

    def on_request(self, stream_id: int, request: DecodedRequest, end_stream: bool) -> None:
        connection = self.connection
        assert connection is not None
        connection.send_response(stream_id, 200, list(RESPONSE))
        connection.send_data(stream_id, BODY, end_stream=True)
        self.answered += 1

    def on_bad_request(self, stream_id: int, status: int, reason: str) -> None:
        raise AssertionError(reason)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        raise AssertionError("the benchmark sends no bodies")

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        raise AssertionError("the benchmark sends no trailers")

    def on_reset(self, stream_id: int, code: int, reason: str) -> None:
        raise AssertionError(reason)

    def on_writable(self, stream_id: int) -> None:
        raise AssertionError("the benchmark's windows are wide")

    def on_connection_error(self, code: int, reason: str) -> None:
        raise AssertionError(reason)


def same_request(encoder: Encoder, number: int) -> bytes:
    """A block as h2load sends it."""
    return encoder.encode(
        [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"localhost:8443"),
            (b":path", b"/"),
            (b"user-agent", b"h2load nghttp2/1.52.0"),
        ]
    )


def changing_request(encoder: Encoder, number: int) -> bytes:
    """A block with one of 1,000 paths and a new cookie."""
    session = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest().encode()
    return encoder.encode(
        [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"localhost:8443"),
            NeverIndexedHeaderTuple(b":path", b"/api/items/%d/details" % (number % 1000)),
            (b"user-agent", b"h2load nghttp2/1.52.0"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"gzip, deflate, br"),
            (b"cookie", b"session=" + session + b"; theme=dark"),
        ]
    )


def turns(make_block: Callable[[Encoder, int], bytes]) -> Iterator[bytes]:
    """What the client sends, one turn at a time."""
    encoder = Encoder()
    stream_id = 1
    for start in range(0, REQUESTS, STREAMS):
        pieces = []
        for number in range(start, start + STREAMS):
            block = make_block(encoder, number)
            pieces.append(frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block))
            stream_id += 2
        yield b"".join(pieces)


def measure(make_block: Callable[[Encoder, int], bytes]) -> tuple[float, float, float]:
    """Microseconds per request; octets per request in and out."""
    opening = PREFACE + settings_frame([(INITIAL_WINDOW_SIZE, 2**30)])
    opening += window_update(0, 2**30)
    received = list(turns(make_block))
    best = float("inf")
    sent = 0
    for _ in range(ROUNDS):
        handler = Answerer()
        clock = CoarseClock(0.0)
        connection = ServerConnection(handler, clock, Limits(), FieldEncoder())
        handler.connection = connection
        connection.receive(opening)
        connection.data_to_send()
        sent = 0
        began = time.process_time()
        for data in received:
            connection.receive(data)
            sent += len(connection.data_to_send())
        best = min(best, time.process_time() - began)
        assert handler.answered == REQUESTS
    octets_in = sum(map(len, received)) / REQUESTS
    return best / REQUESTS * 1e6, octets_in, sent / REQUESTS


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{'case':<10} {'µs per request':>15} {'octets in':>10} {'octets out':>11}")
    for name, make_block in (("same", same_request), ("changing", changing_request)):
        cost, octets_in, octets_out = measure(make_block)
        print(f"{name:<10} {cost:>15.2f} {octets_in:>10.1f} {octets_out:>11.1f}")


if __name__ == "__main__":
    main()
