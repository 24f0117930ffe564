"""A gRPC echo server and a client that calls it, each run as a program of its own.

``python -m benchmarks.grpc_load server PORT`` and
``python -m benchmarks.grpc_load client PORT SECONDS CA_FILE``, which prints the number of calls.
Messages are plain bytes: what a proxy sees does not depend on protobuf. Needs ``grpcio``.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

from benchmarks.backend import free_port
from benchmarks.generators import LoadFailure
from benchmarks.peers import HOST
from benchmarks.processes import Program

_ROOT = Path(__file__).resolve().parent.parent
_METHOD = "/bench.Echo/Unary"
_MESSAGE = b"\x0a\x0bhello world"
_CONNECTIONS = 4
_CALLERS = 4


def available() -> bool:
    """Whether grpcio is installed."""
    return importlib.util.find_spec("grpc") is not None


def start_server(folder: Path, cores: frozenset[int]) -> tuple[Program, int]:
    """The gRPC backend, and its port."""
    port = free_port()
    arguments = [sys.executable, "-m", "benchmarks.grpc_load", "server", str(port)]
    return Program(arguments, log=folder / "grpc.log", cores=cores, folder=_ROOT), port


def unary_calls(port: int, seconds: float, ca: Path) -> int:
    """Unary calls, one after the other from each of some callers; how many were answered."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.grpc_load", "client", str(port), str(seconds), str(ca)],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=seconds + 60,
        check=False,
    )
    if result.returncode or not result.stdout.strip().isdigit():
        raise LoadFailure(f"gRPC client: {result.stdout}{result.stderr[-800:]}")
    return int(result.stdout)


def _serve(port: int) -> None:
    grpc: Any = importlib.import_module("grpc")

    def echo(request: bytes, context: Any) -> bytes:
        return request

    handler = grpc.method_handlers_generic_handler(
        "bench.Echo", {"Unary": grpc.unary_unary_rpc_method_handler(echo)}
    )
    server = grpc.server(futures.ThreadPoolExecutor(_CONNECTIONS * _CALLERS))
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def _call(port: int, seconds: float, ca: Path) -> None:
    grpc: Any = importlib.import_module("grpc")
    credentials = grpc.ssl_channel_credentials(ca.read_bytes())
    counts: list[int] = []

    def caller(channel: Any) -> None:
        unary = channel.unary_unary(_METHOD)
        done = 0
        while time.monotonic() < end:
            if unary(_MESSAGE, timeout=10) != _MESSAGE:
                raise LoadFailure("another message came back")
            done += 1
        counts.append(done)

    # Without this option all channels of a process share one connection.
    channels = [
        grpc.secure_channel(f"{HOST}:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(_CONNECTIONS)
    ]
    for channel in channels:
        grpc.channel_ready_future(channel).result(timeout=10)
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=caller, args=[c]) for c in channels * _CALLERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) < len(threads):
        raise LoadFailure("a caller failed")
    print(sum(counts))


if __name__ == "__main__":
    if sys.argv[1] == "server":
        _serve(int(sys.argv[2]))
    else:
        _call(int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
