"""The example app, without a proxy: what `make run` shows must itself be right."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from examples.main import app, items


@pytest.fixture
def client() -> httpx.AsyncClient:
    items.clear()
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://a.example")


@pytest.mark.anyio
async def test_items(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).json()["docs"] == "/docs"
    moved = await client.get("/items")
    assert (moved.status_code, moved.headers["location"]) == (307, "https://a.example/items/")
    made = await client.post("/items/", json={"name": "tea", "price": 3.5})
    assert (made.status_code, made.json()["id"]) == (201, 1)
    assert (await client.get("/items/1")).json() == made.json()
    changed = await client.put("/items/1", json={"name": "tea", "price": 4})
    assert changed.json()["price"] == 4
    assert len((await client.get("/items/")).json()) == 1
    assert (await client.delete("/items/1")).status_code == 204
    assert (await client.get("/items/1")).status_code == 404
    assert (await client.post("/items/", json={"name": "", "price": 1})).status_code == 422


@pytest.mark.anyio
async def test_streams_and_bodies(client: httpx.AsyncClient) -> None:
    events = await client.get("/events", params={"count": 2, "every": 0})
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.text == "id: 0\ndata: event 0\n\nid: 1\ndata: event 1\n\n"
    body = b"x" * 100_000
    sent = await client.post("/upload", content=body)
    assert sent.json() == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    seen = (await client.get("/client")).json()
    assert (seen["scheme"], seen["url"]) == ("https", "https://a.example/client")
