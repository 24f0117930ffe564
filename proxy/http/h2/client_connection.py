"""The client's side of an HTTP/2 connection, for upstreams that speak ``h2c`` (gRPC).

With prior knowledge (RFC 9113 §3.3): the preface is sent at once, and requests may follow before
the server's SETTINGS have come.

Which requests may be sent again elsewhere is the question that a proxy has to answer exactly. The
server says so itself in two ways (RFC 9113 §8.7): RST_STREAM with REFUSED_STREAM, and GOAWAY with a
last stream below the request's. The handler hears ``on_unprocessed`` for those, and ``on_reset``
for all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from proxy.clock import CoarseClock
from proxy.http.h2 import floods
from proxy.http.h2.endpoint import Handler
from proxy.http.h2.faults import ConnectionFault, ErrorCode, StreamFault, malformed
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.h2.flow_control import STREAM_WINDOW
from proxy.http.h2.frames import END_STREAM, MAX_STREAM_ID, PREFACE
from proxy.http.h2.header_blocks import Block, Field
from proxy.http.h2.priority import UNSAID
from proxy.http.h2.receiving import ReceivingHalf
from proxy.http.h2.request_fields import DecodedResponse, read_response, read_trailers
from proxy.http.h2.settings import (
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_HEADER_LIST_SIZE,
    settings_frame,
)
from proxy.http.h2.streams import (
    AFTER_END_SENT,
    CLOSED,
    HALF_CLOSED_REMOTE,
    OPEN,
    RECEIVING,
    Stream,
)
from proxy.limits import INFORMATIONAL_RESPONSES, Limits

STREAMS: Final = 100
"""Requests at a time on one connection, when the server allows that many or does not say."""


class ClientHandler(Handler, Protocol):
    """Hears what happens on a client's connection."""

    def on_informational(self, stream_id: int, response: DecodedResponse) -> None:
        """A 1xx response."""
        ...

    def on_response(self, stream_id: int, response: DecodedResponse, end_stream: bool) -> None:
        """The final response's head."""
        ...

    def on_unprocessed(self, stream_id: int) -> None:
        """The stream is gone, and the server has done nothing about it: it may be sent again."""
        ...

    def on_goaway(self, code: int) -> None:
        """No more requests here; those that the server has taken go on."""
        ...


