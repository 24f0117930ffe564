"""httptools behind the gate."""

from __future__ import annotations

import pytest

from proxy.http.engine import EngineRefusal
from proxy.http.engine_httptools import HttptoolsEngine

ENGINE = HttptoolsEngine()


def test_fields_come_out_as_they_came_in() -> None:
    section = b"Host: h\r\nX-MiXed:\t a  b \r\nEmpty:\r\nX: \xff\r\n\r\n"
    fields = [(b"Host", b"h"), (b"X-MiXed", b"a  b"), (b"Empty", b""), (b"X", b"\xff")]
    assert [(n, v.strip(b" \t")) for n, v in ENGINE.read_request_fields(section)] == fields
    assert [(n, v.strip(b" \t")) for n, v in ENGINE.read_response_fields(section)] == fields


def test_a_request_for_an_upgrade_is_a_head_like_any_other() -> None:
    section = b"Host: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert len(ENGINE.read_request_fields(section)) == 3


def test_an_incomplete_section_is_refused() -> None:
    for read in (ENGINE.read_request_fields, ENGINE.read_response_fields):
        with pytest.raises(EngineRefusal):
            read(b"Host: h\r\n")


def test_a_broken_section_is_refused() -> None:
    for read in (ENGINE.read_request_fields, ENGINE.read_response_fields):
        with pytest.raises(EngineRefusal):
            read(b"Content-Length: x\r\n\r\n")


def test_a_chunked_body_is_decoded() -> None:
    reader = ENGINE.chunked_reader()
    assert reader.receive(b"5\r\nhel") == b"hel"
    assert not reader.complete
    assert reader.receive(b"lo\r\n1\r\n!\r\n0\r\n") == b"lo!"
    assert reader.receive(b"") == b""
    assert not reader.complete
    assert reader.receive(b"\r\n") == b""
    assert reader.complete


def test_broken_chunks_are_refused() -> None:
    with pytest.raises(EngineRefusal):
        ENGINE.chunked_reader().receive(b"x\r\n")
