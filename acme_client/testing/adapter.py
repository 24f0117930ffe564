"""The CA without a network: a transport adapter for ``requests``.

A simulated year makes some 200,000 requests; sockets, TLS and HTTP would be most of its time. ::

    session = requests.Session()
    session.mount("https://", ca.adapter())

Everything above the transport is the same, faults included: a connection that the CA drops raises
``requests.ConnectionError``, an answer that comes too late ``requests.ReadTimeout`` (at once).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from acme_client.testing.wire import Reply, Request


class InProcessAdapter(BaseAdapter):
    """Hands each request straight to ``respond``."""

    def __init__(
        self, base_url: str, respond: Callable[[Request], Reply], is_up: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._base_url = base_url
        self._respond = respond
        self._is_up = is_up
        self._http = HTTPAdapter()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        url = request.url or ""
        if not url.startswith(self._base_url + "/"):
            raise requests.ConnectionError(
                f"{url} is not at the test CA {self._base_url}", request=request
            )
        if not self._is_up():
            # As urllib3 tells it: no connection came about, so nothing can have been sent.
            refused = NewConnectionError(HTTPConnection("test-ca"), "connection refused")
            raise requests.ConnectionError(refused, request=request)
        body = request.body or b""
        reply = self._respond(
            Request(
                method=request.method or "GET",
                target=url[len(self._base_url) :],
                headers={
                    _text(name).lower(): _text(value) for name, value in request.headers.items()
                },
                body=body.encode() if isinstance(body, str) else bytes(body),
            )
        )
        self._wait(reply, timeout, request)
        if reply.disconnect:
            raise requests.ConnectionError(f"{url}: the connection was closed", request=request)
        content = reply.body
        if reply.cut_body:
            raise requests.exceptions.ChunkedEncodingError(
                f"{url}: the connection broke after {len(content) // 2} bytes", request=request
            )
        headers = HTTPHeaderDict(reply.fields())
        length = len(content) + reply.padding
        headers["Content-Length"] = str(length)
        raw = HTTPResponse(
            body=_Padded(content if request.method != "HEAD" else b"", reply.padding),
            headers=headers,
            status=reply.status,
            preload_content=False,
            request_method=request.method,
        )
        response: requests.Response = self._http.build_response(request, raw)
        if not stream:
            # As requests' own adapter: the body is read before send returns.
            _ = response.content
        return response

    def close(self) -> None:
        self._http.close()

    def _wait(self, reply: Reply, timeout: Any, request: requests.PreparedRequest) -> None:
        read_timeout = timeout[1] if isinstance(timeout, tuple) else timeout
        if read_timeout is not None and reply.delay >= read_timeout:
            raise requests.ReadTimeout(
                f"{request.url}: no answer within {read_timeout:g} s", request=request
            )
        if reply.delay:
            time.sleep(reply.delay)


class _Padded(io.RawIOBase):
    """A body and so many spaces after it, made as they are read."""

    def __init__(self, body: bytes, padding: int) -> None:
        super().__init__()
        self._body = io.BytesIO(body)
        self._padding = padding

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._body.readinto(buffer)
        if count == 0 and self._padding:
            count = min(self._padding, len(buffer))
            buffer[:count] = b" " * count
            self._padding -= count
        return count

    def read1(self, size: int = -1, /) -> bytes:
        """One read, under the name that buffered streams have for it."""
        return self.read(size) or b""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
