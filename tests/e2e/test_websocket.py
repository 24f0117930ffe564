"""WebSockets through the proxy: real Uvicorn and the ``websockets`` client; raw backends for the
bytes that matter at the switch of protocols."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.e2e.backends import Peer, Received, scripted
from tests.e2e.fronts import Front
from tests.e2e.waiting import PATIENCE
from tests.e2e.wire import Wire

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: script.test\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)
SECOND = b"GET /second HTTP/1.1\r\nHost: script.test\r\n\r\n"


def dial(front: Front, path: str, **options: Any) -> connect:
    return connect(
        f"wss://app.test:{front.port}{path}",
        host="127.0.0.1",
        ssl=front.pki.client_context(),
        proxy=None,
        open_timeout=PATIENCE,
        max_size=None,
        **options,
    )


async def test_messages_go_both_ways(app_front: Front) -> None:
    async with dial(app_front, "/ws") as socket:
        for message in ("", "hello", "ä" * 1000, b"", b"\0\xff" * 100, "x" * 1_000_000):
            await socket.send(message)
            assert await socket.recv() == message
        pong = await socket.ping()
        async with asyncio.timeout(PATIENCE):
            await pong
    assert socket.close_code == 1000


async def test_many_at_once(app_front: Front) -> None:
    async def talk(number: int) -> None:
        async with dial(app_front, "/ws") as socket:
            for turn in range(5):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"

    await asyncio.gather(*(talk(number) for number in range(20)))


async def test_the_app_sees_wss_and_the_client(app_front: Front) -> None:
    async with dial(app_front, "/ws/about", subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol == "a"
        seen = json.loads(await socket.recv())
        assert seen["scheme"] == "wss"
        assert seen["client"] == "127.0.0.1"
        assert seen["url"] == f"wss://app.test:{app_front.port}/ws/about"
        with pytest.raises(ConnectionClosedError):
            await socket.recv()
    assert (socket.close_code, socket.close_reason) == (4001, "enough")


async def test_a_denial_passes(app_front: Front) -> None:
    with pytest.raises(InvalidStatus) as denied:
        await dial(app_front, "/ws/denied")
    assert denied.value.response.status_code == 403


async def test_a_client_that_vanishes_frees_the_backend(front: Front) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SWITCHED)
        await peer.wait_for_end()

    async with scripted(front.backends.scripted.number, script) as backend:
        wire = await Wire.open(front.port, front.pki.client_context(), "script.test")
        assert (await wire.ask(UPGRADE)).status == 101
        wire.reset()
        async with asyncio.timeout(PATIENCE):
            await backend.peers[0].ended.wait()


async def test_the_upgrade_reaches_the_backend_once_and_clean(front: Front) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.request(backend.records)
        assert received is not None
        await peer.send(SWITCHED)
        await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script) as backend,
        await Wire.open(front.port, front.pki.client_context(), "script.test") as wire,
    ):
        response = await wire.ask(UPGRADE)
        assert response.get(b"upgrade") == b"websocket"
        assert response.get(b"sec-websocket-accept") == b"x"
    (received,) = backend.records
    connection = received.get(b"connection")
    assert connection is not None
    assert connection.lower() == b"upgrade"
    assert received.get(b"upgrade") == b"websocket"
    assert received.get(b"x-forwarded-proto") == b"https"
    assert received.get(b"sec-websocket-key") == b"AAAAAAAAAAAAAAAAAAAAAA=="
    assert received.all(b"content-length") == received.all(b"transfer-encoding") == []


async def test_nothing_of_the_client_goes_on_before_the_101(front: Front) -> None:
    """And what it sent too early arrives behind it, whole."""
    early: list[bytes] = []
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        reading = asyncio.create_task(peer.read_some())
        await go.wait()
        assert not reading.done(), "bytes arrived before the 101"
        await peer.send(SWITCHED)
        early.append(await reading)
        await peer.send(b"from the backend")
        await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script),
        await Wire.open(front.port, front.pki.client_context(), "script.test") as wire,
    ):
        await wire.send(UPGRADE + b"too early")
        async with await Wire.open(front.port, front.pki.client_context(), "dead.test") as other:
            # The answer to a later request shows that the proxy has read the earlier bytes.
            assert (await other.ask(b"GET / HTTP/1.1\r\nHost: dead.test\r\n\r\n")).status == 502
        go.set()
        assert (await wire.response()).status == 101
        assert await wire.read_exactly(16) == b"from the backend"
    assert early == [b"too early"]


async def test_a_backend_that_answers_200_has_no_tunnel(front: Front) -> None:
    """Smuggling by Upgrade: what stands behind the request is a request of its own."""
    seen: list[Received] = []

    async def script(peer: Peer) -> None:
        while (received := await peer.request(seen)) is not None:
            await peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
                % (len(received.target), received.target)
            )

    async with (
        scripted(front.backends.scripted.number, script),
        await Wire.open(front.port, front.pki.client_context(), "script.test") as wire,
    ):
        await wire.send(UPGRADE + SECOND)
        assert (await wire.response()).body == b"/ws"
        assert (await wire.response()).body == b"/second"
    # Read as a request, with our headers on it, and not passed through as bytes.
    assert [len(received.all(b"x-forwarded-for")) for received in seen] == [1, 1]


@pytest.mark.parametrize("protocol", [b"h2c", b"foo", b"websocket, h2c", b"TLS/1.0"])
async def test_no_other_protocol_is_switched_to(front: Front, protocol: bytes) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.request(backend.records)
        if received is not None:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script) as backend,
        await Wire.open(front.port, front.pki.client_context(), "script.test") as wire,
    ):
        response = await wire.ask(
            b"GET / HTTP/1.1\r\nHost: script.test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: %b\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" % protocol
        )
        assert response.status == 200
    (received,) = backend.records
    assert received.all(b"upgrade") == received.all(b"http2-settings") == []


async def test_each_side_may_end_first(front: Front) -> None:
    """Half-close: the backend goes on sending after the client has ended, and the other way."""
    for first in ("client", "backend"):

        async def script(peer: Peer, first: str = first) -> None:
            await peer.request()
            await peer.send(SWITCHED)
            if first == "backend":
                await peer.send(b"last words")
                peer.close_sending()
                assert await peer.wait_for_end() == b"still here"
            else:
                assert await peer.wait_for_end() == b"goodbye"
                await peer.send(b"still here")

        async with (
            scripted(front.backends.scripted.number, script),
            await Wire.open(front.port, front.pki.client_context(), "script.test") as wire,
        ):
            assert (await wire.ask(UPGRADE)).status == 101
            if first == "backend":
                assert await wire.read_to_end() == b"last words"
                wire.ended = False  # its end, not ours
                await wire.send(b"still here")
                await wire.send_end()
            else:
                await wire.send(b"goodbye")
                await wire.send_end()
                assert await wire.read_to_end() == b"still here"


async def test_a_tunnel_without_a_byte_is_ended(tight_front: Front) -> None:
    """After tunnel_idle_timeout; traffic in one direction is enough to live on."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SWITCHED)
        await peer.wait_for_end()

    async with (
        scripted(tight_front.backends.scripted.number, script) as backend,
        await Wire.open(tight_front.port, tight_front.pki.client_context(), "script.test") as wire,
    ):
        assert (await wire.ask(UPGRADE)).status == 101
        assert await wire.read_to_end() == b""
        async with asyncio.timeout(PATIENCE):
            await backend.peers[0].ended.wait()
