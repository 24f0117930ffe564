"""An HTTP/2 client for tests: the ``h2`` package over a :class:`~tests.e2e.wire.Wire`.

It grants window only when it is told to, so a test decides which stream is read and which is not.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from types import TracebackType

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.e2e.fronts import Front
from tests.e2e.waiting import PATIENCE
from tests.e2e.wire import Wire


@dataclass(slots=True)
class Incoming:
    """What has come on one stream."""

    status: int | None = None
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    reset: int | None = None


class H2Wire:
    """One connection. ``streams`` is what has come so far; ``reads`` says what is acknowledged."""

    def __init__(self, wire: Wire, authority: str) -> None:
        self.wire = wire
        self.authority = authority
        self.protocol = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self.streams: defaultdict[int, Incoming] = defaultdict(Incoming)
        self.slow: set[int] = set()
        """Streams whose data is not acknowledged."""
        self.terminated: int | None = None
        self._withheld: defaultdict[int, int] = defaultdict(int)

    @classmethod
    async def open(cls, front: Front, name: str, *, window: int = 65_535) -> H2Wire:
        context = front.pki.client_context("h2")
        wire = await Wire.open(front.port, context, name)
        assert wire.alpn == "h2"
        client = cls(wire, f"{name}:{front.port}")
        client.protocol.initiate_connection()
        client.protocol.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        # The connection's window is never what a test is about.
        client.protocol.increment_flow_control_window(2**30)
        await client.flush()
        await client.until(lambda: client.protocol.remote_settings.max_concurrent_streams <= 100)
        await client.until(lambda: client.protocol.local_settings.initial_window_size == window)
        return client

    async def __aenter__(self) -> H2Wire:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wire.close()

    async def flush(self) -> None:
        await self.wire.send(self.protocol.data_to_send())

    async def request(
        self, path: str, *more: tuple[str, str], method: str = "GET", end: bool = True
    ) -> int:
        """Send a request's head; its stream."""
        stream_id = self.protocol.get_next_available_stream_id()
        fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", self.authority),
            (":path", path),
        ]
        if method == "CONNECT":
            fields.append((":protocol", "websocket"))
        self.protocol.send_headers(stream_id, [*fields, *more], end_stream=end)
        await self.flush()
        return stream_id

    async def get(self, path: str) -> Incoming:
        return await self.ended(await self.request(path))

    async def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send as the windows allow."""
        view = memoryview(data)
        while view:
            await self.until(
                lambda: (
                    self.protocol.local_flow_control_window(stream_id)
                    or self.streams[stream_id].reset is not None
                )
            )
            count = min(self.protocol.local_flow_control_window(stream_id), len(view), 16_384)
            self.protocol.send_data(stream_id, bytes(view[:count]))
            view = view[count:]
            await self.flush()
        if end:
            self.protocol.end_stream(stream_id)
            await self.flush()

    async def ended(self, stream_id: int) -> Incoming:
        """Wait for the end of a stream."""
        stream = self.streams[stream_id]
        await self.until(lambda: stream.ended or stream.reset is not None)
        return stream

    async def head(self, stream_id: int) -> Incoming:
        """Wait for the final head."""
        stream = self.streams[stream_id]
        await self.until(lambda: stream.status is not None or stream.reset is not None)
        return stream

    async def until(self, condition: object) -> None:
        """Read until a condition is true."""
        assert callable(condition)
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.read()

    async def read(self) -> None:
        """Take what has come next."""
        data = await self.wire.read_some()
        if not data:
            raise ConnectionError(f"the proxy closed the connection; GOAWAY {self.terminated}")
        for event in self.protocol.receive_data(data):
            self._note(event)
        await self.flush()

    async def speed_up(self, stream_id: int) -> None:
        """Read a slow stream from now on."""
        self.slow.discard(stream_id)
        count = self._withheld.pop(stream_id, 0)
        if count:
            self._grant(stream_id, count)
        await self.flush()

    def _grant(self, stream_id: int, count: int) -> None:
        try:
            self.protocol.increment_flow_control_window(count, stream_id)
        except h2.exceptions.StreamClosedError:
            pass  # its end came in the same read

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                stream = self.streams[event.stream_id]
                stream.fields = _fields(event.headers)
                stream.status = int(stream.fields[":status"])
            case h2.events.TrailersReceived():
                self.streams[event.stream_id].trailers = _fields(event.headers)
            case h2.events.DataReceived():
                stream_id = event.stream_id
                self.streams[stream_id].body += event.data
                if stream_id in self.slow:
                    self._withheld[stream_id] += event.flow_controlled_length
                elif event.stream_ended is None and event.flow_controlled_length:
                    self._grant(stream_id, event.flow_controlled_length)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.streams[event.stream_id].reset = int(event.error_code or 0)
            case h2.events.ConnectionTerminated():
                self.terminated = int(event.error_code or 0)
            case _:
                pass  # what the library has answered by itself


def _fields(headers: object) -> dict[str, str]:
    assert isinstance(headers, list)
    return {str(name): str(value) for name, value in headers}
