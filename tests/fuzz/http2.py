"""Targets: HTTP/2 under any bytes, and what it becomes behind the proxy.

``h2-server`` and ``h2-client`` give any frames to a connection: it raises nothing, and says and
sends the same however they were cut. ``h2-exchanges`` takes the same frames to the backends, and
``h2-fields`` makes requests of names and values that HTTP/1.1 could not survive: whatever arrives
there is one strict HTTP/1.1 request, and the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import hpack

from proxy.clock import CoarseClock
from proxy.downstream.http2 import Http2Connection
from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from proxy.http.h2.client_connection import ClientConnection
from proxy.http.h2.connection import ServerConnection
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.header_blocks import Field
from proxy.limits import Limits
from tests.corpus import fields as corpus_fields
from tests.fuzz.exchanges import Behind
from tests.fuzz.heads import SCRAPS, small
from tests.fuzz.target import SHORT, Choices, Target, cuts, same
from tests.proxy.bench import Bench
from tests.proxy.http.h2 import conversation as h2
from tests.proxy.http.h2 import h2spec_cases

_GREETING: Final = h2.PREFACE + h2.settings() + h2.settings_ack()
_BACKEND_GREETING: Final = h2.settings() + h2.settings_ack()
_END: Final = h2.END_HEADERS | h2.END_STREAM


class _Answerer(h2.RequestRecorder):
    """Answers without a body: with one, the windows would decide when a stream ends."""

    def _respond(self, stream_id: int) -> None:
        if self.connection is not None:
            self.connection.send_response(stream_id, 200, [], end_stream=True)


def check_server(data: bytes) -> None:
    """A server's connection hears and says the same in any pieces, and raises nothing."""
    told = []
    for pieces in cuts(data):
        handler = _Answerer(answer=True)
        connection = handler.connection = ServerConnection(
            handler, CoarseClock(1000.0), Limits(), FieldEncoder(), extended_connect=True
        )
        told.append(_conversation(connection, handler, [_GREETING, *pieces]))
    same(told, "the pieces made a difference")


def check_client(data: bytes) -> None:
    """The same for the connection to a backend."""
    told = []
    for pieces in cuts(data):
        talk = h2.ClientTalk(greeting=b"none")
        talk.connection.receive(_BACKEND_GREETING)
        talk.get()
        talk.get(end_stream=False, method=b"POST")
        told.append(_conversation(talk.connection, talk.handler, pieces))
    same(told, "the pieces made a difference")


def _conversation(
    connection: ServerConnection | ClientConnection, handler: h2.Recorder, pieces: Sequence[bytes]
) -> object:
    """What the connection heard and said; it is asked after each piece, and read at the end."""
    sent = []
    for piece in pieces:
        connection.receive(piece)
        while new := connection.data_to_send():
            sent.append(new)
    connection.sweep()
    said = _narrated(b"".join(sent))
    # What a connection error drops of the answers depends on what had left before it.
    return handler.events, connection.closed or _told(said)


@lru_cache(maxsize=16)  # most ways to cut the same bytes end in the same answers
def _narrated(sent: bytes) -> list[h2.Event]:
    return h2.narrate(h2.parse_frames(sent), hpack.Decoder())


def _told(said: Sequence[h2.Event]) -> list[h2.Event]:
    """What was sent, stream by stream, without what the state of the windows decides."""
    told = [event for event in said if event[0] not in ("WINDOW_UPDATE", "DATA")]
    return sorted(told, key=_stream)


def _stream(event: h2.Event) -> int:
    return event[1] if event[0] in ("HEADERS", "RST_STREAM") else 0


