"""gRPC through the proxy: a real grpcio client over TLS, and a real grpcio server over h2c."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from tests.e2e.grpc_backend import SERVICE, EchoServer, open_channel
from tests.e2e.pki import Pki
from tests.e2e.programs import Program, ReservedPort
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.waiting import PATIENCE

LIMITS: Value = {"stall_timeout": 1.0, "upstream_response_timeout": 1.0}
"""Small, to show that calls that are quiet are not cut."""


class GrpcFront:
    """A proxy before a gRPC server that may come and go."""

    def __init__(self, proxy: Vestibule, pki: Pki, backend: ReservedPort) -> None:
        self.proxy = proxy
        self.pki = pki
        self.backend = backend
        self._server: EchoServer | None = None

    def start_server(self) -> EchoServer:
        """The server; started unless it runs."""
        if self._server is None:
            self._server = EchoServer(str(self.backend))
        return self._server

    def stop_server(self, grace: float | None = None) -> None:
        if self._server is not None:
            self._server.stop(grace)
            self._server = None

    def channel(self, name: str = "grpc.test") -> grpc.Channel:
        return open_channel(self.pki, self.proxy.https, name)


@pytest.fixture(scope="module")
def shared_front(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[GrpcFront]:
    stack = ExitStack()
    backend, dead, http1 = (ReservedPort() for _ in range(3))
    for port in (backend, dead, http1):
        stack.callback(port.close)

    def site(name: str, upstream: str, **more: Value) -> Value:
        chain, key = pki.issue(name)
        certificate: Value = {"chain": str(chain), "key": str(key)}
        return {"names": [name], "certificate": certificate, "upstreams": [upstream], **more}

    config: dict[str, Value] = {
        "limits": LIMITS,
        "sites": [
            site("grpc.test", f"h2c://{backend}", balancing={"failures": 1000}),
            site("dead.test", f"h2c://{dead}"),
            site("mixed.test", str(http1), routes=[
                {"path": "/tests.Echo", "upstreams": [f"h2c://{backend}"]},
            ]),
        ],
    }  # fmt: skip
    with stack, Vestibule(tmp_path_factory.mktemp("grpc"), config) as proxy:
        front = GrpcFront(proxy.until_ready(), pki, backend)
        yield front
        front.stop_server()


@pytest.fixture
def front(shared_front: GrpcFront, log_on_failure: list[Program]) -> Iterator[GrpcFront]:
    log_on_failure.append(shared_front.proxy)
    shared_front.start_server()
    yield shared_front
    assert "Traceback" not in shared_front.proxy.log


@pytest.fixture
def channel(front: GrpcFront) -> Iterator[grpc.Channel]:
    with front.channel() as channel:
        yield channel


def unary(channel: grpc.Channel, name: str = "Unary") -> Any:
    return channel.unary_unary(SERVICE + name)


def failure(call: Callable[..., object]) -> Any:
    """How a call that must fail has failed."""
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=PATIENCE)
    return caught.value


def test_a_unary_call_with_metadata_both_ways(front: GrpcFront, channel: grpc.Channel) -> None:
    metadata = (("x-own", "value"), ("x-own-bin", b"\x00\x01"), ("x-forwarded-for", "6.6.6.6"))
    answer, call = unary(channel).with_call(b"hello", timeout=PATIENCE, metadata=metadata)
    assert answer == b"hello"
    assert ("x-initial", "first") in call.initial_metadata()
    assert set(call.trailing_metadata()) >= {("x-trailing", "last"), ("x-some-bin", b"\x00\xff")}
    assert call.code() is grpc.StatusCode.OK
    got = front.start_server().metadata
    assert (got["x-own"], got["x-own-bin"]) == ("value", b"\x00\x01")
    assert got["x-forwarded-for"] == got["x-real-ip"] == "127.0.0.1"
    assert got["x-forwarded-proto"] == "https"
    assert got["x-forwarded-host"] == "grpc.test"


@pytest.mark.parametrize("size", [0, 1, 65_535, 4 * 1024 * 1024, 9_999_999])
def test_messages_of_any_size(channel: grpc.Channel, size: int) -> None:
    message = bytes(range(251)) * (size // 251 + 1)
    assert unary(channel)(message[:size], timeout=PATIENCE) == message[:size]


def test_streams_of_messages(channel: grpc.Channel) -> None:
    pieces = [b"x" * 1000] * 500
    up = channel.stream_unary(f"{SERVICE}Up")
    assert up(iter(pieces), timeout=PATIENCE) == b"500000"
    down = channel.unary_stream(f"{SERVICE}Down")
    received = list(down(b"500 1000", timeout=PATIENCE))
    assert [int(message.split(b" ")[0]) for message in received] == list(range(500))


def test_a_conversation(channel: grpc.Channel) -> None:
    """Each message is answered before the next one is sent: nothing is held back."""
    answered = threading.Semaphore(1)

    def questions() -> Iterator[bytes]:
        for number in range(50):
            assert answered.acquire(timeout=PATIENCE)
            yield b"%d" % number

    answers = []
    for answer in channel.stream_stream(f"{SERVICE}Both")(questions(), timeout=PATIENCE):
        answers.append(answer)
        answered.release()
    assert answers == [b"%d" % number for number in range(50)]


def test_a_quiet_stream_is_not_cut(front: GrpcFront, channel: grpc.Channel) -> None:
    """Quiet for longer than all limits of ordinary requests, in both directions."""
    go_on = threading.Event()

    def questions() -> Iterator[bytes]:
        yield b"one"
        assert go_on.wait(PATIENCE)
        yield b"two"

    call = channel.stream_stream(f"{SERVICE}Both")(questions(), timeout=PATIENCE)
    assert next(call) == b"one"
    waiting = unary(channel, "Wait").future(b"", timeout=3.0)
    assert front.start_server().waiting.acquire(timeout=PATIENCE)
    # The call without an answer outlives the limits and ends by its own deadline.
    failed = waiting.exception(timeout=PATIENCE)
    assert isinstance(failed, grpc.RpcError)
    assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    go_on.set()
    assert list(call) == [b"two"]


def test_a_status_is_passed_on(channel: grpc.Channel) -> None:
    failed = failure(unary(channel, "Fail"))
    assert failed.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.details() == "not so — here"
    assert ("x-why", "because") in failed.trailing_metadata()
    refused = failure(unary(channel, "Nothing"))
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "content-length" not in dict(refused.trailing_metadata())


def test_a_server_that_answers_before_the_client_has_ended(channel: grpc.Channel) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(10_000)

    call = channel.stream_unary(f"{SERVICE}UpRefused")
    with pytest.raises(grpc.RpcError) as caught:
        call(endless(), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert unary(channel)(b"still", timeout=PATIENCE) == b"still"


def test_a_deadline_and_a_cancellation_reach_the_server(
    front: GrpcFront, channel: grpc.Channel
) -> None:
    server = front.start_server()
    for cancel in (False, True):
        server.cancelled.clear()
        call = unary(channel, "Wait").future(b"", timeout=PATIENCE if cancel else 0.5)
        assert server.waiting.acquire(timeout=PATIENCE)
        if cancel:
            call.cancel()
        else:
            assert isinstance(call.exception(timeout=PATIENCE), grpc.RpcError)
            assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.cancelled.wait(PATIENCE)
    assert unary(channel)(b"after", timeout=PATIENCE) == b"after"


def test_a_client_that_disappears_cancels_its_calls(front: GrpcFront) -> None:
    server = front.start_server()
    server.cancelled.clear()
    channel = front.channel()
    call = unary(channel, "Wait").future(b"", timeout=PATIENCE)
    assert server.waiting.acquire(timeout=PATIENCE)
    channel.close()
    assert server.cancelled.wait(PATIENCE)
    assert call.done()


def test_a_hundred_calls_at_once(channel: grpc.Channel) -> None:
    """All of them under way together, on few connections."""
    together = threading.Barrier(100, timeout=PATIENCE)

    def talk(number: int) -> list[bytes]:
        def questions() -> Iterator[bytes]:
            yield b"%d" % number
            together.wait()
            yield b"end"

        return list(channel.stream_stream(f"{SERVICE}Both")(questions(), timeout=PATIENCE))

    with futures.ThreadPoolExecutor(100) as threads:
        results = list(threads.map(talk, range(100)))
    assert results == [[b"%d" % number, b"end"] for number in range(100)]


def test_many_calls_on_many_channels(front: GrpcFront) -> None:
    channels = [front.channel() for _ in range(4)]
    calls = [
        unary(channels[number % 4]).future(b"%d" % number, timeout=PATIENCE)
        for number in range(800)
    ]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(800)]
    for channel in channels:
        channel.close()


def test_a_slow_reader_stops_its_own_stream_only(channel: grpc.Channel) -> None:
    slow = channel.unary_stream(f"{SERVICE}Down")(b"300 100000", timeout=PATIENCE)
    assert next(slow).startswith(b"0 ")
    for number in range(100):
        assert unary(channel)(b"%d" % number, timeout=PATIENCE) == b"%d" % number
    assert sum(1 for _ in slow) == 299


def test_errors_of_the_proxy_are_grpc_statuses(front: GrpcFront) -> None:
    with front.channel("dead.test") as dead:
        failed = failure(unary(dead))
        assert failed.code() is grpc.StatusCode.UNAVAILABLE
        assert failed.details() == "The application could not be reached or gave no valid answer."
    with front.channel("mixed.test") as mixed:
        assert unary(mixed)(b"routed", timeout=PATIENCE) == b"routed"
        other = failure(mixed.unary_unary("/other.Service/Method"))
        assert other.code() is grpc.StatusCode.UNAVAILABLE
    front.proxy.wait_for(r'"POST /tests.Echo/Unary HTTP/2" 502 ')


def test_a_server_that_is_restarted(front: GrpcFront) -> None:
    """It says GOAWAY, and nothing is lost that it had not begun; then it is found again."""
    with front.channel() as channel:
        assert unary(channel)(b"before", timeout=PATIENCE) == b"before"
        held = threading.Event()

        def questions() -> Iterator[bytes]:
            yield b"one"
            assert held.wait(PATIENCE)
            yield b"two"

        call = channel.stream_stream(f"{SERVICE}Both")(questions(), timeout=PATIENCE)
        assert next(call) == b"one"
        stopping = threading.Thread(target=front.stop_server, args=(PATIENCE,))
        stopping.start()
        held.set()
        assert list(call) == [b"two"]
        stopping.join(PATIENCE)
        assert failure(unary(channel)).code() is grpc.StatusCode.UNAVAILABLE
        front.start_server()
        assert unary(channel)(b"after", timeout=PATIENCE) == b"after"
