"""The default engine: httptools, which is llhttp."""

from __future__ import annotations

import httptools

from proxy.http.engine import EngineRefusal, RawFields

_REQUEST_LINE = b"POST / HTTP/1.1\r\n"
_STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
_CHUNKED_REQUEST = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


class _FieldCollector:
    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: RawFields = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


class _BodyCollector:
    __slots__ = ("complete", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


class HttptoolsEngine:
    """llhttp through httptools."""

    name = "httptools"

    def read_request_fields(self, section: bytes) -> RawFields:
        collector = _FieldCollector()
        return self._read(httptools.HttpRequestParser(collector), collector, _REQUEST_LINE, section)

    def read_response_fields(self, section: bytes) -> RawFields:
        collector = _FieldCollector()
        return self._read(httptools.HttpResponseParser(collector), collector, _STATUS_LINE, section)

    def _read(
        self,
        parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
        collector: _FieldCollector,
        start_line: bytes,
        section: bytes,
    ) -> RawFields:
        if b"\t" in section:
            # llhttp reads "chunked<TAB>" as another coding, but the whitespace around a value is
            # no part of it (RFC 9110 §5.5).
            section = b"\r\n".join([line.rstrip(b" \t") for line in section.split(b"\r\n")])
        try:
            parser.feed_data(start_line + section)
        except httptools.HttpParserUpgrade:
            pass  # how httptools says that the head is complete and asks for an upgrade
        except httptools.HttpParserError as error:
            raise EngineRefusal(str(error)) from error
        if not collector.complete:
            raise EngineRefusal("the section ended early")
        return collector.fields

    def chunked_reader(self) -> HttptoolsChunkedReader:
        return HttptoolsChunkedReader()


class HttptoolsChunkedReader:
    """Decodes a chunked body with a parser that was given a plain chunked request's head."""

    __slots__ = ("_collector", "_parser")

    def __init__(self) -> None:
        self._collector = _BodyCollector()
        self._parser = httptools.HttpRequestParser(self._collector)
        self._parser.feed_data(_CHUNKED_REQUEST)

    def receive(self, data: bytes) -> bytes:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise EngineRefusal(str(error)) from error
        pieces = self._collector.pieces
        if len(pieces) == 1:
            return pieces.pop()
        joined = b"".join(pieces)
        pieces.clear()
        return joined

    @property
    def complete(self) -> bool:
        return self._collector.complete