class Client:
    """An HTTP/2 connection on the bench, with backends that answer."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.behind = Behind(self.bench)
        self.exchanges = 0
        self.connection = Http2Connection(
            self.bench.channel, self.bench.services, FieldEncoder(), self._application
        )

    def _application(self, exchange: Exchange) -> None:
        self.exchanges += 1
        head = exchange.head
        if head.method in (b"TRACE", b"CONNECT"):
            exchange.refuse(405)
        else:
            exchange.forward(Forwarding(self, head, self.bench.site, self.bench.route))

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.bench.channel.is_open:
                self.connection.receive(piece)
                self.connection.flush()
                self.behind.work()


def check_exchanges(data: bytes) -> None:
    """What reaches the backends is strict HTTP/1.1, and no more of it than exchanges were made."""
    told = []
    for pieces in cuts(data):
        client = Client()
        client.send(_GREETING, *pieces)
        assert len(client.behind.requests) <= client.exchanges
        requests = [
            (request.method, request.target, request.get(b"host"), request.body)
            for request in client.behind.requests
        ]
        # Streams in flight at once may end in another order.
        told.append(sorted(requests, key=repr))
        h2.parse_frames(client.bench.got)
    _differ_only_by_resets(told, data)


def _differ_only_by_resets(told: Sequence[Sequence[object]], data: bytes) -> None:
    # A request that its own client resets, or whose connection breaks, in the same read may be
    # gone before the backend has answered: fewer may be complete, never others.
    longest = max(told, key=len)
    for requests in told:
        for request in requests:
            assert request in longest, f"{request!r} only in some pieces of {data!r}"


def check_fields(data: bytes) -> None:
    """Requests of arbitrary fields: refused, or passed on as what they are."""
    client = Client()
    client.send(_GREETING)
    choices = Choices(data)
    stream_id = 1
    while choices and stream_id < 20:
        fields, body = _request(choices)
        before = len(client.behind.requests)
        client.send(*_frames(stream_id, fields, body))
        new = client.behind.requests[before:]
        assert len(new) <= 1, f"{fields!r} became {new!r}"
        for request in new:
            sent = dict(fields)
            assert request.method == sent[b":method"]
            assert request.target == sent[b":path"]
            # Without waiting for END_STREAM when none is announced; what comes then is an error.
            assert request.body == (b"" if sent.get(b"content-length") == b"0" else body)
            assert request.get(b"host") == sent.get(b":authority", sent.get(b"host"))
            names = [name for name, _ in fields]
            assert len({name for name in names if name[:1] == b":"}) == sum(
                name[:1] == b":" for name in names
            ), f"a pseudo-field twice went through: {fields!r}"
            _carries_no_others(request.fields, fields)
        stream_id += 2


_MADE_BY_US: Final = frozenset(
    {
        *(b"host", b"via", b"content-length", b"transfer-encoding", b"cookie", b"x-real-ip"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto"),
    }
)


def _carries_no_others(arrived: Sequence[Field], sent: Sequence[Field]) -> None:
    known = [(name, value.strip(b" \t")) for name, value in sent]
    for name, value in arrived:
        if name not in _MADE_BY_US:
            assert (name, value) in known, f"{name!r}: {value!r} of {sent!r}"


def _request(choices: Choices) -> tuple[list[Field], bytes]:
    """A request in which the input changes what it likes."""
    kind = choices.byte()
    fields: list[Field] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"front.test"),
        (b":path", b"/x"),
    ]
    if kind & 3 == 1:
        position = choices.byte() % 4
        fields[position] = (fields[position][0], choices.string())
    elif kind & 3 == 2:
        del fields[choices.byte() % 4]
    fields += [(choices.string(), choices.string()) for _ in range(kind >> 2 & 7)]
    body = choices.string() if kind & 0x80 else b""
    return fields, body


def _frames(stream_id: int, fields: Sequence[Field], body: bytes) -> Iterator[bytes]:
    yield h2.headers(stream_id, fields, h2.END_HEADERS if body else _END)
    if body:
        yield h2.data(stream_id, body, h2.END_STREAM)


# -- seeds ---------------------------------------------------------------------------------------


def _conversations() -> list[bytes]:
    cases = [
        case
        for name, group in vars(h2spec_cases).items()
        if name.isupper() and isinstance(group, list)
        for case in group
        if isinstance(case, h2spec_cases.Case)
    ]
    encoder = hpack.Encoder()
    indexed = b"".join(
        h2.headers(number, encoder.encode([*h2.GET, (b"cookie", b"a=%d" % number)]))
        for number in (1, 3, 5, 7)
    )
    upload = h2.headers(1, h2.POST, h2.END_HEADERS) + h2.data(1, b"hello") + h2.data(1, b"", 1)
    return small([*(b"".join(case.frames) for case in cases), indexed, upload, b""])


def _responses() -> list[bytes]:
    ok = [(b":status", b"200"), (b"content-length", b"5")]
    head = h2.headers(1, ok, h2.END_HEADERS)
    early = h2.headers(1, [(b":status", b"103"), (b"link", b"</a>")], h2.END_HEADERS)
    trailers = h2.headers(1, [(b"grpc-status", b"0")])
    return [
        head + h2.data(1, b"hello", h2.END_STREAM),
        early + head + h2.data(1, b"he") + h2.data(1, b"llo") + trailers,
        h2.headers(3, [(b":status", b"204")]) + h2.rst_stream(1, 0),
        h2.headers(1, [(b":status", b"101")]) + h2.goaway(1),
        h2.settings((4, 10), (1, 0), (3, 1)) + h2.ping() + h2.window_update(0, 100),
        h2.padded(1, _END, 1, h2.block([(b":status", b"200")]), 3) + h2.raw(5, 4, 1, bytes(4)),
        h2.headers(1, [(b":status", b"200"), (b"content-length", b"5")]),
    ]


def _coded(*requests: tuple[int, Sequence[bytes]]) -> bytes:
    """An input of ``check_fields``: a kind, then strings."""
    return b"".join(
        bytes((kind,)) + b"".join(bytes((len(text),)) + text for text in texts)
        for kind, texts in requests
    )


def _field_lists() -> list[bytes]:
    seeds = []
    for case in corpus_fields.cases():
        section = case.raw.partition(b"\r\n")[2].partition(b"\r\n\r\n")[0]
        texts: list[bytes] = []
        for line in section.split(b"\r\n")[1:8]:
            name, _, value = line.partition(b":")
            texts += (name.lower()[:255], value.strip(b" \t")[:255])
        count = len(texts) // 2
        seeds.append(_coded((count << 2 | 0x80, [*texts, b"hello"])))
    flaws = (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"a b", b"", b"*", b"front.test", b"/")
    seeds += [bytes((1, position, len(text))) + text for position in range(4) for text in flaws]
    return small(seeds)


_H2_SCRAPS: Final = (
    *(h2.headers(1), h2.headers(3, h2.POST, h2.END_HEADERS), h2.data(1, b"x"), h2.data(3, b"", 1)),
    *(h2.rst_stream(1), h2.ping(), h2.settings_ack(), h2.settings((1, 0)), h2.settings((4, 0))),
    *(h2.window_update(0, 1), h2.window_update(1, 2**31 - 1), h2.goaway(), h2.priority(1)),
    *(h2.continuation(1, b"\x82"), h2.raw(1, 0, 1, b"\x82\x86"), h2.priority_update(1, b"u=0")),
    *(
        b"\0\0\0",
        b"\0\x40\0",
        b"\x82",
        b"\xbe",
        b"\x3f\xe1\x1f",
        b"\x20",
        b"\x40\x01a\x01b",
        b"\x7f",
    ),
    *(b"\x00\x01:\x01:", b"\x00\x06cookie\x03a=b", b"\xff\xff\xff\xff", b"\x08", b"\x24", b"\x01"),
)

_NAMES: Final = (
    *(b"\x0econtent-length\x015", b"\x11transfer-encoding\x07chunked", b"\x04host\x01a", b"\x02te"),
    *(b"\x07:method\x03GET", b"\x05:path\x01/", b"\x0a:authority", b"\x09:protocol\x09websocket"),
    *(b"\x06expect\x0c100-continue", b"\x0ax_real_ip\x01", b"\x0fx-forwarded-for\x017", b"\x84"),
    *(
        b"\x0aconnection\x05close",
        b"\x07upgrade\x09websocket",
        b"\x06cookie\x03a=b",
        b"\x85",
        b"\x8c",
    ),
)

TARGETS: Final = (
    Target("h2-server", check_server, _conversations, _H2_SCRAPS, SHORT),
    Target("h2-client", check_client, _responses, _H2_SCRAPS, SHORT),
    Target("h2-exchanges", check_exchanges, _conversations, _H2_SCRAPS, SHORT),
    Target("h2-fields", check_fields, _field_lists, (*SCRAPS, *_NAMES)),
)
