"""Interim responses (RFC 9110 §15.2): 100 is between the client and us, the others pass."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.backends import Peer, ok, recording, scripted
from tests.e2e.fronts import Front
from tests.e2e.wire import Wire

pytestmark = pytest.mark.anyio

EXPECTING = (
    b"POST /upload HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
)


async def dial(front: Front, site: str) -> Wire:
    return await Wire.open(front.port, front.pki.client_context(), site)


async def test_the_client_is_told_to_go_on_and_the_backend_not_asked(front: Front) -> None:
    async with (
        recording(front.backends.scripted.number) as backend,
        await dial(front, "script.test") as wire,
    ):
        for _ in range(2):
            await wire.send(EXPECTING % b"script.test")
            assert (await wire.response_head()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
            await wire.send(b"hello")
            assert (await wire.response()).status == 200
    assert [bytes(received.body) for received in backend.records] == [b"hello", b"hello"]
    assert all(received.all(b"expect") == [] for received in backend.records)


async def test_who_does_not_wait_is_not_told(front: Front) -> None:
    """The body is there already: a 100 would say nothing (RFC 9110 §10.1.1)."""

    async with (
        recording(front.backends.scripted.number),
        await dial(front, "script.test") as wire,
    ):
        response = await wire.ask(EXPECTING % b"script.test" + b"hello")
        assert response.status == 200
        assert len(response.informational) <= 1


async def test_nobody_is_told_to_go_on_for_nothing(front: Front) -> None:
    """With no backend there, or none for so much, the answer comes without the body."""
    async with await dial(front, "dead.test") as wire:
        response = await wire.ask(EXPECTING % b"dead.test")
        assert (response.status, response.informational) == (502, [])
        assert await wire.read_to_end() == b""
    async with await dial(front, "script.test") as wire:
        raw = EXPECTING.replace(b"/upload", b"/capped").replace(b"5", b"5000") % b"script.test"
        response = await wire.ask(raw)
        assert (response.status, response.informational) == (413, [])
        assert await wire.read_to_end() == b""


async def test_a_100_of_the_backends_stays_here(front: Front) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.request_head()
        assert received is not None
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.request_body(received)
        await peer.send(ok(received))
        await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script),
        await dial(front, "script.test") as wire,
    ):
        await wire.send(EXPECTING % b"script.test")
        assert (await wire.response_head()).status == 100
        await wire.send(b"hello")
        response = await wire.response()
        assert (response.status, response.informational) == (200, [])


async def test_early_hints_pass_at_once(front: Front) -> None:
    """Before the response they are hints to, which waits here until they have been read."""
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
            await read.wait()
            await peer.send(ok(received))

    async with (
        scripted(front.backends.scripted.number, script),
        await dial(front, "script.test") as wire,
    ):
        await wire.send(b"GET / HTTP/1.1\r\nHost: script.test\r\n\r\n")
        hints = await wire.response_head()
        assert (hints.status, hints.get(b"link")) == (103, b"</a.css>; rel=preload")
        read.set()
        assert (await wire.response()).status == 200
        # HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
        await wire.send(b"GET / HTTP/1.0\r\nHost: script.test\r\n\r\n")
        old = await wire.response()
        assert (old.status, old.informational) == (200, [])
