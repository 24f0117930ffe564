"""A small HTTP/1.1 client for http-01: one GET, redirects followed as a CA follows them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import h11


class FetchError(Exception):
    """No usable response; the text says why."""


@dataclass(frozen=True, slots=True)
class Fetched:
    url: str
    status: int
    body: bytes
    location: str | None = None


async def fetch(
    url: str,
    *,
    address_of: Callable[[str], Awaitable[str]],
    ports: Mapping[int, int],
    max_redirects: int,
    max_body: int,
) -> Fetched:
    """GET over the ports that ``ports`` maps; a redirect elsewhere is refused."""
    for _ in range(max_redirects + 1):
        parts = urlsplit(url)
        response = await _get(parts, url, address_of, ports, max_body)
        if response.location is None:
            return response
        url = urljoin(url, response.location)
    raise FetchError("Too many redirects")


async def _get(
    parts: SplitResult,
    url: str,
    address_of: Callable[[str], Awaitable[str]],
    ports: Mapping[int, int],
    max_body: int,
) -> Fetched:
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise FetchError(f"Invalid protocol scheme or port in redirect target {url!r}") from None
    if port not in ports or parts.hostname is None:
        allowed = ", ".join(map(str, ports))
        raise FetchError(f"Invalid port in redirect target {url!r}. Only {allowed} are supported")
    address = await address_of(parts.hostname)
    context = None
    if parts.scheme == "https":
        # As a CA: the certificate of a name that is only now being proved cannot be trusted yet.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(
            address,
            ports[port],
            ssl=context,
            server_hostname=parts.hostname if context is not None else None,
        )
    except OSError as error:
        raise FetchError(f"Connection to {address} failed: {error}") from None
    try:
        return await _converse(parts, url, reader, writer, max_body)
    except OSError as error:
        raise FetchError(f"Connection to {address} broke: {error}") from None
    finally:
        await abort(writer)


async def abort(writer: asyncio.StreamWriter) -> None:
    """Close at once, and wait until the socket is gone: the loop may be about to end."""
    # Only once: Python 3.11.2's TLS transport fails when it is aborted again.
    if not writer.transport.is_closing():
        writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _converse(
    parts: SplitResult,
    url: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    max_body: int,
) -> Fetched:
    connection = h11.Connection(h11.CLIENT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = h11.Request(
        method="GET",
        target=target,
        headers=[
            ("Host", parts.netloc),
            ("User-Agent", "Test-ACME-CA (validation)"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ],
    )
    writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    status, location, body = 0, None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise FetchError(f"Malformed HTTP response: {error}") from None
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            case h11.Response():
                status = event.status_code
                if 300 <= status < 400:
                    location = dict(event.headers).get(b"location")
            case h11.Data():
                body += event.data
                if len(body) > max_body:
                    raise FetchError(f"Response larger than {max_body} bytes")
            case h11.EndOfMessage():
                return Fetched(url, status, body, location.decode() if location else None)
            case _:
                pass