class ClientConnection(ReceivingHalf):
    """See the module.

    Attributes:
        handler: hears what happens.
        streams: those that are open or half-closed.
        closed: an error has ended the connection; send what there is, and close.
        going_away: the server has sent GOAWAY.
    """

    __slots__ = ("_asker", "_next_stream_id", "going_away")

    _peer_is_server = True

    def __init__(
        self, handler: ClientHandler, clock: CoarseClock, limits: Limits, encoder: FieldEncoder
    ) -> None:
        """Queue the client's preface; arguments as for ``ServerConnection``."""
        opening = PREFACE + settings_frame(
            [
                (ENABLE_PUSH, 0),
                (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (MAX_HEADER_LIST_SIZE, limits.header_bytes),
            ]
        )
        super().__init__(clock, limits, encoder, opening=opening, preface=b"")
        self.handler = handler
        self._asker = handler
        self._next_stream_id = 1
        self.going_away = False

    # -- what the owner calls ------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        """How many more requests may be sent now (RFC 9113 §5.1.2)."""
        if self.closed or self.going_away or self._next_stream_id > MAX_STREAM_ID:
            return 0
        return max(0, min(STREAMS, self._peer.max_concurrent_streams) - len(self.streams))

    @property
    def most_streams(self) -> int:
        """How many requests at a time there may be; -1 before the server's SETTINGS."""
        peer = self._peer
        return min(STREAMS, peer.max_concurrent_streams) if peer.received else -1

    @property
    def extended_connect(self) -> bool:
        """True when the server takes extended CONNECT (RFC 8441 §3)."""
        return self._peer.connect_protocol

    def send_request(
        self,
        method: bytes,
        scheme: bytes,
        authority: bytes,
        path: bytes,
        fields: Iterable[Field],
        *,
        protocol: bytes | None = None,
        end_stream: bool = False,
    ) -> int:
        """Open a stream with a request's head.

        Args:
            method, scheme, authority, path: the pseudo-header fields.
            fields: without Host and hop-by-hop fields, except ``te: trailers``.
            protocol: of an extended CONNECT.
            end_stream: there is no body.

        Returns:
            The stream's identifier.

        Raises:
            RuntimeError: ``capacity`` is 0.
            ValueError: a name or value that HTTP does not know.
        """
        if self.capacity <= 0:
            raise RuntimeError(f"no room for another request on {self!r}")
        pseudo = [
            (b":method", method),
            (b":scheme", scheme),
            (b":authority", authority),
            (b":path", path),
        ]
        if protocol is not None:
            pseudo.append((b":protocol", protocol))
        block = self._encoder.encode([*pseudo, *fields])
        stream_id = self._next_stream_id
        self._next_stream_id += 2
        stream = Stream(stream_id, OPEN, self._peer.initial_window, UNSAID, self._clock.now)
        stream.head_sent = True
        stream.tunnel = method == b"CONNECT"
        stream.no_body = method == b"HEAD"
        self.streams[stream_id] = stream
        self._floods.work += 1
        self._send_block(stream, block, END_STREAM if end_stream else 0)
        return stream_id

    # -- what the receiving half calls ---------------------------------------------------------

    def _field_block(self, stream_id: int, block: Block, end_stream: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            self._late_block(stream_id)
            return
        if stream.state not in RECEIVING:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if block.oversized:
            raise malformed(f"header fields of more than {self._limits.header_bytes} bytes")
        if stream.head_received:
            # RFC 9113 §8.1
            if not end_stream or stream.expected > 0 or stream.tunnel:
                raise malformed("trailers that do not end the stream, or come too soon")
            fields = read_trailers(block, self._limits)
            self._end_received(stream)
            self.handler.on_trailers(stream_id, fields)
            return
        response = block.meaning
        if not isinstance(response, DecodedResponse):
            response = block.meaning = read_response(block, self._limits)
        if response.status < 200:
            self._informational(stream, response, end_stream)
        else:
            self._final_response(stream, response, end_stream)

    def _informational(self, stream: Stream, response: DecodedResponse, end_stream: bool) -> None:
        stream.informational += 1
        if end_stream or stream.informational > INFORMATIONAL_RESPONSES:
            raise malformed("a 1xx response that ends the stream, or too many of them")
        self._asker.on_informational(stream.id, response)

    def _final_response(self, stream: Stream, response: DecodedResponse, end_stream: bool) -> None:
        stream.head_received = True
        # RFC 9110 §8.6: HEAD and 304 declare the length of what is not sent.
        no_body = stream.no_body or response.status in (204, 304)
        tunnel = stream.tunnel = stream.tunnel and response.status < 300
        if no_body:
            stream.expected = 0
        elif response.content_length is not None and not tunnel:
            stream.expected = response.content_length
            if end_stream and stream.expected:
                raise malformed("no body where Content-Length says one")
        if end_stream:
            self._end_received(stream)
        self._asker.on_response(stream.id, response, end_stream)

    def _late_block(self, stream_id: int) -> None:
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on an idle stream")
        if not self._closed_streams.ignores(stream_id):
            self._closed_stream("HEADERS", stream_id)
        self._floods.note(floods.LATE, self._clock.now)

    def _check_data(self, stream: Stream, count: int, end_stream: bool) -> None:
        if not stream.head_received:
            raise malformed("DATA before the response's head")
        super()._check_data(stream, count, end_stream)

    def _end_sent(self, stream: Stream) -> None:
        stream.state = AFTER_END_SENT[stream.state]
        if stream.state == CLOSED:
            del self.streams[stream.id]

    def _stream_reset(self, stream: Stream, code: int, reason: str) -> None:
        if stream.state == HALF_CLOSED_REMOTE:
            # RFC 9113 §8.1: the response is complete, and the server wants no more of the request.
            return
        if code == ErrorCode.REFUSED_STREAM and not stream.head_received:
            self._asker.on_unprocessed(stream.id)
        else:
            super()._stream_reset(stream, code, reason)

    def _is_idle(self, stream_id: int) -> bool:
        return not stream_id & 1 or stream_id >= self._next_stream_id

    def _is_refused(self, stream_id: int) -> bool:
        return False

    def _goaway(self, last_stream_id: int, code: int) -> None:
        # RFC 9113 §6.8
        self.going_away = True
        for stream_id in [number for number in self.streams if number > last_stream_id]:
            stream = self.streams.pop(stream_id, None)
            if stream is not None:
                self._drop_backlog(stream)
                self._closed_streams.reset_by_us(stream_id, 0)
                self._asker.on_unprocessed(stream_id)
        self._asker.on_goaway(code)

    def _pong(self, payload: bytes) -> None:
        """Only the keep-alive is ever sent by a client."""

    def _priority_update(self, stream_id: int, value: bytes) -> None:
        # RFC 9218 §7.1
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE from a server")

    def __repr__(self) -> str:
        state = "closed" if self.closed else "going away" if self.going_away else "open"
        return f"<ClientConnection {state}, {len(self.streams)} streams, {self.unsent} unsent>"
