"""Both ends of a conversation in tests: raw frames in, events and parsed frames out.

Frames for the connection under test are made here octet by octet, and what it sends is parsed by
``hyperframe`` and decoded by ``hpack``: nothing of the code under test is used to check it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from proxy.clock import CoarseClock
from proxy.http.h2.client_connection import ClientConnection
from proxy.http.h2.connection import ServerConnection
from proxy.http.h2.faults import ErrorCode
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.header_blocks import Field
from proxy.http.h2.request_fields import DecodedRequest, DecodedResponse
from proxy.limits import Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 1, 4, 8, 0x20, 1

GET: list[Field] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"example.com"),
    (b":path", b"/"),
]
POST: list[Field] = [(b":method", b"POST"), *GET[1:]]

Event = tuple[Any, ...]


# -- frames, octet by octet ---------------------------------------------------------------------


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


def literal(name: bytes, value: bytes, first: int = 0x00) -> bytes:
    """A literal field with a literal name, not Huffman-coded; ``first`` 0x40 to index it."""
    return bytes((first,)) + string(name) + string(value)


def string(data: bytes) -> bytes:
    """A string literal of RFC 7541 §5.2."""
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest = len(data) - 127
    octets = bytearray((127,))
    while rest >= 128:
        octets.append(rest & 127 | 128)
        rest >>= 7
    octets.append(rest)
    return bytes(octets) + data


def block(fields: Iterable[Field]) -> bytes:
    """A field block that leaves the dynamic table alone."""
    return b"".join(literal(name, value) for name, value in fields)


def headers(
    stream_id: int, fields: Iterable[Field] | bytes = GET, flags: int = END_HEADERS | END_STREAM
) -> bytes:
    return raw(1, flags, stream_id, fields if isinstance(fields, bytes) else block(fields))


def continuation(stream_id: int, fragment: bytes, flags: int = END_HEADERS) -> bytes:
    return raw(9, flags, stream_id, fragment)


def data(stream_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return raw(0, flags, stream_id, payload)


def priority(stream_id: int, depends_on: int = 0, weight: int = 15) -> bytes:
    return raw(2, 0, stream_id, struct.pack(">IB", depends_on, weight))


def rst_stream(stream_id: int, code: int = 8) -> bytes:
    return raw(3, 0, stream_id, struct.pack(">I", code))


def settings(*entries: tuple[int, int]) -> bytes:
    return raw(4, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in entries))


def settings_ack() -> bytes:
    return raw(4, ACK, 0)


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return raw(6, flags, 0, payload)


def goaway(last: int = 0, code: int = 0, debug: bytes = b"") -> bytes:
    return raw(7, 0, 0, struct.pack(">II", last, code) + debug)


def window_update(stream_id: int, increment: int) -> bytes:
    return raw(8, 0, stream_id, struct.pack(">I", increment))


def priority_update(stream_id: int, value: bytes) -> bytes:
    return raw(0x10, 0, 0, struct.pack(">I", stream_id) + value)


def padded(kind: int, flags: int, stream_id: int, payload: bytes, padding: int) -> bytes:
    return raw(kind, flags | PADDED, stream_id, bytes((padding,)) + payload + bytes(padding))


# -- what is heard ------------------------------------------------------------------------------


class Recorder:
    """A handler that writes down what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.events.append(("data", stream_id, data, end_stream))

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        self.events.append(("trailers", stream_id, fields))

    def on_reset(self, stream_id: int, code: int, reason: str) -> None:
        self.events.append(("reset", stream_id, code))

    def on_writable(self, stream_id: int) -> None:
        self.events.append(("writable", stream_id))

    def on_connection_error(self, code: int, reason: str) -> None:
        self.events.append(("error", code, reason))


class RequestRecorder(Recorder):
    """The same for a server; with ``answer`` it answers complete requests."""

    def __init__(self, *, answer: bool = False) -> None:
        super().__init__()
        self.answer = answer
        self.connection: ServerConnection | None = None
        self.requests: dict[int, DecodedRequest] = {}

    def on_request(self, stream_id: int, request: DecodedRequest, end_stream: bool) -> None:
        self.requests[stream_id] = request
        self.events.append(("request", stream_id, request.method, request.path, end_stream))
        if end_stream:
            self._respond(stream_id)

    def on_bad_request(self, stream_id: int, status: int, reason: str) -> None:
        self.events.append(("bad request", stream_id, status))
        if self.answer and self.connection is not None:
            self.connection.send_response(stream_id, status, [], end_stream=True)

    def on_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        super().on_data(stream_id, data, end_stream)
        if self.answer and self.connection is not None:
            self.connection.acknowledge(stream_id, len(data))
        if end_stream:
            self._respond(stream_id)

    def on_trailers(self, stream_id: int, fields: tuple[Field, ...]) -> None:
        super().on_trailers(stream_id, fields)
        self._respond(stream_id)

    def _respond(self, stream_id: int) -> None:
        if self.answer and self.connection is not None:
            self.connection.send_response(stream_id, 200, [(b"content-length", b"5")])
            self.connection.send_data(stream_id, b"hello", end_stream=True)


