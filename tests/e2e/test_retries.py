"""When a request is sent again, and when never: nothing is done twice, and what can be saved is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.backends import Backend, Peer, ok, recording, scripted
from tests.e2e.clients import http_client
from tests.e2e.fronts import Front
from tests.e2e.programs import is_running
from tests.e2e.uvicorn_process import Uvicorn
from tests.e2e.waiting import until
from tests.e2e.wire import Wire

IDEMPOTENT = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"]


def request(method: bytes, target: bytes, body: bytes = b"") -> bytes:
    framing = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"%b %b HTTP/1.1\r\nHost: script.test\r\n%b\r\n%b" % (method, target, framing, body)


@asynccontextmanager
async def dying_in_use(front: Front, *, answer: bytes = b"") -> AsyncIterator[Backend]:
    """A backend whose first connection answers one request, and closes when it gets a second:
    what the proxy sees when an idle connection times out just as it is used."""
    backend = Backend()

    async def script(peer: Peer) -> None:
        while (received := await peer.request(backend.records)) is not None:
            if peer.number == 0 and received.target != b"/first":
                await peer.send(answer)
                return
            await peer.send(ok(received))

    async with scripted(front.backends.scripted.number, script, backend):
        yield backend


async def after_a_first_request(front: Front) -> Wire:
    wire = await Wire.open(front.port, front.pki.client_context(), "script.test")
    assert (await wire.ask(request(b"GET", b"/first"))).status == 200
    return wire


@pytest.mark.anyio
@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_an_idempotent_request_is_repeated_once(front: Front, method: bytes) -> None:
    async with dying_in_use(front) as backend, await after_a_first_request(front) as wire:
        assert (await wire.ask(request(method, b"/second"), method)).status == 200
        assert [received.connection for received in backend.records] == [0, 0, 1]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "body"), [(b"POST", b""), (b"POST", b"body"), (b"PATCH", b"body"), (b"PUT", b"body")]
)
async def test_others_are_never_sent_twice(front: Front, method: bytes, body: bytes) -> None:
    """Nor is a body that was sent already kept to be sent again."""
    async with dying_in_use(front) as backend, await after_a_first_request(front) as wire:
        assert (await wire.ask(request(method, b"/second", body))).status == 502
        assert backend.targets == [b"/first", b"/second"]


@pytest.mark.anyio
async def test_nothing_is_repeated_once_a_response_has_begun(front: Front) -> None:
    async with (
        dying_in_use(front, answer=b"HTTP/1.1 2") as backend,
        await after_a_first_request(front) as wire,
    ):
        assert (await wire.ask(request(b"GET", b"/second"))).status == 502
        assert backend.targets == [b"/first", b"/second"]


@pytest.mark.anyio
async def test_it_is_repeated_once_and_no_more(front: Front) -> None:
    async def script(peer: Peer) -> None:
        await peer.request(backend.records)

    backend = Backend()
    async with (
        scripted(front.backends.scripted.number, script, backend),
        await Wire.open(front.port, front.pki.client_context(), "script.test") as wire,
    ):
        assert (await wire.ask(request(b"GET", b"/"))).status == 502
        assert len(backend.records) <= 2


@pytest.mark.anyio
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_backend_that_is_away_is_passed_over(front: Front, method: bytes) -> None:
    """Nothing had been sent to it, so this is right for a POST too."""

    async with (
        recording(front.backends.second.number) as second,
        await Wire.open(front.port, front.pki.client_context(), "pair.test") as wire,
    ):
        for number in range(4):
            raw = request(method, b"/%d" % number, b"body" if method == b"POST" else b"")
            assert (await wire.ask(raw.replace(b"script.test", b"pair.test"))).status == 200
    assert second.targets == [b"/0", b"/1", b"/2", b"/3"]


@pytest.mark.anyio
async def test_two_backends_take_turns(front: Front) -> None:
    async with (
        recording(front.backends.scripted.number) as first,
        recording(front.backends.second.number) as second,
        await Wire.open(front.port, front.pki.client_context(), "turns.test") as wire,
    ):
        for number in range(10):
            raw = request(b"GET", b"/%d" % number).replace(b"script.test", b"turns.test")
            assert (await wire.ask(raw)).status == 200
    assert len(first.records) == len(second.records) == 5


@pytest.mark.anyio
async def test_a_connection_that_grew_old_is_not_used(front: Front) -> None:
    """Uvicorn would close it after 5 s; the proxy does after 4, whoever is right about the time."""
    async with recording(front.backends.scripted.number) as backend:
        async with await after_a_first_request(front) as wire:
            # Seen from the backend: the proxy closes, and not the backend.
            await until(backend.peers[0].ended.is_set, "the end of the idle connection")
            assert (await wire.ask(request(b"POST", b"/second", b"body"))).status == 200
    assert [received.connection for received in backend.records] == [0, 1]


def test_a_killed_and_restarted_uvicorn_is_found_again(
    front: Front, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A 502 while it is away, and no request is lost once it is back."""
    port = front.backends.scripted.number
    folder = tmp_path_factory.mktemp("uvicorn")
    url = front.url("script.test", "/echo")
    with http_client(front) as client:
        pids = set()
        for turn in range(3):
            with Uvicorn(folder / f"{turn}.log", "--port", str(port)).until_ready() as backend:
                for _ in range(3):
                    # A POST shows that no dead connection is tried first.
                    response = client.post(url, content=b"x")
                    assert response.status_code == 200
                    pids.add(response.json()["pid"])
                backend.kill()
                assert not is_running(backend.pid)
                assert client.get(url).status_code == 502
        assert len(pids) == 3
