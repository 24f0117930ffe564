"""A real gRPC server, and channels to it through the proxy. Messages are plain bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any, Final

import grpc

from tests.e2e.pki import Pki
from tests.e2e.waiting import PATIENCE

SERVICE: Final = "/tests.Echo/"
_UNLIMITED: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class EchoServer:
    """Echoes, counts, and does what it is told to.

    Attributes:
        cancelled: set when a call of ``Wait`` has ended because its client went away.
        waiting: released once for each call of ``Wait`` that has begun.
        metadata: what came with the last unary call.
    """

    def __init__(self, address: str) -> None:
        self.cancelled = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.metadata: dict[str, str | bytes] = {}
        # One thread for each call that may be under way, or the streams would wait for each other.
        self._server = grpc.server(
            futures.ThreadPoolExecutor(128),
            handlers=[_Handler(self)],
            options=[("grpc.so_reuseport", 0), *_UNLIMITED],
        )
        self._server.add_insecure_port(address)
        self._server.start()

    def stop(self, grace: float | None = None) -> None:
        self._server.stop(grace).wait(PATIENCE)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: EchoServer) -> None:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        self._server = server
        self._handlers = {
            f"{SERVICE}Unary": unary(self._unary),
            f"{SERVICE}Fail": unary(self._fail),
            f"{SERVICE}Wait": unary(self._wait),
            f"{SERVICE}Up": grpc.stream_unary_rpc_method_handler(self._up),
            f"{SERVICE}UpRefused": grpc.stream_unary_rpc_method_handler(self._fail),
            f"{SERVICE}Down": grpc.unary_stream_rpc_method_handler(self._down),
            f"{SERVICE}Both": stream(self._both),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)

    def _unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._server.metadata = {item.key: item.value for item in context.invocation_metadata()}
        context.send_initial_metadata((("x-initial", "first"),))
        context.set_trailing_metadata((("x-trailing", "last"), ("x-some-bin", b"\x00\xff")))
        return message

    def _fail(self, message: object, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so — here")
        raise AssertionError

    def _wait(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        ended = threading.Event()
        context.add_callback(ended.set)
        self._server.waiting.release()
        ended.wait(PATIENCE)
        if not context.is_active():
            self._server.cancelled.set()
        return b""

    def _up(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(map(len, messages))

    def _down(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        count, size = map(int, message.split())
        for number in range(count):
            yield b"%d " % number + bytes(size)

    def _both(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from messages


def open_channel(pki: Pki, port: int, name: str) -> grpc.Channel:
    """A channel over TLS to a site of the proxy, with a connection of its own."""
    return grpc.secure_channel(
        f"127.0.0.1:{port}",
        grpc.ssl_channel_credentials(pki.root_file.read_bytes()),
        options=[
            ("grpc.ssl_target_name_override", name),
            ("grpc.default_authority", name),
            ("grpc.use_local_subchannel_pool", 1),
            *_UNLIMITED,
        ],
    )
