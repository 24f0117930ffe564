"""Certificates from a real Pebble, through the proxy's own port 80, to the first verified request
and beyond: renewal, restarts, kills, a CA that comes late, is odd, or says no.

Orders are counted in Pebble's log: how many there are is the point of several of these tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.e2e.backends import recording
from tests.e2e.certificates import orders
from tests.e2e.clients import s_client
from tests.e2e.conftest import Ports, StartVestibule
from tests.e2e.programs import ReservedPort
from tests.e2e.proxy_process import SCRIPT, Value, Vestibule
from tests.e2e.waiting import PATIENCE, eventually, until, wait_until
from tests.e2e.wire import EndOfStream, Wire
from tests.pebble import Pebble, PebbleFactory

pytestmark = [pytest.mark.pebble, pytest.mark.anyio]

ISSUING = 40.0
"""Seconds for what takes several requests, validation, and perhaps a first try that failed."""


def config(server: Pebble, backend_port: int, *sites: tuple[str, ...]) -> dict[str, Value]:
    return {
        "acme": {
            "directory": server.directory,
            "ca_certificates": str(server.ca_file),
            "challenges": ["http-01"],
            "email": "ops@example.com",
        },
        "sites": [
            {"names": list(names), "upstreams": [f"127.0.0.1:{backend_port}"]} for names in sites
        ],
    }


def trusting(server: Pebble) -> ssl.SSLContext:
    """A client that trusts this Pebble's root and nothing else."""
    return ssl.create_default_context(cadata=server.root_pem())


async def ask(proxy: Vestibule, context: ssl.SSLContext, name: str) -> tuple[int, x509.Certificate]:
    """A verified request; its status and the certificate."""
    async with await Wire.open(proxy.https, context, name) as wire:
        response = await wire.ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name.encode())
        return response.status, x509.load_der_x509_certificate(wire.certificate)


async def first_request(proxy: Vestibule, server: Pebble, name: str) -> x509.Certificate:
    """Wait until a verified request succeeds."""
    context = trusting(server)

    async def attempt() -> x509.Certificate | None:
        try:
            status, certificate = await ask(proxy, context, name)
        except (ssl.SSLError, EndOfStream, ConnectionError):
            return None
        assert status == 200
        return certificate

    try:
        return await eventually(attempt, f"a verified request to {name}", ISSUING)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{proxy.log}\n--- Pebble\n{server.log()[-6000:]}") from None


