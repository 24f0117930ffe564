"""Target: an HTTP/2 client with many streams, and backends that mean no good.

The same as :mod:`tests.fuzz.talks`, with requests side by side on streams. The client resets
streams, gives windows of any size and takes them back, leaves bodies open; its frames come in
pieces. On top of what holds there:

* each stream gets its own response: one final head, its data, one end, and nothing behind it;
* a response that is cut short never has END_STREAM;
* no stream and no connection gets more than its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import hpack

from proxy.downstream.http2 import Http2Connection
from proxy.http.h2.field_encoder import FieldEncoder
from tests.fuzz.talk_backends import Event, Talk
from tests.fuzz.talk_messages import ANSWERS, Asked, marks, some_body
from tests.fuzz.target import SHORT, Choices, Target
from tests.proxy.http.h2 import conversation as h2

_GREETING: Final = h2.PREFACE + h2.settings() + h2.settings_ack()
_WINDOWS: Final = (0, 1, 10, 100, 65_535, 1_000_000, 2**31 - 1)
_FIRST_WINDOW: Final = 65_535

_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"POST", b"PUT", b"TRACE", b"WEBSOCKET")
_WHOLE, _OPEN, _LENGTH, _TRAILERS = 0, 8, 16, 32
"""What may be added to a kind: the body is left open, has a length, has trailers behind it."""


class _Stream(Asked):
    """A request on a stream; its number tells the stream's."""

    def __init__(self, number: int, kind: int, size: int) -> None:
        method = _METHODS[kind % len(_METHODS)]
        self.websocket = method == b"WEBSOCKET"
        has_body = method in (b"POST", b"PUT")
        super().__init__(
            *(number, b"GET" if self.websocket else method),
            some_body(number, size) if has_body else b"",
        )
        self.id = 2 * number + 1
        self.open = has_body or self.websocket
        self.pending = self.body or b""
        self.trailers = bool(kind & _TRAILERS)
        self.window = 0
        """Given by WINDOW_UPDATE."""
        self._has_length = bool(kind & _LENGTH)

    def head(self) -> bytes:
        """Its HEADERS frame."""
        fields = [
            (b":method", b"CONNECT" if self.websocket else self.method),
            *((b":scheme", b"https"), (b":authority", b"front.test")),
            (b":path", b"/q%d" % self.number),
        ]
        if self.websocket:
            fields += [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]
        elif self.open and self._has_length:
            fields.append((b"content-length", b"%d" % len(self.pending)))
        return h2.headers(self.id, fields, h2.END_HEADERS | (0 if self.open else h2.END_STREAM))

    def more(self, size: int) -> bytes:
        """Frames of its body; with the end when all of it has gone."""
        frames = b""
        while size and self.pending:
            piece, self.pending = self.pending[:16_000], self.pending[16_000:]
            frames += h2.data(self.id, piece)
            size -= 1
        if self.open and not self.pending:
            self.open = False
            if self.trailers:
                frames += h2.headers(self.id, [(b"x-trailer", b"1")])
            else:
                frames += h2.data(self.id, b"", h2.END_STREAM)
        return frames


