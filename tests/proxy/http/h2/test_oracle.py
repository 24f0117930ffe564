"""Generated conversations with the ``h2`` package on the other side, and as a second opinion.

*Client and reference server.* ``h2`` plays the client. Every byte that it sends goes to our server
connection and to an ``h2`` server; both must hear the same. What our server sends goes to the
``h2`` client, which checks it against the protocol and must hear what was meant.

*Server.* The other way round: our client connection against an ``h2`` server.

*Splits.* A whole conversation, recorded, then given to a fresh connection in arbitrary pieces.

*Noise.* Arbitrary frames, most of them wrong: whatever comes, the connection lives or ends by the
rules, and never by an exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import CoarseClock
from proxy.http.h2.connection import ServerConnection
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.header_blocks import Field
from proxy.http.h2.request_fields import DecodedRequest
from proxy.limits import Limits
from tests.proxy.http.h2.conversation import (
    GET,
    PREFACE,
    ClientTalk,
    Event,
    RequestRecorder,
    block,
    parse_frames,
    raw,
)
from tests.proxy.http.h2.conversation import settings as settings_frame

Headers = list[tuple[bytes, bytes]]

VALUES = [b"a", b"text/plain; charset=utf-8", b"x" * 300, b"caf\xc3\xa9", b""]
NAMES = [b"accept", b"user-agent", b"x-custom", b"cookie", b"grpc-timeout", b"te"]
SIZES = [0, 1, 100, 5000, 16384, 40000]
EXAMPLES = 40


def regular(number: int) -> Headers:
    """Some regular fields, chosen by a number."""
    fields = []
    for index, name in enumerate(NAMES):
        if number >> index & 1:
            value = VALUES[(number + index) % len(VALUES)]
            if name == b"te":
                value = b"trailers"
            elif name == b"cookie":
                value = value or b"c=d"  # h2 keeps empty crumbs, and with them a blank at the end
            fields.append((name, value))
    if number & 8:
        fields.append((b"cookie", b"second=crumb"))
    return fields


def request_headers(number: int, *, body: bool) -> Headers:
    return [
        (b":method", b"POST" if body else b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"example.com"),
        (b":path", b"/path/%d" % (number % 7)),
        *regular(number),
    ]


operations = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "request",
                "request",
                "request with body",
                "data",
                "data",
                "end",
                "trailers",
                "reset",
                "ping",
                "settings",
                "window",
                "priority",
                "respond",
                "respond",
                "respond with body",
                "more body",
                "finish",
                "server reset",
            ]
        ),
        st.integers(0, 63),
        st.integers(0, 63),
    ),
    max_size=40,
)


def config(*, client: bool) -> h2.config.H2Configuration:
    return h2.config.H2Configuration(client_side=client, header_encoding=None)


@dataclass
class Open:
    """What the test knows of a stream."""

    request_open: bool
    responded: bool = False
    finished: bool = False
    body: bytes = b""


class Conversation:
    """An h2 client, our server, and an h2 server that hears the same."""

    def __init__(self) -> None:
        self.client = h2.connection.H2Connection(config(client=True))
        self.reference = h2.connection.H2Connection(config(client=False))
        self.handler = RequestRecorder()
        self.server = ServerConnection(self.handler, CoarseClock(0.0), Limits(), FieldEncoder())
        self.to_server: list[bytes] = []
        self.ours: list[Event] = []
        self.theirs: list[Event] = []
        self.heard: list[h2.events.Event] = []
        self.streams: dict[int, Open] = {}
        self.client.initiate_connection()
        self.reference.initiate_connection()
        self.exchange()

    def exchange(self) -> None:
        """Carry bytes both ways until both sides are silent."""
        while True:
            sent = self.client.data_to_send()
            answered = self.server.data_to_send()
            if not sent and not answered:
                return
            if sent:
                self.to_server.append(sent)
                self.server.receive(sent)
                self.theirs += self.normalised(self.reference.receive_data(sent))
                self.ours += self.collect()
            if answered:
                parse_frames(answered)
                for event in self.client.receive_data(answered):
                    self.heard.append(event)
                    if isinstance(event, h2.events.DataReceived):
                        count = event.flow_controlled_length
                        self.client.acknowledge_received_data(count, event.stream_id)

    def collect(self) -> list[Event]:
        """What our handler heard; data is consumed at once."""
        events = []
        for event in self.handler.events:
            match event:
                case ("request", stream_id, *_, end):
                    fields = as_headers(self.handler.requests[stream_id])
                    events.append(("request", stream_id, fields, end))
                case ("data", stream_id, data, end):
                    self.server.acknowledge(stream_id, len(data))
                    events.append(event)
                case ("error", *_):
                    raise AssertionError(event)
                case ("writable", _):
                    pass  # about sending, of which the reference does nothing
                case _:
                    events.append(event)
        self.handler.events = []
        return events

    def normalised(self, events: Iterable[h2.events.Event]) -> list[Event]:
        """h2's events in the words of our handler."""
        told: list[Event] = []
        for event in events:
            match event:
                case h2.events.RequestReceived():
                    fields = sorted((bytes(n), bytes(v)) for n, v in event.headers)
                    ended = event.stream_ended is not None
                    told.append(("request", event.stream_id, fields, ended))
                case h2.events.DataReceived():
                    self.reference.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                    ended = event.stream_ended is not None
                    if event.data or ended:
                        told.append(("data", event.stream_id, event.data, ended))
                case h2.events.TrailersReceived():
                    trailers = tuple((bytes(n), bytes(v)) for n, v in event.headers)
                    told.append(("trailers", event.stream_id, trailers))
                case h2.events.StreamReset():
                    told.append(("reset", event.stream_id, event.error_code))
        self.reference.data_to_send()
        return told

    def pick(self, number: int, **wanted: bool) -> tuple[int, Open] | None:
        """One of the streams that are in a certain condition."""
        fitting = [
            (stream_id, stream)
            for stream_id, stream in self.streams.items()
            if all(getattr(stream, name) == value for name, value in wanted.items())
        ]
        return fitting[number % len(fitting)] if fitting else None

    def do(self, what: str, one: int, two: int) -> None:
        """One operation of either side, if it is possible now."""
        getattr(self, "do_" + what.replace(" ", "_"))(one, two)
        self.exchange()

    def do_request(self, one: int, two: int) -> None:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, request_headers(one, body=False), end_stream=True)
        self.streams[stream_id] = Open(request_open=False)

    def do_request_with_body(self, one: int, two: int) -> None:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, request_headers(one, body=True))
        self.streams[stream_id] = Open(request_open=True)

    def do_data(self, one: int, two: int, *, end: bool = False) -> None:
        if picked := self.pick(one, request_open=True):
            stream_id, stream = picked
            size = min(
                SIZES[two % len(SIZES)],
                self.client.local_flow_control_window(stream_id) - 256,
                self.client.max_outbound_frame_size - 256,
            )
            padding = one if two & 1 else None
            data = bytes((two,)) * max(0, size)
            self.client.send_data(stream_id, data, end_stream=end, pad_length=padding)
            if end:
                stream.request_open = False

    def do_end(self, one: int, two: int) -> None:
        self.do_data(one, two, end=True)

    def do_trailers(self, one: int, two: int) -> None:
        if picked := self.pick(one, request_open=True):
            stream_id, stream = picked
            fields = [(b"x-trailer", b"%d" % two), (b"grpc-status", b"0")]
            self.client.send_headers(stream_id, fields, end_stream=True)
            stream.request_open = False

    def do_reset(self, one: int, two: int) -> None:
        if picked := self.pick(one, finished=False):
            stream_id, _ = picked
            self.client.reset_stream(stream_id, error_code=two % 14)
            self.reference_forget(stream_id)

    def do_ping(self, one: int, two: int) -> None:
        self.client.ping(b"%8d" % one)

    def do_settings(self, one: int, two: int) -> None:
        codes = h2.settings.SettingCodes
        self.client.update_settings(
            {
                codes.INITIAL_WINDOW_SIZE: (65535, 70_000, 1_000_000)[one % 3],
                codes.HEADER_TABLE_SIZE: (0, 100, 4096, 16384)[two % 4],
                codes.MAX_FRAME_SIZE: (16384, 20_000)[two % 2],
            }
        )

    def do_window(self, one: int, two: int) -> None:
        if picked := self.pick(one, finished=False):
            self.client.increment_flow_control_window(1 + two * 100, picked[0])
        else:
            self.client.increment_flow_control_window(1 + two * 100)

    def do_priority(self, one: int, two: int) -> None:
        self.client.prioritize(2 * one + 1, weight=1 + two, depends_on=0)

    def do_respond(self, one: int, two: int) -> None:
        if picked := self.pick(one, responded=False, request_open=False):
            stream_id, _ = picked
            self.server.send_response(stream_id, 200 + two, regular(two & ~0x28), end_stream=True)
            self.reference.send_headers(stream_id, [(b":status", b"200")], end_stream=True)
            del self.streams[stream_id]

    def do_respond_with_body(self, one: int, two: int) -> None:
        if picked := self.pick(one, responded=False, request_open=False):
            stream_id, stream = picked
            self.server.send_response(stream_id, 103, [(b"Link", b"</style.css>")])
            self.server.send_response(stream_id, 200, [(b"X-Upper", b"%d" % two)])
            stream.responded = True

    def do_more_body(self, one: int, two: int) -> None:
        if picked := self.pick(one, responded=True, finished=False):
            stream_id, stream = picked
            piece = bytes((one,)) * (SIZES[two % len(SIZES)] * (1 + two // 8))
            self.server.send_data(stream_id, piece if two & 1 else memoryview(piece))
            if two & 2:
                self.server.settle()
            stream.body += piece

    def do_finish(self, one: int, two: int) -> None:
        if picked := self.pick(one, responded=True, finished=False):
            stream_id, stream = picked
            if two & 1:
                self.server.send_trailers(stream_id, [(b"grpc-status", b"%d" % two)])
            else:
                self.server.end(stream_id)
            stream.finished = True
            self.reference.send_headers(stream_id, [(b":status", b"200")], end_stream=True)

    def do_server_reset(self, one: int, two: int) -> None:
        if picked := self.pick(one, finished=False):
            stream_id, _ = picked
            self.server.reset(stream_id, two % 14)
            self.reference.reset_stream(stream_id, error_code=two % 14)
            self.reference_forget(stream_id)

    def reference_forget(self, stream_id: int) -> None:
        del self.streams[stream_id]


def as_headers(request: DecodedRequest) -> Headers:
    """A decoded request as a sorted field list."""
    return sorted(
        [
            (b":method", request.method),
            (b":scheme", request.scheme),
            (b":authority", request.authority),
            (b":path", request.path),
            *request.fields,
        ]
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(operations)
def test_our_server_hears_what_the_reference_hears(plan: list[tuple[str, int, int]]) -> None:
    conversation = Conversation()
    for what, one, two in plan:
        conversation.do(what, one, two)
    assert conversation.ours == conversation.theirs


@settings(max_examples=EXAMPLES, deadline=None)
@given(operations)
def test_the_client_hears_what_our_server_says(plan: list[tuple[str, int, int]]) -> None:
    conversation = Conversation()
    bodies: dict[int, bytes] = {}
    for what, one, two in plan:
        conversation.do(what, one, two)
        bodies |= {number: stream.body for number, stream in conversation.streams.items()}
    heard: dict[int, bytes] = {}
    ended = set()
    for event in conversation.heard:
        if isinstance(event, h2.events.DataReceived):
            heard[event.stream_id] = heard.get(event.stream_id, b"") + event.data
        elif isinstance(event, h2.events.StreamEnded):
            ended.add(event.stream_id)
        assert not isinstance(event, h2.events.ConnectionTerminated)
    for stream_id, stream in conversation.streams.items():
        # All windows have been opened again as the client consumed, so nothing is left behind.
        assert heard.get(stream_id, b"") == stream.body
        assert (stream_id in ended) == stream.finished
    assert conversation.server.unsent == 0


@settings(max_examples=EXAMPLES, deadline=None)
@given(operations, st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_every_split_gives_the_same(plan: list[tuple[str, int, int]], cuts: list[int]) -> None:
    conversation = Conversation()
    for what, one, two in plan:
        if "respond" not in what and "server" not in what:
            conversation.do(what, one, two)
    received = b"".join(conversation.to_server)
    assert split_events(received, cuts) == split_events(received, [len(received)])


def split_events(received: bytes, cuts: list[int]) -> list[Event]:
    """What a fresh server's handler hears of these bytes, cut into pieces of these lengths."""
    handler = RequestRecorder()
    server = ServerConnection(handler, CoarseClock(0.0), Limits(), FieldEncoder())
    position = number = consumed = 0
    while position < len(received):
        size = cuts[number % len(cuts)]
        server.receive(received[position : position + size])
        for event in handler.events[consumed:]:
            if event[0] == "data":
                server.acknowledge(event[1], len(event[2]))
        consumed = len(handler.events)
        position += size
        number += 1
    return handler.events


# -- our client against an h2 server ------------------------------------------------------------


@dataclass
class Served:
    """An h2 server's answers, by a plan."""

    connection: h2.connection.H2Connection
    bodies: dict[int, bytes] = field(default_factory=dict)
    requests: dict[int, Headers] = field(default_factory=dict)
    trailers: dict[int, Headers] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def receive(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self.requests[event.stream_id] = [
                        (bytes(n), bytes(v)) for n, v in event.headers
                    ]
                    self.bodies[event.stream_id] = b""
                case h2.events.DataReceived():
                    self.bodies[event.stream_id] += event.data
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                case h2.events.TrailersReceived():
                    self.trailers[event.stream_id] = [
                        (bytes(n), bytes(v)) for n, v in event.headers
                    ]
                case h2.events.StreamEnded():
                    self.ended.add(event.stream_id)


calls = st.lists(
    st.tuples(
        st.integers(0, 63),  # fields
        st.lists(st.sampled_from(SIZES), max_size=4),  # request body
        st.booleans(),  # request trailers
        st.lists(st.sampled_from([0, 1, 700, 16000]), max_size=4),  # response body
        st.booleans(),  # response trailers
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(calls)
def test_our_client_and_a_server_understand_each_other(plan: list[tuple[Any, ...]]) -> None:
    talk = ClientTalk(greeting=b"none")
    client = talk.connection
    served = Served(h2.connection.H2Connection(config(client=False)))
    served.connection.initiate_connection()
    served.receive(PREFACE + settings_frame((2, 0), (4, 65536)))

    def exchange() -> None:
        while True:
            sent = client.data_to_send()
            answered = served.connection.data_to_send()
            if not sent and not answered:
                return
            if sent:
                parse_frames(sent)
                served.receive(sent)
            if answered:
                client.receive(answered)
                for event in talk.handler.events[consumed[0] :]:
                    if event[0] == "data":
                        client.acknowledge(event[1], len(event[2]))
                consumed[0] = len(talk.handler.events)

    consumed = [0]
    exchange()
    wanted: dict[int, tuple[bytes, bool, int]] = {}
    for number, sizes, with_trailers, _, _ in plan:
        stream_id = client.send_request(
            b"POST", b"http", b"backend", b"/service", regular(number), end_stream=False
        )
        body = b""
        for size in sizes:
            piece = bytes((number,)) * size
            client.send_data(stream_id, piece)
            body += piece
        if with_trailers:
            client.send_trailers(stream_id, [(b"X-Sum", b"1")])
        else:
            client.end(stream_id)
        wanted[stream_id] = (body, with_trailers, number)
    exchange()
    for stream_id, (body, with_trailers, number) in wanted.items():
        assert served.bodies[stream_id] == body
        assert (stream_id in served.trailers) == with_trailers
        assert stream_id in served.ended
        # h2 joins cookies and puts them last.
        plain = [pair for pair in regular(number) if pair[0] != b"cookie"]
        heard = [pair for pair in served.requests[stream_id][4:] if pair[0] != b"cookie"]
        assert heard == plain

    expected: dict[int, tuple[Field, bytes, bool]] = {}
    for stream_id, (*_, sizes, with_trailers) in zip(wanted, plan, strict=True):
        connection = served.connection
        connection.send_headers(stream_id, [(b":status", b"200"), (b"x-number", b"%d" % stream_id)])
        body = b""
        for size in sizes:
            size = min(size, connection.local_flow_control_window(stream_id))
            connection.send_data(stream_id, b"r" * size)
            body += b"r" * size
            exchange()
        if with_trailers:
            connection.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)
        else:
            connection.end_stream(stream_id)
        expected[stream_id] = ((b"x-number", b"%d" % stream_id), body, with_trailers)
        exchange()
    told = [event for event in talk.handler.events if event[0] != "writable"]
    for stream_id, (number_field, body, with_trailers) in expected.items():
        mine = [event for event in told if event[1] == stream_id]
        assert mine[0] == ("response", stream_id, 200, (number_field,), False)
        assert b"".join(event[2] for event in mine if event[0] == "data") == body
        assert (mine[-1][0] == "trailers") == with_trailers
    assert not client.streams
    assert client.unsent == 0


# -- noise --------------------------------------------------------------------------------------

noise = st.lists(
    st.one_of(
        st.builds(
            raw,
            st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 0x10, 0x77]),
            st.integers(0, 63),
            st.sampled_from([0, 1, 1, 2, 3, 5, 101, 2**31 - 1]),
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from([block(GET), b"\x82\x87\x84\x01\x01a", bytes(4), bytes(8)]),
            ),
        ),
        st.binary(max_size=12),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(noise, st.booleans())
def test_noise_never_raises(frames: list[bytes], answer: bool) -> None:
    handler = RequestRecorder(answer=answer)
    server = ServerConnection(handler, CoarseClock(0.0), Limits(), FieldEncoder())
    handler.connection = server
    server.receive(PREFACE + settings_frame())
    for piece in frames:
        server.receive(piece)
        parse_frames_leniently(server.data_to_send())
        server.sweep()
    errors = [event for event in handler.events if event[0] == "error"]
    assert server.closed == bool(errors)
    assert len(errors) <= 1


def parse_frames_leniently(sent: bytes) -> None:
    """Only the framing: RST_STREAM may carry on a stream what hyperframe would not build."""
    while sent:
        length = int.from_bytes(sent[:3], "big")
        assert len(sent) >= 9 + length
        sent = sent[9 + length :]


@pytest.mark.parametrize("fields", [GET, [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")]])
def test_the_same_block_is_the_same_object(fields: list[Field]) -> None:
    handler = RequestRecorder()
    server = ServerConnection(handler, CoarseClock(0.0), Limits(), FieldEncoder())
    server.receive(PREFACE + settings_frame())
    server.receive(raw(1, 5, 1, block(fields)) + raw(1, 5, 3, block(fields)))
    assert handler.requests[1] is handler.requests[3]
