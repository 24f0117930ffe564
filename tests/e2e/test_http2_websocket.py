"""WebSockets over HTTP/2 (RFC 8441) to an HTTP/1.1 backend: real Uvicorn at the other end."""

from __future__ import annotations

import json
from typing import cast

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from tests.e2e.backends import Peer, scripted
from tests.e2e.fronts import Front
from tests.e2e.h2_wire import H2Wire
from tests.e2e.waiting import PATIENCE, until

pytestmark = pytest.mark.anyio

NO_ERROR, CANCEL = 0, 8
VERSION = ("sec-websocket-version", "13")


class Socket:
    """A WebSocket on one stream; frames by the ``websockets`` package."""

    def __init__(self, client: H2Wire, stream_id: int) -> None:
        self.client = client
        self.id = stream_id
        self._reader = StreamReader()
        self._taken = 0

    @classmethod
    async def open(cls, client: H2Wire, path: str, *more: tuple[str, str]) -> Socket:
        stream_id = await client.request(path, VERSION, *more, method="CONNECT", end=False)
        stream = await client.head(stream_id)
        assert stream.status == 200, stream
        return cls(client, stream_id)

    async def send(self, opcode: Opcode, data: bytes) -> None:
        await self.client.send(self.id, Frame(opcode, data).serialize(mask=True))

    async def receive(self) -> Frame:
        """The next frame."""
        stream = self.client.streams[self.id]
        parsing = Frame.parse(self._reader.read_exact, mask=False, max_size=None)
        while True:
            self._reader.feed_data(bytes(stream.body[self._taken :]))
            self._taken = len(stream.body)
            try:
                next(parsing)
            except StopIteration as parsed:
                return cast(Frame, parsed.value)
            assert not stream.ended, "the stream ended in a frame"
            await self.client.until(lambda: len(stream.body) > self._taken or stream.ended)


async def test_the_client_is_told_that_it_may(app_front: Front) -> None:
    async with await H2Wire.open(app_front, "app.test") as client:
        assert client.protocol.remote_settings.enable_connect_protocol == 1


async def test_messages_go_both_ways_beside_other_streams(app_front: Front) -> None:
    async with await H2Wire.open(app_front, "app.test") as client:
        one, two = await Socket.open(client, "/ws"), await Socket.open(client, "/ws")
        for socket in (one, two, one):
            for message in (b"", b"hello", b"\x00\xff" * 100_000):
                await socket.send(Opcode.BINARY, message)
                assert (await socket.receive()).data == message
        assert (await client.get("/status/200")).status == 200
        await one.send(Opcode.PING, b"there?")
        assert await one.receive() == Frame(Opcode.PONG, b"there?")


async def test_a_message_larger_than_all_windows(app_front: Front) -> None:
    """The app sends nothing before it has read all; nobody buffers the whole."""
    async with await H2Wire.open(app_front, "app.test") as client:
        socket = await Socket.open(client, "/ws")
        message = bytes(range(251)) * 40_000
        await socket.send(Opcode.BINARY, message)
        received = bytearray()
        while True:
            frame = await socket.receive()
            received += frame.data
            if frame.fin:
                break
        assert received == message


async def test_the_app_sees_wss_and_closes(app_front: Front) -> None:
    async with await H2Wire.open(app_front, "app.test") as client:
        socket = await Socket.open(client, "/ws/about", ("sec-websocket-protocol", "a, b"))
        stream = client.streams[socket.id]
        assert stream.fields["sec-websocket-protocol"] == "a"
        assert "sec-websocket-accept" not in stream.fields
        seen = json.loads(bytes((await socket.receive()).data))
        assert (seen["scheme"], seen["client"]) == ("wss", "127.0.0.1")
        close = await socket.receive()
        assert (close.opcode, close.data) == (Opcode.CLOSE, b"\x0f\xa1enough")
        await socket.send(Opcode.CLOSE, bytes(close.data))
        assert (await client.ended(socket.id)).reset in (None, NO_ERROR)


async def test_the_client_closes(app_front: Front) -> None:
    async with await H2Wire.open(app_front, "app.test") as client:
        socket = await Socket.open(client, "/ws")
        await socket.send(Opcode.CLOSE, b"\x03\xe8")
        assert (await socket.receive()).opcode is Opcode.CLOSE
        client.protocol.end_stream(socket.id)
        await client.flush()
        assert (await client.ended(socket.id)).ended
        assert (await client.get("/status/200")).status == 200


async def test_a_denial_passes(app_front: Front) -> None:
    async with await H2Wire.open(app_front, "app.test") as client:
        stream_id = await client.request("/ws/denied", VERSION, method="CONNECT", end=False)
        assert (await client.ended(stream_id)).status == 403
        assert (await client.get("/status/200")).status == 200


async def test_half_closes_pass_in_both_directions(front: Front) -> None:
    async def script(peer: Peer) -> None:
        received = await peer.request(backend.records)
        assert received is not None
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst"
        )
        assert await peer.wait_for_end() == b"from the client"
        await peer.send(b" and last")

    async with (
        scripted(front.backends.scripted.number, script) as backend,
        await H2Wire.open(front, "script.test") as client,
    ):
        socket = await Socket.open(client, "/ws")
        await client.send(socket.id, b"from the client", end=True)
        stream = await client.ended(socket.id)
        assert (bytes(stream.body), stream.reset) == (b"first and last", None)
        (received,) = backend.records
        assert (received.method, received.target) == (b"GET", b"/ws")
        assert received.get(b"upgrade") == b"websocket"
        assert received.get(b"connection") == b"Upgrade"
        assert received.get(b"sec-websocket-version") == b"13"
        assert len(received.get(b"sec-websocket-key") or b"") == 24
        assert received.all(b"content-length") == received.all(b"transfer-encoding") == []


@pytest.mark.parametrize("answer", [b"Content-Length: 2\r\n\r\nno", b"Content-Length: 9\r\n\r\nno"])
async def test_a_backend_that_knows_no_websockets_makes_no_tunnel(
    front: Front, answer: bytes
) -> None:
    """A 200 to an upgrade would say 'tunnel' to the client."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + answer)
        await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script),
        await H2Wire.open(front, "script.test") as client,
    ):
        stream_id = await client.request("/", VERSION, method="CONNECT", end=False)
        assert (await client.ended(stream_id)).status == 502


@pytest.mark.parametrize("vanish", [False, True])
async def test_a_client_that_goes_frees_the_backend(front: Front, vanish: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
        )
        await peer.wait_for_end()

    async with (
        scripted(front.backends.scripted.number, script) as backend,
        await H2Wire.open(front, "script.test") as client,
    ):
        socket = await Socket.open(client, "/ws")
        if vanish:
            client.wire.reset()
        else:
            client.protocol.reset_stream(socket.id, CANCEL)
            await client.flush()
        await until(backend.peers[0].ended.is_set, "the end of the backend's side", PATIENCE)
