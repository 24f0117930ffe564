"""HTTP/2 by real clients: h2load, nghttp, curl and httpx, over the same exchanges as HTTP/1.1."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess

import pytest

from tests.e2e.backends import Backend, Peer, Received, ok, recording, scripted
from tests.e2e.clients import curl, http_client, s_client
from tests.e2e.fronts import Front
from tests.e2e.waiting import PATIENCE, until

needs_nghttp2 = pytest.mark.skipif(
    shutil.which("h2load") is None,
    reason="h2load is not installed (Debian: apt-get install nghttp2-client)",
)


def test_alpn_prefers_it(front: Front) -> None:
    """Also where the client would rather not."""
    for offer, chosen in (("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1")):
        output = s_client(front.port, "-servername", "front.test", "-alpn", offer)
        assert f"ALPN protocol: {chosen}" in output
    assert "No ALPN negotiated" in s_client(front.port, "-servername", "front.test")


@needs_nghttp2
def test_h2load_has_no_failure(app_front: Front) -> None:
    """Many streams on some connections."""
    done = subprocess.run(
        [
            *("h2load", "--requests=2000", "--clients=4", "--max-concurrent-streams=25"),
            f"--connect-to=127.0.0.1:{app_front.port}",
            app_front.url("app.test", "/status/200"),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "Application protocol: h2" in done.stdout
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    assert found is not None, done.stdout
    assert found.groups() == ("2000", "0", "0", "0")
    assert "2000 2xx" in done.stdout


@pytest.mark.anyio
async def test_many_streams_at_once(front: Front) -> None:
    """100 on one connection, none of which is answered before all have arrived."""
    all_here = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (received := await peer.request(backend.records)) is not None:
            if len(backend.records) == 100:
                all_here.set()
            await all_here.wait()
            await peer.send(ok(received))

    backend = Backend()
    async with scripted(front.backends.scripted.number, script, backend):
        done = await asyncio.to_thread(
            curl,
            front,
            *("--http2", "--parallel", "--parallel-immediate", "--parallel-max", "100"),
            front.url("script.test", "/[1-100]"),
        )
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(rb"GET /(\d+)", done.stdout)) == sorted(
        b"%d" % number for number in range(1, 101)
    )


def test_fields_are_those_of_http_1(front: Front) -> None:
    """Names in lower case, cookies joined, no connection-specific fields, the Host there."""

    async def conversation() -> Received:
        async with recording(front.backends.recording.number) as backend:
            done = await asyncio.to_thread(
                curl,
                front,
                *("--http2", "-H", "Cookie: a=b", "-H", "X-MiXed: Value", "-H", "TE: trailers"),
                *("--data", "body", "-i"),
                front.url("front.test", "/x?y"),
            )
            assert done.stdout.startswith(b"HTTP/2 200"), done.stderr
            for name in (b"connection:", b"transfer-encoding:", b"keep-alive:"):
                assert name not in done.stdout.lower()
            (received,) = backend.records
            return received

    received = asyncio.run(conversation())
    assert (received.method, received.target, bytes(received.body)) == (b"POST", b"/x?y", b"body")
    assert received.get(b"host") == b"front.test:%d" % front.port
    assert received.get(b"x-mixed") == b"Value"
    assert received.get(b"cookie") == b"a=b"
    assert received.get(b"x-forwarded-proto") == b"https"
    assert received.all(b"te") == []
    assert len(received.all(b"content-length") + received.all(b"transfer-encoding")) == 1


@pytest.mark.anyio
async def test_errors_concern_one_stream(front: Front) -> None:
    """502, 421 and 413 leave the connection as it is."""
    urls = [
        front.url("script.test", "/capped"),
        front.url("script.test", "/fine"),
    ]

    async def script(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            if received.target == b"/broken":
                return
            await peer.send(ok(received))

    async with scripted(front.backends.scripted.number, script):

        def talk() -> list[tuple[int, str]]:
            with http_client(front, http2=True) as client:
                answers = [
                    client.post(urls[0], content=b"x" * 2000),
                    client.get(urls[1]),
                    client.get(front.url("script.test", "/broken")),
                    client.get(front.url("script.test", "/fine"), headers={"Host": "front.test"}),
                    client.get(urls[1]),
                ]
                return [(answer.status_code, answer.http_version) for answer in answers]

        statuses = await asyncio.to_thread(talk)
    assert statuses == [(status, "HTTP/2") for status in (413, 200, 502, 421, 200)]


@pytest.mark.anyio
async def test_a_client_that_gives_up_frees_the_backend(front: Front) -> None:
    """RST_STREAM cancels the backend's request; the other streams go on."""

    async def script(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            if received.target == b"/endless":
                await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
                await peer.wait_for_end()
                return
            await peer.send(ok(received))

    async with scripted(front.backends.scripted.number, script) as backend:

        def talk() -> int:
            with http_client(front, http2=True) as client:
                with client.stream("GET", front.url("script.test", "/endless")) as response:
                    assert next(response.iter_raw(1)) == b"x"
                return client.get(front.url("script.test", "/fine")).status_code

        assert await asyncio.to_thread(talk) == 200
        await until(backend.peers[0].ended.is_set, "the end of the abandoned request", PATIENCE)


@pytest.mark.anyio
async def test_a_response_cut_short_is_an_error(front: Front) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    async with scripted(front.backends.scripted.number, script):
        done = await asyncio.to_thread(curl, front, "--http2", front.url("script.test", "/"))
    assert done.returncode == 92, done.stderr  # a stream error in the HTTP/2 framing layer