class ResponseRecorder(Recorder):
    """The same for a client."""

    def on_informational(self, stream_id: int, response: DecodedResponse) -> None:
        self.events.append(("informational", stream_id, response.status))

    def on_response(self, stream_id: int, response: DecodedResponse, end_stream: bool) -> None:
        self.events.append(("response", stream_id, response.status, response.fields, end_stream))

    def on_unprocessed(self, stream_id: int) -> None:
        self.events.append(("unprocessed", stream_id))

    def on_goaway(self, code: int) -> None:
        self.events.append(("goaway", code))


# -- what is sent -------------------------------------------------------------------------------


def parse_frames(sent: bytes) -> list[Frame]:
    """The frames in what a connection sent, by an independent parser; nothing may be left over."""
    frames = []
    view = memoryview(sent)
    while view:
        frame, length = Frame.parse_frame_header(view[:9])
        assert len(view) >= 9 + length, "a frame was sent in part"
        frame.parse_body(view[9 : 9 + length])
        frames.append(frame)
        view = view[9 + length :]
    return frames


def narrate(frames: Sequence[Frame], decoder: hpack.Decoder) -> list[Event]:
    """Frames as short tuples, field blocks decoded and CONTINUATION joined."""
    told: list[Event] = []
    fragments = b""
    head: HeadersFrame | None = None
    for frame in frames:
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            if isinstance(frame, HeadersFrame):
                assert head is None
                head = frame
                fragments = b""
            assert head is not None
            fragments += frame.data
            if "END_HEADERS" in frame.flags:
                fields = tuple((n, v) for n, v in decoder.decode(fragments, raw=True))
                told.append(("HEADERS", head.stream_id, fields, "END_STREAM" in head.flags))
                head = None
        elif isinstance(frame, DataFrame):
            told.append(("DATA", frame.stream_id, frame.data, "END_STREAM" in frame.flags))
        elif isinstance(frame, RstStreamFrame):
            told.append(("RST_STREAM", frame.stream_id, ErrorCode(frame.error_code).name))
        elif isinstance(frame, GoAwayFrame):
            told.append(("GOAWAY", frame.last_stream_id, ErrorCode(frame.error_code).name))
        elif isinstance(frame, PingFrame):
            told.append(("PING", frame.opaque_data, "ACK" in frame.flags))
        elif isinstance(frame, WindowUpdateFrame):
            told.append(("WINDOW_UPDATE", frame.stream_id, frame.window_increment))
        elif isinstance(frame, SettingsFrame):
            told.append(("SETTINGS", dict(frame.settings), "ACK" in frame.flags))
        else:
            told.append((type(frame).__name__, frame.stream_id))
    return told


class ServerTalk:
    """A server's connection, a clock, and a raw client."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        answer: bool = False,
        greet: bool = True,
        extended_connect: bool = True,
        greeting: bytes = PREFACE + settings() + settings_ack(),
    ) -> None:
        self.clock = CoarseClock(1000.0)
        self.handler = RequestRecorder(answer=answer)
        self.connection = ServerConnection(
            self.handler,
            self.clock,
            limits or Limits(),
            FieldEncoder(),
            extended_connect=extended_connect,
        )
        self.handler.connection = self.connection
        self.decoder = hpack.Decoder()
        if greet:
            self.hear(greeting)

    @property
    def events(self) -> list[Event]:
        """What the handler heard since the last look."""
        events = self.handler.events
        self.handler.events = []
        return events

    def hear(self, *frames: bytes) -> list[Event]:
        """Give frames to the connection; what it sends, as tuples."""
        self.connection.receive(b"".join(frames))
        return self.sent()

    def sent(self) -> list[Event]:
        """What the connection has to send, as tuples."""
        pieces = []
        while piece := self.connection.data_to_send():
            pieces.append(piece)
        return narrate(parse_frames(b"".join(pieces)), self.decoder)


class ClientTalk:
    """A client's connection, a clock, and a raw server."""

    def __init__(self, *, limits: Limits | None = None, greeting: bytes = b"") -> None:
        self.clock = CoarseClock(1000.0)
        self.handler = ResponseRecorder()
        self.connection = ClientConnection(
            self.handler, self.clock, limits or Limits(), FieldEncoder()
        )
        self.decoder = hpack.Decoder()
        opening = self.connection.data_to_send()
        assert opening.startswith(PREFACE)
        self.opening = narrate(parse_frames(opening.removeprefix(PREFACE)), self.decoder)
        if greeting != b"none":
            self.hear(greeting or settings(), settings_ack())

    @property
    def events(self) -> list[Event]:
        """What the handler heard since the last look."""
        events = self.handler.events
        self.handler.events = []
        return events

    def hear(self, *frames: bytes) -> list[Event]:
        """Give frames to the connection; what it sends, as tuples."""
        self.connection.receive(b"".join(frames))
        return self.sent()

    def sent(self) -> list[Event]:
        """What the connection has to send, as tuples."""
        pieces = []
        while piece := self.connection.data_to_send():
            pieces.append(piece)
        return narrate(parse_frames(b"".join(pieces)), self.decoder)

    def get(self, *, end_stream: bool = True, method: bytes = b"GET") -> int:
        """Send a request; its stream."""
        return self.connection.send_request(
            method, b"http", b"backend", b"/", [], end_stream=end_stream
        )
