"""What goes wrong is told on small clean pages that leak nothing, and costs one request only."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.backends import Peer, ok, scripted
from tests.e2e.fronts import Front
from tests.e2e.waiting import until
from tests.e2e.wire import Response, Wire

pytestmark = pytest.mark.anyio


async def open_wire(front: Front, site: str, *alpn: str) -> Wire:
    return await Wire.open(front.port, front.pki.client_context(*alpn), site)


def get(host: str, *lines: bytes, target: bytes = b"/") -> bytes:
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, host.encode(), fields)


def assert_is_page(response: Response, status: int, front: Front) -> None:
    """Of the proxy, in HTML, without a word about what stands behind it."""
    assert response.status == status
    assert response.get(b"content-type") == b"text/html; charset=utf-8"
    assert f"<h1>{status} {response.reason.decode()}</h1>" in response.text
    assert len(response.body) < 1000
    assert_leaks_nothing(response, front)


def assert_is_json(response: Response, status: int, front: Front) -> None:
    assert response.status == status
    assert response.get(b"content-type") == b"application/json"
    assert list(json.loads(response.body)) == ["detail"]
    assert_leaks_nothing(response, front)


def assert_leaks_nothing(response: Response, front: Front) -> None:
    backends = front.backends
    everything = response.head + response.body
    for port in (backends.dead, backends.scripted):
        assert str(port.number).encode() not in everything
    for word in (b"127.0.0.1", b"Traceback", b"vestibule", b"python", b"Errno", b"refused"):
        assert word.lower() not in everything.lower()
    assert response.get(b"server") is None


async def test_nobody_behind_is_502(front: Front) -> None:
    async with await open_wire(front, "dead.test") as wire:
        assert_is_page(await wire.ask(get("dead.test")), 502, front)
        # The connection lives on.
        wants_json = b"Accept: application/json"
        assert_is_json(await wire.ask(get("dead.test", wants_json)), 502, front)
        browser = b"Accept: text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"
        assert_is_page(await wire.ask(get("dead.test", browser)), 502, front)
        head = get("dead.test").replace(b"GET", b"HEAD")
        response = await wire.ask(head, b"HEAD")
        assert response.status == 502
        assert int(response.get(b"content-length") or b"0") > 0


async def test_an_upload_to_nobody_is_502(front: Front) -> None:
    async with await open_wire(front, "dead.test") as wire:
        await wire.send(b"POST / HTTP/1.1\r\nHost: dead.test\r\nContent-Length: 10\r\n\r\nhello")
        assert_is_page(await wire.response(), 502, front)


async def test_garbage_from_behind_is_502(front: Front) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"SSH-2.0-secret 127.0.0.1\r\n")

    async with (
        scripted(front.backends.scripted.number, script),
        await open_wire(front, "script.test") as wire,
    ):
        response = await wire.ask(get("script.test"))
        assert_is_page(response, 502, front)
        assert b"secret" not in response.body


async def test_no_answer_in_time_is_504(tight_front: Front) -> None:
    """And a later request is not held up by it."""

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        if request.target == b"/slow":
            await peer.wait_for_end()
        else:
            await peer.send(ok(request))

    async with (
        scripted(tight_front.backends.scripted.number, script) as backend,
        await open_wire(tight_front, "script.test") as wire,
        await open_wire(tight_front, "script.test") as other,
    ):
        await wire.send(get("script.test", target=b"/slow"))
        await until(lambda: backend.peers, "the slow request at the backend")
        assert (await other.ask(get("script.test"))).status == 200
        assert_is_page(await wire.response(), 504, tight_front)
        # What the backend still does for it is of no use to anybody.
        async with asyncio.timeout(20):
            await backend.peers[0].ended.wait()
        assert (await wire.ask(get("script.test"))).status == 200


async def test_a_stopping_backend_is_503_or_502_never_a_hang(front: Front) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with (
        scripted(front.backends.scripted.number, script),
        await open_wire(front, "script.test") as wire,
    ):
        for _ in range(5):
            assert (await wire.ask(get("script.test"))).status == 502


@pytest.mark.parametrize("host", ["other.test", "app.test.evil.test", "127.0.0.1", "[::1]"])
async def test_a_host_that_is_not_served_is_421(front: Front, host: str) -> None:
    async with await open_wire(front, "front.test") as wire:
        assert_is_page(await wire.ask(get(host)), 421, front)


async def test_another_sites_host_is_421(front: Front) -> None:
    """Its own rules have not been applied to this connection (RFC 9110 §15.5.20)."""
    async with await open_wire(front, "front.test") as wire:
        assert_is_page(await wire.ask(get("script.test")), 421, front)


async def test_a_body_over_the_routes_cap_is_413(front: Front) -> None:
    async with await open_wire(front, "script.test") as wire:
        await wire.send(
            b"POST /capped HTTP/1.1\r\nHost: script.test\r\nContent-Length: 1001\r\n\r\n"
        )
        assert_is_page(await wire.response(), 413, front)
        assert await wire.read_to_end() == b""


async def test_a_chunked_body_over_the_routes_cap_is_413(front: Front) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.request()
        assert received is not None
        await peer.send(ok(received))

    async with scripted(front.backends.scripted.number, script):
        async with await open_wire(front, "script.test") as wire:
            head = (
                b"POST /capped HTTP/1.1\r\nHost: script.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            await wire.send(head + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
            await wire.send(b"0\r\n\r\n")
            assert (await wire.response()).status == 200
            await wire.send(head + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")
            assert_is_page(await wire.response(), 413, front)
            assert await wire.read_to_end() == b""


async def test_trace_and_connect_are_405(front: Front) -> None:
    for line in (b"TRACE / HTTP/1.1", b"CONNECT front.test:443 HTTP/1.1"):
        async with await open_wire(front, "front.test") as wire:
            response = await wire.ask(line + b"\r\nHost: front.test\r\nX-Secret: x\r\n\r\n")
            assert_is_page(response, 405, front)
            assert b"x-secret" not in response.body.lower()
