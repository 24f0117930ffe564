"""h11 behind the gate: what it would repair is refused, and its own limits never show."""

from __future__ import annotations

import pytest

from proxy.http.chunked import ChunkedBody
from proxy.http.engine import EngineRefusal
from proxy.http.engine_h11 import H11Engine

ENGINE = H11Engine(header_bytes=32 * 1024)


def test_fields_come_out_as_they_came_in() -> None:
    section = b"Host: h\r\nX-MiXed:\t a  b \r\nTransfer-Encoding: Chunked\r\nEmpty:\r\n\r\n"
    fields = [
        (b"Host", b"h"),
        (b"X-MiXed", b"a  b"),
        (b"Transfer-Encoding", b"Chunked"),
        (b"Empty", b""),
    ]
    assert ENGINE.read_request_fields(section) == fields
    assert ENGINE.read_response_fields(section) == fields


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5,5,5\r\n",
    ],
)
def test_nothing_is_repaired(lines: bytes) -> None:
    for read in (ENGINE.read_request_fields, ENGINE.read_response_fields):
        with pytest.raises(EngineRefusal):
            read(b"Host: h\r\n" + lines + b"\r\n")


def test_an_incomplete_section_is_refused() -> None:
    for read in (ENGINE.read_request_fields, ENGINE.read_response_fields):
        with pytest.raises(EngineRefusal):
            read(b"Host: h\r\n")


def test_a_chunked_body_is_decoded() -> None:
    reader = ENGINE.chunked_reader()
    assert reader.receive(b"5\r\nhel") == b"hel"
    assert not reader.complete
    assert reader.receive(b"lo\r\n1\r\n!\r\n0\r\n") == b"lo!"
    assert not reader.complete
    assert reader.receive(b"\r\n") == b""
    assert reader.complete


def test_broken_chunks_are_refused() -> None:
    with pytest.raises(EngineRefusal):
        ENGINE.chunked_reader().receive(b"x\r\n")


def test_all_trailers_that_the_gate_lets_through_fit() -> None:
    """Under small header limits too: the reader's bound is the gate's and not the head's."""
    data = b"x" * 100_000
    trailers = b"a:\r\n" * 8_000
    body = ChunkedBody(H11Engine(header_bytes=256).chunked_reader())
    decoded, rest = body.receive(b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(data), data, trailers))
    assert (decoded, rest, body.complete) == (data, b"", True)
