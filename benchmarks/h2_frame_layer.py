"""What a request costs in the HTTP/2 layer alone: ``python -m benchmarks.h2_frame_layer``.

No socket, no TLS, no upstream: the bytes of a client are made beforehand, ten requests (streams)
are given to ``ServerConnection.receive`` at a time, each is answered with a small response, and
``data_to_send`` is called once per turn, as one turn of the event loop does it. Printed is CPU time
per request and response, the best of several rounds (the machine is shared, and nothing makes code
faster than it is).

*same*: h2load's request, again and again; after the first its block is a few index octets.
*changing*: 1,000 different paths and a session cookie that is new each time, encoded as nghttp2
does it: paths never enter the dynamic table, cookies always do.
*download*, *upload*: bodies of 1 MiB in pieces of 64 KiB, ten streams at a time; per MiB.
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
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    frame,
    window_update,
)
from proxy.http.h2.header_blocks import Field
from proxy.http.h2.request_fields import DecodedRequest
from proxy.http.h2.settings import INITIAL_WINDOW_SIZE, settings_frame
from proxy.limits import KIB, MIB, Limits

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

PIECE = 64 * KIB
MEBIBYTES = 100


class Owner:
    """Leaves the requests open."""

    def __init__(self) -> None:
        self.connection: ServerConnection | None = None
        self.answered = 0

    def on_request(self, stream_id: int, request: DecodedRequest, end_stream: bool) -> None:
        """Nothing yet."""

    def on_bad_request(self, stream_id: int, status: int, reason: str) -> None:
        raise AssertionError(reason)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        assert self.connection is not None
        self.connection.acknowledge(stream_id, len(data))

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        raise AssertionError("the benchmark sends no trailers")

    def on_reset(self, stream_id: int, code: int, reason: str) -> None:
        raise AssertionError(reason)

    def on_writable(self, stream_id: int) -> None:
        """The next piece comes with the next turn anyway."""

    def on_connection_error(self, code: int, reason: str) -> None:
        raise AssertionError(reason)


class Answerer(Owner):
    """Answers every request at once, as a very near backend would."""

    def on_request(self, stream_id: int, request: DecodedRequest, end_stream: bool) -> None:
        connection = self.connection
        assert connection is not None
        connection.send_response(stream_id, 200, list(RESPONSE))
        connection.send_data(stream_id, BODY, end_stream=True)
        self.answered += 1


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


def connect(handler: Owner) -> ServerConnection:
    """A connection whose client has opened its windows wide."""
    connection = ServerConnection(handler, CoarseClock(0.0), Limits(), FieldEncoder())
    handler.connection = connection
    opening = PREFACE + settings_frame([(INITIAL_WINDOW_SIZE, 2**30)])
    connection.receive(opening + window_update(0, 2**30))
    connection.data_to_send()
    return connection


def measure(make_block: Callable[[Encoder, int], bytes]) -> tuple[float, float, float]:
    """Microseconds per request; octets per request in and out."""
    received = list(turns(make_block))
    best = float("inf")
    sent = 0
    for _ in range(ROUNDS):
        handler = Answerer()
        connection = connect(handler)
        sent = 0
        began = time.process_time()
        for data in received:
            connection.receive(data)
            sent += len(connection.data_to_send())
        best = min(best, time.process_time() - began)
        assert handler.answered == REQUESTS
    octets_in = sum(map(len, received)) / REQUESTS
    return best / REQUESTS * 1e6, octets_in, sent / REQUESTS


def open_streams(connection: ServerConnection, flags: int) -> range:
    """Ten requests."""
    stream_ids = range(1, 2 * STREAMS, 2)
    block = same_request(Encoder(), 0)
    connection.receive(
        b"".join(frame(HEADERS, flags, stream_id, block) for stream_id in stream_ids)
    )
    return stream_ids


def measure_download() -> float:
    """Microseconds per MiB sent."""
    best = float("inf")
    piece = memoryview(bytes(PIECE))
    for _ in range(ROUNDS):
        connection = connect(Owner())
        stream_ids = open_streams(connection, END_HEADERS | END_STREAM)
        for stream_id in stream_ids:
            connection.send_response(stream_id, 200, RESPONSE)
        sent = 0
        began = time.process_time()
        while sent < MEBIBYTES * MIB:
            for stream_id in stream_ids:
                connection.send_data(stream_id, piece)
            while data := connection.data_to_send():
                sent += len(data)
        best = min(best, (time.process_time() - began) / sent * MIB)
    return best * 1e6


def measure_upload() -> float:
    """Microseconds per MiB received, in reads of a TLS record each."""
    best = float("inf")
    for _ in range(ROUNDS):
        connection = connect(Owner())
        stream_ids = open_streams(connection, END_HEADERS)
        sent = b"".join(frame(DATA, 0, stream_id, bytes(16 * KIB)) for stream_id in stream_ids)
        reads = [sent[start : start + 16 * KIB] for start in range(0, len(sent), 16 * KIB)]
        received = 0
        began = time.process_time()
        while received < MEBIBYTES * MIB:
            for data in reads:
                connection.receive(data)
                connection.data_to_send()
            received += len(sent)
        best = min(best, (time.process_time() - began) / received * MIB)
    return best * 1e6


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{'case':<10} {'µs per request':>15} {'octets in':>10} {'octets out':>11}")
    for name, make_block in (("same", same_request), ("changing", changing_request)):
        cost, octets_in, octets_out = measure(make_block)
        print(f"{name:<10} {cost:>15.2f} {octets_in:>10.1f} {octets_out:>11.1f}")
    print(f"\n{'case':<10} {'µs per MiB':>15}")
    for name, cost in (("download", measure_download()), ("upload", measure_upload())):
        print(f"{name:<10} {cost:>15.1f}")


if __name__ == "__main__":
    main()