class Http2Talk(Talk[_Stream]):
    """A client with streams."""

    def __init__(self, choices: Choices) -> None:
        super().__init__(choices)
        self._connection = Http2Connection(
            self.bench.channel, self.bench.services, FieldEncoder(), self._application
        )
        self._window = _FIRST_WINDOW
        self._first_window = _FIRST_WINDOW
        self.send(_GREETING)

    @property
    def events(self) -> Sequence[Event]:
        ours = (
            *(self._ask, self.send_some, self.send_all, self._more, self._reset, self._give),
            *(self._give_all, self._settings, self._ping),
        )
        return (*ours, *self.backend_events, *self.other_events)

    @property
    def http(self) -> Http2Connection:
        return self._connection

    def _ask(self) -> None:
        kind = self.choices.byte()
        stream = _Stream(len(self.asked), kind, self.choices.byte())
        self.asked.append(stream)
        self.unsent += stream.head()
        if not kind & _OPEN and not stream.websocket:
            self.unsent += stream.more(100)

    def _stream(self) -> _Stream | None:
        number = self.choices.byte()
        return self.asked[-1 - number % len(self.asked)] if self.asked else None

    def _more(self) -> None:
        """A piece of a body, or bytes for a tunnel."""
        stream = self._stream()
        size = self.choices.byte()
        if stream is None:
            return
        if stream.websocket and stream.open and size:
            self.unsent += h2.data(stream.id, b"<q%d>" % stream.number)
        else:
            self.unsent += stream.more(size)

    def _reset(self) -> None:
        stream = self._stream()
        if stream is not None:
            stream.open, stream.pending = False, b""
            self.unsent += h2.rst_stream(stream.id)

    def _give(self) -> None:
        stream = self._stream()
        if stream is not None:
            increment = max(1, _WINDOWS[self.choices.byte() % len(_WINDOWS)])
            stream.window += increment
            self.unsent += h2.window_update(stream.id, increment)

    def _give_all(self) -> None:
        increment = max(1, _WINDOWS[self.choices.byte() % len(_WINDOWS)])
        self._window += increment
        self.unsent += h2.window_update(0, increment)

    def _settings(self) -> None:
        window = _WINDOWS[self.choices.byte() % len(_WINDOWS)]
        self._first_window = max(self._first_window, window)
        self.unsent += h2.settings((4, window))

    def _ping(self) -> None:
        self.unsent += h2.ping() + h2.settings_ack()

    def check_responses(self, data: bytes) -> None:
        """Each stream has its own response, whole or without an end."""
        responses: dict[int, _Response] = {}
        total = 0
        for event in h2.narrate(h2.parse_frames(data), hpack.Decoder()):
            kind, stream_id, *rest = event
            if kind == "HEADERS":
                number = stream_id // 2
                assert number in self.exchanges, f"a response to nothing: {event!r}"
                response = responses.setdefault(stream_id, _Response(self.asked[number]))
                response.hears_head(*rest)
            elif kind == "DATA":
                total += len(rest[0])
                responses[stream_id].hears_data(*rest)
            elif kind == "RST_STREAM" and stream_id in responses:
                responses[stream_id].was_reset = True
        assert total <= self._window, "more than the connection's window"
        for response in responses.values():
            response.check(self._first_window)


class _Response:
    """What came on a stream."""

    def __init__(self, stream: _Stream) -> None:
        self.was_reset = False
        self._stream = stream
        self._status = b""
        self._length: bytes | None = None
        self._said = b""
        self._body = b""
        self._whole = False

    def hears_head(self, fields: Sequence[tuple[bytes, bytes]], end: bool) -> None:
        assert not self._whole, "a head behind the end"
        assert not self.was_reset, "a head behind a reset"
        known = dict(fields)
        self._said += b"".join(b"%b: %b\n" % field for field in fields)
        if self._status:
            assert end, "trailers without an end"
            assert b":status" not in known, "a second final head"
        elif not known[b":status"].startswith(b"1"):
            self._status = known[b":status"]
            self._length = known.get(b"content-length")
            assert not {b"connection", b"transfer-encoding", b"upgrade"} & set(known)
        self._whole = end

    def hears_data(self, data: bytes, end: bool) -> None:
        assert self._status, "data before a head"
        assert not self._whole, "data behind the end"
        assert not self.was_reset, "data behind a reset"
        self._body += data
        self._whole = end

    def check(self, first_window: int) -> None:
        """All in all it is a response to its own request, and in its window."""
        stream = self._stream
        numbers = marks(self._said + self._body)
        assert numbers <= {stream.number}, f"{numbers} in response {stream.number}"
        assert len(self._body) <= first_window + stream.window, "more than the stream's window"
        if not self._whole or self._status != b"200" or stream.websocket:
            return
        if stream.method == b"HEAD":
            assert not self._body, "a body after HEAD"
            return
        assert self._length in (None, b"%d" % len(self._body)), "another length than announced"
        expected = stream.says[0] if len(stream.says) == 1 else None
        assert expected is None or self._body == expected, f"{self._body!r}, not {expected!r}"


