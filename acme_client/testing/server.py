"""The CA's HTTPS server: an event loop in a thread of the test process.

A thread, so that blocking clients and asyncio ones can both be tested; asyncio in it, so that
validations, slow answers and many idle connections cost no more threads. ``stop`` aborts whatever
is open, and returns when the thread has ended.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import h11

from acme_client.testing.fetch import abort
from acme_client.testing.responder import MAX_REQUEST_BYTES
from acme_client.testing.wire import Reply, Request

PAD_PIECE = b" " * 65536

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0
START_SECONDS = 10.0
STOP_SECONDS = 10.0


class Server:
    """Serves ``respond`` over HTTPS on a socket that is bound already."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        respond: Callable[[Request], Reply],
    ) -> None:
        self._listener = listener
        self._context = context
        self._respond = respond
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    def start(self) -> None:
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="test-acme-ca", daemon=True
        )
        self._thread.start()
        started.result(START_SECONDS)

    def stop(self) -> None:
        """Close everything; raises what went wrong inside, if anything did."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(f"the CA's server did not stop within {STOP_SECONDS:g} s")
        self._thread = self._loop = self._stopping = None
        if self._failures:
            raise self._failures[0]

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the server's loop; may be called from any thread."""
        if self._loop is None:
            raise RuntimeError("the CA does not run")
        self._loop.call_soon_threadsafe(lambda: self._keep(make()))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._keep(self._accept())
        started.set_result(None)
        try:
            await self._stopping.wait()
        finally:
            self._listener.close()
            while self._tasks:
                # One that is cancelled may have started another before.
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)

    async def _accept(self) -> None:
        """asyncio.start_server would do, if it let go of connections that shake hands still."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        while True:
            connection, peer = await loop.sock_accept(self._listener)
            self._keep(self._serve_connection(connection, peer[0]))

    async def _serve_connection(self, connection: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_REQUEST_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError:
            # No TLS, or none that trusts this CA; the client knows why.
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._converse(reader, writer, peer)
            # In order, so that the last answer is not lost to a reset.
            writer.close()
            await writer.wait_closed()
        except (h11.RemoteProtocolError, OSError):
            # The client is gone, or speaks no HTTP: nothing is left to say to it.
            return
        finally:
            await abort(writer)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
    ) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        while True:
            request = await _receive(connection, reader, writer, peer)
            if request is None:
                return
            reply = self._respond(request)
            if not await _send(connection, writer, request, reply):
                return
            connection.start_next_cycle()


async def _receive(
    connection: h11.Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    peer: str,
) -> Request | None:
    """The next request, or ``None`` at the end of the connection."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    writer.write(connection.send(go_on) or b"")
                connection.receive_data(await reader.read(65536))
            case h11.Request():
                head = event
            case h11.Data():
                body += event.data
                if len(body) > MAX_REQUEST_BYTES:
                    raise h11.RemoteProtocolError("request body too large")
            case h11.EndOfMessage() if head is not None:
                return Request(
                    method=head.method.decode(),
                    target=head.target.decode(),
                    headers={n.decode(): v.decode("latin-1") for n, v in head.headers},
                    body=bytes(body),
                    peer=peer,
                )
            case _:
                return None


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, request: Request, reply: Reply
) -> bool:
    """Whether the connection may carry another request."""
    if reply.delay:
        await asyncio.sleep(reply.delay)
    if reply.disconnect:
        writer.transport.abort()
        return False
    fields = reply.fields()
    length = len(reply.body) + reply.padding
    if reply.status not in (204, 304):
        fields.append(("Content-Length", str(length)))
    head = connection.send(h11.Response(status_code=reply.status, headers=fields)) or b""
    if request.method == "HEAD" or reply.status in (204, 304):
        writer.write(head + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        return _reusable(connection)
    if reply.cut_body:
        writer.write(head + reply.body[: len(reply.body) // 2])
        await writer.drain()
        return False
    writer.write(head + (connection.send(h11.Data(data=reply.body)) or b""))
    left = reply.padding
    while left > 0:
        piece = PAD_PIECE[: min(left, len(PAD_PIECE))]
        writer.write(connection.send(h11.Data(data=piece)) or b"")
        await writer.drain()
        # drain alone neither lets others run nor sees that the client is gone.
        await asyncio.sleep(0)
        left -= len(piece)
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    return _reusable(connection)


def _reusable(connection: h11.Connection) -> bool:
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE
