"""A small FastAPI app with one of everything that a proxy can get wrong.

``/items`` redirects to ``/items/`` (scheme and host must be right), ``/client`` tells what the app
believes about its client, ``/events`` streams server-sent events, ``/upload`` takes a body of any
size without keeping it, ``/echo`` is a WebSocket, ``/docs`` is FastAPI's own page.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

app = FastAPI(title="Items", description=__doc__)


class Item(BaseModel):
    """Something to keep."""

    name: str = Field(min_length=1, max_length=100)
    price: float = Field(gt=0)


class StoredItem(Item):
    """An item with the number that it got."""

    id: int


class Client(BaseModel):
    """What the app believes about a request."""

    host: str | None
    scheme: str
    url: str
    http_version: str


class Upload(BaseModel):
    """What arrived."""

    size: int
    sha256: str


items: dict[int, StoredItem] = {}


@app.get("/")
async def root() -> dict[str, str]:
    """Where to look next."""
    return {"message": "Hello from behind Vestibule", "docs": "/docs"}


@app.get("/items/")
async def list_items() -> list[StoredItem]:
    return list(items.values())


@app.post("/items/", status_code=201)
async def create_item(item: Item) -> StoredItem:
    stored = StoredItem(id=max(items, default=0) + 1, **item.model_dump())
    items[stored.id] = stored
    return stored


@app.get("/items/{number}")
async def read_item(number: int) -> StoredItem:
    if number not in items:
        raise HTTPException(404, f"there is no item {number}")
    return items[number]


@app.put("/items/{number}")
async def replace_item(number: int, item: Item) -> StoredItem:
    await read_item(number)
    items[number] = StoredItem(id=number, **item.model_dump())
    return items[number]


@app.delete("/items/{number}", status_code=204)
async def delete_item(number: int) -> None:
    await read_item(number)
    del items[number]


@app.get("/client")
async def client(request: Request) -> Client:
    return Client(
        host=request.client.host if request.client else None,
        scheme=request.url.scheme,
        url=str(request.url),
        http_version=request.scope["http_version"],
    )


@app.get("/events")
async def events(
    count: Annotated[int, Query(ge=1, le=1000)] = 5,
    every: Annotated[float, Query(ge=0, le=60)] = 1.0,
) -> StreamingResponse:
    """Server-sent events, one at a time."""

    async def stream() -> AsyncIterator[str]:
        for number in range(count):
            yield f"id: {number}\ndata: event {number}\n\n"
            if number + 1 < count:
                await asyncio.sleep(every)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.post("/upload")
async def upload(request: Request) -> Upload:
    """Read a body as it comes; nothing of it is kept."""
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
    return Upload(size=size, sha256=digest.hexdigest())


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Send back what comes."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return