def check_talk(data: bytes) -> None:
    """Whatever streams and backends do to each other, each stream gets what is its own."""
    Http2Talk(Choices(data)).play()


# -- seeds -----------------------------------------------------------------------------------------

_ASK, _SEND, _SEND_ALL, _MORE, _RESET, _GIVE, _GIVE_ALL, _SETTINGS, _PING = range(9)
_ANSWER, _, _GO_ON, _ANYTHING, _CLOSES, _RESETS, _SLOW = range(9, 16)
_CLIENT_SLOW, _CLIENT_CLOSES, _VANISHES, _TIME, _POOL, _STOP = range(16, 22)
_TEXT: Final = 0x80
"""Two marks in an answer."""
_KINDS: Final = (*range(8), 2 | _OPEN, 2 | _LENGTH, 2 | _TRAILERS, 3 | _LENGTH | _TRAILERS | _OPEN)


def _talks() -> list[bytes]:
    seeds = []
    for answer in range(len(ANSWERS)):
        for kind in _KINDS:
            first = (_ASK, kind, answer % 4, _SEND_ALL, _ANSWER, answer | _TEXT, 0, 0)
            second = (_ASK, 0, 0, _SEND_ALL, _ANSWER, _TEXT, 0, 0)
            seeds.append(bytes((answer & 3, *first, *second)))
        three = (_ASK, 0, 0, _ASK, 2 | _OPEN, 3, _ASK, 7, 0, _SEND_ALL)
        said = (_ANSWER, answer | _TEXT, 1, 30, _ANSWER, answer | _TEXT, 0, 50, _GO_ON, 1, 0)
        seeds.append(bytes((answer & 3, *three, *said, _MORE, 1, 9, _SEND_ALL, _GO_ON, 0, 0)))
        small = (_SETTINGS, 1, *three, *said, _GIVE, 0, 2, _GIVE_ALL, 2, _SEND, 20, _SEND_ALL)
        seeds.append(bytes((answer & 3, *small)))
    others = (
        *((_CLIENT_SLOW, _TIME, 9), (_CLIENT_CLOSES,), (_VANISHES,), (_TIME, 200), (_STOP, 0)),
        *((_STOP, 1), (_RESETS, 0), (_CLOSES, 0), (_SLOW, 0, _TIME, 99), (_ANYTHING, 0, 1, 65)),
        *((_RESET, 0, _SEND_ALL), (_SETTINGS, 0, _SEND_ALL), (_GIVE, 0, 6, _SEND_ALL), (_PING,)),
    )
    for other in others:
        for kind in _KINDS:
            before = (_ASK, kind, 4, _ASK, 0, 0, _SEND_ALL)
            after = (_ANSWER, _TEXT | 1, 0, 60, *other, _GO_ON, 0, 0, _MORE, 1, 9, _SEND_ALL)
            seeds.append(bytes((kind & 3, *before, *other, *after)))
            seeds.append(bytes((kind & 3, _POOL, 0, *before, *other, _POOL, 1, *after)))
    return seeds


_EVENTS: Final = (
    *(bytes((_ASK, kind, 0, _SEND_ALL)) for kind in _KINDS),
    *(bytes((_ANSWER, answer | _TEXT, 0, 0)) for answer in range(len(ANSWERS))),
    *(bytes((event, 0)) for event in (_GO_ON, _CLOSES, _RESETS, _SLOW, _POOL, _STOP, _SEND)),
    *(bytes((event,)) for event in (_CLIENT_SLOW, _CLIENT_CLOSES, _VANISHES, _SEND_ALL, _PING)),
    *(bytes((event, 0, _SEND_ALL)) for event in (_RESET, _SETTINGS, _GIVE_ALL)),
    *(b"\xff", b"\x01", bytes((_TIME, 6)), bytes((_TIME, 61)), bytes((_TIME, 255)), b"\x04"),
    *(bytes((_GIVE, 0, 2, _SEND_ALL)), bytes((_MORE, 0, 9, _SEND_ALL))),
)

TARGETS: Final = (Target("h2-talks", check_talk, _talks, _EVENTS, SHORT),)