async def test_from_nothing_to_the_first_verified_request(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    server = pebble(http_port=ports[1].number)
    settings = config(server, backend_port, ("one.example.com", "two.example.com"))
    proxy = start_vestibule(settings, ports=ports).until_ready()
    async with recording(backend_port) as backend:
        certificate = await first_request(proxy, server, "one.example.com")
        status, same = await ask(proxy, trusting(server), "two.example.com")
        assert (status, same) == (200, certificate)
        assert len(backend.records) == 2
    assert orders(server) == 1
    key = certificate.public_key()
    assert key.key_size == 256  # type: ignore[union-attr]
    # What is kept: the account's key and the certificate's, for their owner alone.
    keys = [
        path
        for path in proxy.state.rglob("*")
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    ]
    assert keys
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
    # The challenge is answered no more, and port 80 redirects.
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(
            f"http://127.0.0.1:{proxy.http}/x?y", headers={"Host": "one.example.com"}
        )
        assert response.headers["location"] == f"https://one.example.com:{proxy.https}/x?y"


async def test_the_others_are_served_meanwhile(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    """A name whose validation fails harms no other: neither one that is issued, nor port 80."""
    server = pebble(http_port=ports[1].number)
    server.fail_dns("bad.example.com")
    settings = config(server, backend_port, ("bad.example.com",), ("good.example.com",))
    proxy = start_vestibule(settings, ports=ports).until_ready()
    async with recording(backend_port):
        await first_request(proxy, server, "good.example.com")
        proxy.wait_for(r"^(WARNING|ERROR): .*bad\.example\.com", ISSUING)
        # It has no certificate to show, and another's is never shown in its place.
        assert "unrecognized name" in s_client(proxy.https, "-servername", "bad.example.com")
        assert (await ask(proxy, trusting(server), "good.example.com"))[0] == 200
        async with await Wire.open(proxy.http) as wire:
            raw = b"GET / HTTP/1.1\r\nHost: bad.example.com\r\n\r\n"
            assert (await wire.ask(raw)).status == 308
    # One order each: the failed one is not tried again at once.
    assert orders(server) == 2
    assert "Traceback" not in proxy.log


async def test_a_ca_that_rejects_many_nonces(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    # A third: that ten in a row are rejected is then no accident that a test would meet.
    server = pebble(http_port=ports[1].number, nonce_reject=30)
    sites = [(f"{number}.example.com",) for number in range(8)]
    proxy = start_vestibule(config(server, backend_port, *sites), ports=ports).until_ready()
    async with recording(backend_port):
        for (name,) in sites:
            await first_request(proxy, server, name)
    # Eight would be enough of each, had none been rejected.
    assert orders(server) == 8
    kinds = ("order-plz", "chalZ/", "finalize", "certZ/")
    assert sum(server.log().count(f"POST /{path}") for path in kinds) > 8 * len(kinds)


async def test_a_ca_that_comes_late(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    """The proxy runs without it, and asks again soon."""
    server = pebble(http_port=ports[1].number, start=False)
    proxy = start_vestibule(config(server, backend_port, ("one.example.com",)), ports=ports)
    proxy.until_ready()
    proxy.wait_for(r"^(WARNING|ERROR): ")
    assert "unrecognized name" in s_client(proxy.https, "-servername", "one.example.com")
    server.start()
    async with recording(backend_port):
        await first_request(proxy, server, "one.example.com")
    assert orders(server) == 1
    assert "Traceback" not in proxy.log


async def test_a_restart_places_no_order_and_needs_no_ca(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    server = pebble(http_port=ports[1].number)
    settings = config(server, backend_port, ("one.example.com",), ("two.example.com",))
    async with recording(backend_port):
        proxy = start_vestibule(settings, ports=ports).until_ready()
        before = [
            await first_request(proxy, server, name)
            for name in ("one.example.com", "two.example.com")
        ]
        placed = orders(server)
        assert placed == 2
        context = trusting(server)
        assert proxy.stop() == 0
        for turn in range(3):
            if turn == 2:
                server.stop()
            proxy = start_vestibule(settings, ports=ports).until_ready()
            # At once: what is stored is served before anybody asks the CA anything.
            after = [
                (await ask(proxy, context, name))[1]
                for name in ("one.example.com", "two.example.com")
            ]
            assert after == before
            if turn == 0:
                proxy.kill_all()
            else:
                assert proxy.stop() == 0
    assert orders(server) == placed


async def test_two_proxies_on_one_store_place_one_order(
    pebble: PebbleFactory,
    start_vestibule: StartVestibule,
    ports: Ports,
    backend_port: int,
    tmp_path: Path,
) -> None:
    """Whichever orders, both answer the challenge and both serve what comes."""
    server = pebble(http_port=ports[1].number)
    settings = config(server, backend_port, ("one.example.com",))
    settings["storage"] = f"file:{tmp_path / 'shared'}"
    async with recording(backend_port):
        first = start_vestibule(settings, ports=ports)
        with Vestibule(tmp_path / "second", settings) as second:
            certificates = [
                await first_request(proxy, server, "one.example.com") for proxy in (first, second)
            ]
            assert certificates[0] == certificates[1]
            assert second.exit_code is None
    assert orders(server) == 1


async def test_renewal_under_load(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    """0 failed requests, new serials, the same PIDs; what was open stays open."""
    server = pebble(http_port=ports[1].number, validity_seconds=12)
    settings = config(server, backend_port, ("one.example.com",)) | {"workers": 2}
    proxy = start_vestibule(settings, ports=ports).until_ready()
    done = asyncio.Event()
    serials: dict[int, int] = {}
    raw = b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n"

    async def reuse() -> int:
        """One connection throughout."""
        count = 0
        async with await Wire.open(proxy.https, context, "one.example.com") as wire:
            while not done.is_set():
                assert (await wire.ask(raw)).status == 200
                count += 1
        return count

    async def come_anew() -> int:
        """A handshake for each request, verified, as of that moment."""
        count = 0
        while not done.is_set():
            status, certificate = await ask(proxy, context, "one.example.com")
            assert status == 200
            serials[certificate.serial_number] = serials.get(certificate.serial_number, 0) + 1
            count += 1
        return count

    async with recording(backend_port):
        await first_request(proxy, server, "one.example.com")
        pids = [proxy.pid, *proxy.children]
        context = trusting(server)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run()) for run in (reuse, reuse, come_anew, come_anew)]
            try:
                await until(
                    lambda: len(serials) >= 3,
                    lambda: proxy.told(f"three certificates, but {serials}"),
                    60.0,
                )
            finally:
                done.set()
        assert min(task.result() for task in tasks) > 10
    assert [proxy.pid, *proxy.children] == pids
    assert "Traceback" not in proxy.log
    # It renews on time, and not all the time.
    assert orders(server) <= 5


@asynccontextmanager
async def held_validation(target: int) -> AsyncIterator[tuple[int, asyncio.Event, asyncio.Event]]:
    """A port before the proxy's port 80 that holds connections until it is told to let them go.

    Yields the port, an event for "the CA has come", and one to let it go on.
    """
    port = ReservedPort()
    has_come, may_go = asyncio.Event(), asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_come.set()
        await may_go.wait()
        with contextlib.closing(writer):
            with contextlib.suppress(ConnectionError):
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
                with contextlib.closing(inner_writer):
                    await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", port.number):
        yield port.number, has_come, may_go
    port.close()


async def test_a_kill_in_mid_order(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    """All processes die while the CA is validating; the next run goes on with the same order."""
    async with (
        held_validation(ports[1].number) as (port, has_come, may_go),
        recording(backend_port),
    ):
        server = pebble(http_port=port)
        settings = config(server, backend_port, ("one.example.com",))
        proxy = start_vestibule(settings, ports=ports).until_ready()
        async with asyncio.timeout(PATIENCE):
            await has_come.wait()
        proxy.kill_all()
        proxy = start_vestibule(settings, ports=ports)
        await until(lambda: "Vestibule running" in proxy.log, lambda: proxy.told("the restart"))
        may_go.set()
        await first_request(proxy, server, "one.example.com")
        assert orders(server) == 1
        assert "Traceback" not in proxy.log


async def test_a_kill_of_the_manager_in_mid_order(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    """Traffic goes on, another manager is started, and goes on with the same order."""
    async with (
        held_validation(ports[1].number) as (port, has_come, may_go),
        recording(backend_port),
    ):
        server = pebble(http_port=port)
        settings = config(server, backend_port, ("one.example.com",))
        proxy = start_vestibule(settings, ports=ports).until_ready()
        async with asyncio.timeout(PATIENCE):
            await has_come.wait()
        worker, manager = proxy.children
        os.kill(manager, signal.SIGKILL)
        may_go.set()
        await first_request(proxy, server, "one.example.com")
        assert proxy.children[0] == worker
        assert manager not in proxy.children
        assert orders(server) == 1


async def test_the_list_shows_what_was_issued(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, backend_port: int
) -> None:
    """Beside the running server, and without disturbing it."""
    server = pebble(http_port=ports[1].number)
    settings = config(server, backend_port, ("one.example.com",))
    proxy = start_vestibule(settings, ports=ports).until_ready()
    command = [SCRIPT, "certs", "list", "--config", str(proxy.config_file)]

    def listed() -> re.Match[str] | None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        row = r"^one\.example\.com +one\.example\.com +p256 +valid .*UTC +(\S+)$"
        return re.search(row, done.stdout, re.MULTILINE)

    found = wait_until(listed, "the certificate in the list", ISSUING)
    assert found is not None
    assert found.group(1) == server.directory
