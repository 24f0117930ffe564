from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from acme_client.testing.fetch import Fetched, FetchError, abort, fetch

pytestmark = pytest.mark.anyio


async def _loopback(name: str) -> str:
    return "127.0.0.1"


async def _ask(
    answer: bytes,
    url: str = "http://a.example/x?y=1",
    *,
    close: bool = True,
    address_of: Callable[[str], Awaitable[str]] = _loopback,
) -> tuple[Fetched, bytes]:
    asked = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if close:
            writer.write_eof()
        await reader.read()
        await abort(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        fetched = await fetch(
            url,
            address_of=address_of,
            ports={80: port, 443: port},
            max_redirects=2,
            max_body=100,
        )
    finally:
        server.close()
    return fetched, asked


async def test_a_get_with_its_host() -> None:
    fetched, asked = await _ask(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", close=False)
    assert fetched == Fetched("http://a.example/x?y=1", 200, b"hi")
    assert asked.startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\n")


async def test_a_body_until_the_end_and_informational_answers() -> None:
    fetched, _ = await _ask(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall of it")
    assert fetched.body == b"all of it"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "Malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "Malformed"),
        (b"\x16\x03\x01\r\n\r\n", "Malformed"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, "larger than 100"),
        (b"HTTP/1.1 302 F\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "Too many redirects"),
        (b"HTTP/1.1 302 F\r\nLocation: //b:81/\r\nContent-Length: 0\r\n\r\n", "Invalid port"),
        (b"HTTP/1.1 302 F\r\nLocation: http://b:x/\r\nContent-Length: 0\r\n\r\n", "Invalid"),
    ],
)
async def test_what_is_no_answer(answer: bytes, words: str) -> None:
    with pytest.raises(FetchError, match=words):
        await _ask(answer)
