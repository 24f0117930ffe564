"""The FastAPI app behind the proxy: it says what reached it, and misbehaves when asked to.

What a test orders for a later moment (``/gate``) is held open until another request says so, so
that no test has to guess a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

app = FastAPI(title="Behind the proxy")

PATTERN = bytes(range(251)) * 261
"""What downloads are made of: a prime length, so that a lost or doubled piece shows."""

_gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(0))
_counts: Counter[str] = Counter()


class Item(BaseModel):
    """Something for the OpenAPI page to show."""

    name: str


@app.get("/items/")
async def items() -> list[Item]:
    """``/items`` redirects here (Starlette's redirect_slashes)."""
    return [Item(name="one")]


@app.post("/items/")
async def add_item(item: Item) -> Item:
    return item


@app.api_route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@app.api_route("/echo/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def echo(request: Request) -> dict[str, Any]:
    """All that is known of the request."""
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    scope = request.scope
    return {
        "method": request.method,
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("ascii"),
        "query": scope["query_string"].decode("ascii"),
        "scheme": scope["scheme"],
        "http_version": scope["http_version"],
        "root_path": scope["root_path"],
        "client": request.client.host if request.client else None,
        "url": str(request.url),
        "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]],
        "size": size,
        "sha256": digest.hexdigest(),
        "pid": os.getpid(),
    }


@app.head("/head")
async def head() -> Response:
    """A HEAD that says how long the GET would be."""
    return Response(headers={"Content-Length": "1234", "X-Head": "yes"})


@app.get("/redirect")
async def redirect(request: Request) -> RedirectResponse:
    """To an absolute URL, as apps build them."""
    return RedirectResponse(request.url_for("items"))


@app.get("/status/{status}")
async def status(status: int) -> Response:
    if status in (204, 304):
        return Response(status_code=status, headers={"ETag": '"x"'})
    return PlainTextResponse(f"status {status}", status)


@app.get("/cookies")
async def cookies() -> Response:
    response = PlainTextResponse("cookies")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@app.get("/crash")
async def crash() -> None:
    raise RuntimeError("the app's own fault")


@app.get("/download")
async def download(size: int, length: bool = True) -> StreamingResponse:
    """``size`` bytes; chunked when no length is to be told."""

    async def body() -> AsyncIterator[bytes]:
        left = size
        while left > 0:
            yield PATTERN[:left]
            left -= len(PATTERN)

    headers = {"Content-Length": str(size)} if length else {}
    return StreamingResponse(body(), headers=headers, media_type="application/octet-stream")


@app.api_route("/upload", methods=["POST", "PUT"])
async def upload(request: Request) -> dict[str, Any]:
    """Take a body of any size without keeping it."""
    size, digest = 0, hashlib.sha256()
    async for piece in request.stream():
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


class Bounce:
    """Sends the body back while it is still coming.

    Plain ASGI: beside a StreamingResponse Starlette listens for a disconnect, and what it hears
    are pieces of the body.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while (message := await receive())["type"] == "http.request":
            more = message.get("more_body", False)
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body, "more_body": more})
            if not more:
                return


app.add_route("/bounce", Bounce(), methods=["POST"])  # type: ignore[arg-type]


@app.get("/events/{gate}")
async def events(gate: str, count: int) -> StreamingResponse:
    """Server-sent events; each but the first waits for an opening of the gate."""

    async def stream() -> AsyncIterator[str]:
        for number in range(count):
            if number:
                await _gates[gate].acquire()
            yield f"id: {number}\ndata: event {number}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/wait/{gate}")
async def wait(gate: str) -> str:
    """Answer when the gate is opened."""
    _counts[gate] += 1
    await _gates[gate].acquire()
    return f"waited at {gate}"


@app.get("/waiting/{gate}")
async def waiting(gate: str) -> int:
    """How many requests have come to the gate."""
    return _counts[gate]


@app.post("/open/{gate}")
async def open_gate(gate: str) -> None:
    """Let one through."""
    _gates[gate].release()


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    """Echo text and bytes."""
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


@app.websocket("/ws/about")
async def ws_about(socket: WebSocket) -> None:
    """Say what the app knows of the connection, then close."""
    await socket.accept(subprotocol=next(iter(socket.scope["subprotocols"]), None))
    host = socket.client.host if socket.client else None
    await socket.send_json({"scheme": socket.url.scheme, "url": str(socket.url), "client": host})
    await socket.close(4001, "enough")


@app.websocket("/ws/denied")
async def ws_denied(socket: WebSocket) -> None:
    """Refuse before accepting: Uvicorn answers 403."""
    await socket.close()
