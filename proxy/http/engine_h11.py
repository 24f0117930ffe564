"""The second engine: h11, pure Python.

h11 repairs what it thinks harmless: of equal Content-Length fields it keeps one, and of ``5, 5``
one number. Nothing may be repaired here, so what comes out is compared with what went in.
"""

from __future__ import annotations

import h11

from proxy.http.engine import EngineRefusal, RawFields
from proxy.limits import CHUNK_OVERHEAD_BYTES

_REQUEST_LINE = b"POST / HTTP/1.1\r\n"
_STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
_CHUNKED_REQUEST = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
_SLACK = 1024


class H11Engine:
    """h11, one connection object for each message that has to be read."""

    name = "h11"

    def __init__(self, header_bytes: int) -> None:
        self._limit = header_bytes + _SLACK

    def read_request_fields(self, section: bytes) -> RawFields:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limit)
        event = self._first_event(connection, _REQUEST_LINE + section)
        if not isinstance(event, h11.Request):
            raise EngineRefusal("no complete request head")
        return _unaltered(event, section)

    def read_response_fields(self, section: bytes) -> RawFields:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._limit)
        connection.send(h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"h")]))
        connection.send(h11.EndOfMessage())
        event = self._first_event(connection, _STATUS_LINE + section)
        if not isinstance(event, h11.Response):
            raise EngineRefusal("no complete response head")
        return _unaltered(event, section)

    @staticmethod
    def _first_event(connection: h11.Connection, data: bytes) -> object:
        try:
            connection.receive_data(data)
            return connection.next_event()
        except h11.RemoteProtocolError as error:
            raise EngineRefusal(str(error)) from error

    def chunked_reader(self) -> H11ChunkedReader:
        return H11ChunkedReader()


def _unaltered(event: h11.Request | h11.Response, section: bytes) -> RawFields:
    """The fields that h11 found, with their values as received; refuses a repaired section."""
    found = event.headers.raw_items()
    lines = section.split(b"\r\n")[:-2]
    if len(lines) != len(found):
        raise EngineRefusal("repeated framing fields")
    fields = []
    for line, (name, value) in zip(lines, found, strict=True):
        received = line[len(name) + 1 :].strip(b" \t")
        if received.lower() != value.lower():
            raise EngineRefusal("a framing field with several values")
        fields.append((name, received))
    return fields


class H11ChunkedReader:
    """Decodes a chunked body with a connection that was given a plain chunked request's head."""

    __slots__ = ("_connection", "complete")

    def __init__(self) -> None:
        self.complete = False
        # The gate bounds lines and trailers; h11 must not refuse what that lets through.
        self._connection = h11.Connection(
            h11.SERVER, max_incomplete_event_size=4 * CHUNK_OVERHEAD_BYTES
        )
        self._connection.receive_data(_CHUNKED_REQUEST)
        self._connection.next_event()

    def receive(self, data: bytes) -> bytes:
        pieces = []
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self.complete = True
                    break
                else:
                    break  # NEED_DATA
        except h11.RemoteProtocolError as error:
            raise EngineRefusal(str(error)) from error
        return b"".join(pieces)
