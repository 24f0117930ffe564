"""The HTTP/1.1 engines: who reads the bytes that passed the strict check.

An engine does the two pieces of parsing in which implementations differ: it cuts a field section
into names and values, and it decodes a chunked body. Both only ever see bytes that
:mod:`proxy.http.grammar` and :mod:`proxy.http.chunked` have let through, on which every parser
agrees; so the choice of engine changes the price of a request and never its verdict. The start
line is not the engine's: llhttp knows a closed list of methods and h11 an open one, and a
difference between engines is just what must not be.

``auto`` is httptools (llhttp, C). h11 is pure Python, slower, and the second opinion that the
differential tests are made of.
"""

from __future__ import annotations

from typing import Literal, Protocol

EngineName = Literal["auto", "h11", "httptools"]
RawFields = list[tuple[bytes, bytes]]


class EngineRefusal(Exception):
    """The engine refused bytes that the strict check let through; callers translate it."""


class ChunkedReader(Protocol):
    """Decodes one chunked body (RFC 9112 §7.1)."""

    def receive(self, data: bytes) -> bytes:
        """The body data inside the next encoded bytes. Raises EngineRefusal."""
        ...

    @property
    def complete(self) -> bool:
        """True once the last chunk and the trailer section have been read."""
        ...


class Engine(Protocol):
    """One HTTP/1.1 parser behind the strict check."""

    name: str

    def read_request_fields(self, section: bytes) -> RawFields:
        """Names and values of a request's field section, in order. Raises EngineRefusal."""
        ...

    def read_response_fields(self, section: bytes) -> RawFields:
        """Names and values of a response's field section, in order. Raises EngineRefusal."""
        ...

    def chunked_reader(self) -> ChunkedReader:
        """A fresh decoder for one chunked body."""
        ...


def make_engine(name: EngineName, header_bytes: int) -> Engine:
    """The engine of that name; ``header_bytes`` bounds the sections that it will be given."""
    if name == "h11":
        from proxy.http.engine_h11 import H11Engine

        return H11Engine(header_bytes)
    from proxy.http.engine_httptools import HttptoolsEngine

    return HttptoolsEngine()
