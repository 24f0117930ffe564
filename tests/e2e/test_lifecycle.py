"""Starting, stopping, dying: exit codes, draining, replaced workers, replaced certificate files."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.backends import Backend, Peer, ok, recording, scripted
from tests.e2e.clients import s_client
from tests.e2e.conftest import StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.programs import Program, ReservedPort, is_running
from tests.e2e.proxy_process import COMMAND, Value, Vestibule, to_toml
from tests.e2e.waiting import PATIENCE, eventually, until, wait_until
from tests.e2e.wire import EndOfStream, Wire

REQUEST = b"GET %b HTTP/1.1\r\nHost: own.test\r\n\r\n"


@pytest.fixture
def config(pki: Pki, backend_port: int) -> dict[str, Value]:
    """One site on files of its own."""
    return pki.own_site(backend_port)


async def dial(proxy: Vestibule, pki: Pki) -> Wire:
    return await Wire.open(proxy.https, pki.client_context(), "own.test")


# --- exit codes -------------------------------------------------------------------------------


def run_command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("workerz = 2", "workerz"),
        ("workers = 0", "workers"),
        ('http = "h12"', "http"),
        ("sites = []", "sites"),
        ("limits = {header_count = -1}", "limits.header_count"),
        ("workers =", "TOML"),
    ],
)
def test_a_wrong_configuration_is_exit_2(
    config: dict[str, Value], tmp_path: Path, line: str, named: str
) -> None:
    key = line.partition(" ")[0]
    file = tmp_path / "bad.toml"
    file.write_text(
        to_toml({name: value for name, value in config.items() if name != key}) + line + "\n"
    )
    done = run_command("run", "--config", str(file), folder=tmp_path)
    assert done.returncode == 2
    assert named in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_configuration_is_exit_2(tmp_path: Path) -> None:
    done = run_command("run", "--config", "nowhere.toml", folder=tmp_path)
    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr
    done = run_command("run", folder=tmp_path)
    assert done.returncode == 2
    done = run_command("run", "--no-such-flag", folder=tmp_path)
    assert done.returncode == 2


def one_line(proxy: Vestibule) -> str:
    """All that a refusal to start may say."""
    (line,) = [line for line in proxy.log.splitlines() if not line.startswith("INFO:")]
    assert line.startswith("ERROR:    ")
    return line


def test_a_busy_port_is_exit_3(config: dict[str, Value], start_vestibule: StartVestibule) -> None:
    ports = ReservedPort(), ReservedPort()
    with socket.create_server(("127.0.0.1", ports[0].number)):
        proxy = start_vestibule(config, ports=ports)
        assert proxy.wait() == 3
    line = one_line(proxy)
    assert f"Port {ports[0].number} is in use" in line
    assert f"(PID {os.getpid()})" in line


def test_an_unreadable_key_is_exit_3(
    config: dict[str, Value], start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    chain, key = pki.issue("own.test")
    key.unlink()
    proxy = start_vestibule(pki.own_site(backend_port, files=(chain, key)))
    assert proxy.wait() == 3
    assert str(key) in one_line(proxy)


def test_a_key_of_another_certificate_is_exit_3(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    chain, _ = pki.issue("own.test")
    _, key = pki.issue("own.test")
    proxy = start_vestibule(pki.own_site(backend_port, files=(chain, key)))
    assert proxy.wait() == 3
    assert "own.test" in one_line(proxy)


# --- stopping ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_sigterm_lets_requests_in_flight_finish(
    config: dict[str, Value], start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    go = asyncio.Event()
    backend = Backend()

    async def script(peer: Peer) -> None:
        while (received := await peer.request(backend.records)) is not None:
            await go.wait()
            await peer.send(ok(received))

    proxy = start_vestibule(config).until_ready()
    async with scripted(backend_port, script, backend):
        busy = [await dial(proxy, pki) for _ in range(5)]
        idle = await dial(proxy, pki)
        for number, wire in enumerate(busy):
            await wire.send(REQUEST % b"/%d" % number)
        await until(lambda: len(backend.records) == 5, "five requests in flight")
        proxy.signal(signal.SIGTERM)
        # Who has nothing in flight is let go at once, and nobody new comes in.
        assert await idle.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            await dial(proxy, pki)
        assert proxy.exit_code is None
        go.set()
        for number, wire in enumerate(busy):
            response = await wire.response()
            assert response.body == b"GET /%d" % number
            assert response.get(b"connection") == b"close"
            assert await wire.read_to_end() == b""
            wire.close()
        idle.close()
    assert proxy.wait() == 0
    assert "Traceback" not in proxy.log


@pytest.mark.anyio
async def test_what_takes_too_long_is_cut_off(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request(backend.records)
        await peer.wait_for_end()

    backend = Backend()
    config = pki.own_site(backend_port, limits={"shutdown_timeout": 0.5})
    proxy = start_vestibule(config).until_ready()
    async with scripted(backend_port, script, backend), await dial(proxy, pki) as wire:
        await wire.send(REQUEST % b"/")
        await until(lambda: backend.records, "the request in flight")
        proxy.signal(signal.SIGTERM)
        with pytest.raises(EndOfStream):
            await wire.response()
        assert proxy.wait() == 0
    assert "1 connection was cut off at the stop" in proxy.log


@pytest.mark.anyio
async def test_a_client_that_does_not_notice_holds_up_nobody(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """An idle connection of a pool, say: its end comes, and is not waited for long."""
    config = pki.own_site(backend_port, limits={"shutdown_timeout": 4.0})
    proxy = start_vestibule(config).until_ready()
    async with recording(backend_port), await dial(proxy, pki) as wire:
        assert (await wire.ask(REQUEST % b"/")).status == 200
        # Not on a thread of its own: nothing is read here while it stops.
        assert proxy.stop() == 0
        assert await wire.read_to_end() == b""
    assert "cut off" not in proxy.log


@pytest.mark.anyio
async def test_ctrl_c_drains_and_the_second_forces(
    config: dict[str, Value], start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """Ctrl+C reaches every process of the terminal, and means the same as to the parent alone."""

    async def script(peer: Peer) -> None:
        await peer.request(backend.records)
        await peer.wait_for_end()

    backend = Backend()
    proxy = start_vestibule(config).until_ready()
    async with scripted(backend_port, script, backend), await dial(proxy, pki) as wire:
        await wire.send(REQUEST % b"/")
        await until(lambda: backend.records, "the request in flight")
        children = proxy.children
        proxy.interrupt()
        proxy.wait_for("Shutting down")
        assert proxy.exit_code is None
        proxy.interrupt()
        assert proxy.wait() == 1
        assert not any(map(is_running, children))
        with pytest.raises(EndOfStream):
            await wire.response()
    assert "Traceback" not in proxy.log


def test_ctrl_c_once_is_exit_0(config: dict[str, Value], start_vestibule: StartVestibule) -> None:
    proxy = start_vestibule(config).until_ready()
    children = proxy.children
    proxy.interrupt()
    assert proxy.wait() == 0
    assert not any(map(is_running, children))


def test_no_child_outlives_its_parent(
    config: dict[str, Value], start_vestibule: StartVestibule
) -> None:
    proxy = start_vestibule({**config, "workers": 2}).until_ready()
    children = proxy.children
    assert len(children) == 2
    proxy.kill()
    wait_until(lambda: not any(map(is_running, children)), "the end of the workers")


@pytest.mark.anyio
async def test_the_port_is_free_again_at_once(
    config: dict[str, Value], start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """Also after kill -9 with connections open."""
    ports = ReservedPort(), ReservedPort()
    async with recording(backend_port):
        for _ in range(2):
            proxy = start_vestibule(config, ports=ports).until_ready()
            async with await dial(proxy, pki) as wire:
                assert (await wire.ask(REQUEST % b"/")).status == 200
                proxy.kill_all()


# --- own certificate files --------------------------------------------------------------------


@pytest.mark.anyio
async def test_replaced_files_are_followed_under_load(
    start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    """No request and no handshake fails; a bad pair is not taken; open connections live on."""
    chain, key = pki.issue("own.test")
    proxy = start_vestibule(pki.own_site(backend_port, files=(chain, key))).until_ready()
    pids = [proxy.pid, *proxy.children]
    done = asyncio.Event()
    serials: list[int] = []

    async def load(*, fresh: bool) -> int:
        count = 0
        wire = await dial(proxy, pki)
        while not done.is_set():
            if fresh:
                wire.close()
                wire = await dial(proxy, pki)
                serials.append(x509.load_der_x509_certificate(wire.certificate).serial_number)
            assert (await wire.ask(REQUEST % b"/")).status == 200
            count += 1
        wire.close()
        return count

    async with recording(backend_port), asyncio.TaskGroup() as group:
        tasks = [group.create_task(load(fresh=number < 2)) for number in range(4)]
        for _ in range(2):
            # The files are replaced one after the other: for a moment they do not match.
            serial = pki.write(chain, key, "own.test")
            await until(lambda serial=serial: serial in serials, "the new certificate")  # type: ignore[misc]
        good = key.read_bytes()
        key.write_bytes(b"no key\n")
        await until(lambda: "the one in use stays" in proxy.log, lambda: proxy.told("a refusal"))
        last = serials[-1]
        serials.clear()
        await until(lambda: len(serials) > 5, "more handshakes")
        assert set(serials) == {last}
        key.write_bytes(good)
        done.set()
    assert all(task.result() > 5 for task in tasks)
    assert [proxy.pid, *proxy.children] == pids


# --- workers ----------------------------------------------------------------------------------


@pytest.fixture
def two_workers(config: dict[str, Value], start_vestibule: StartVestibule) -> Vestibule:
    return start_vestibule({**config, "workers": 2}).until_ready()


async def connections_of_another(proxy: Vestibule, pki: Pki, *, stopped: int) -> list[Wire]:
    """Connections that a worker has not accepted, for it could not run meanwhile."""
    os.kill(stopped, signal.SIGSTOP)
    try:
        return [await dial(proxy, pki) for _ in range(4)]
    finally:
        os.kill(stopped, signal.SIGCONT)


@pytest.mark.anyio
async def test_a_killed_worker_is_replaced_and_nobody_else_notices(
    two_workers: Vestibule, pki: Pki, backend_port: int
) -> None:
    proxy = two_workers
    first, second = proxy.children
    async with recording(backend_port):
        lost = await connections_of_another(proxy, pki, stopped=second)
        kept = await connections_of_another(proxy, pki, stopped=first)
        for wire in (*lost, *kept):
            assert (await wire.ask(REQUEST % b"/")).status == 200
        os.kill(first, signal.SIGKILL)
        await until(lambda: first not in proxy.children, "the death of a worker")
        # All that is new is served at once, by the other one at first.
        for _ in range(20):
            async with await dial(proxy, pki) as wire:
                assert (await wire.ask(REQUEST % b"/")).status == 200
        await until(lambda: len(proxy.children) == 2, "another worker")
        assert second in proxy.children
        for wire in kept:
            assert (await wire.ask(REQUEST % b"/")).status == 200
            wire.close()
        for wire in lost:
            with pytest.raises(EndOfStream):
                await wire.ask(REQUEST % b"/")
            wire.close()
    assert re.search(r"worker 1 \[\d+\] was ended by SIGKILL; another is started", proxy.log)


@pytest.mark.anyio
async def test_a_worker_that_dies_again_and_again_is_started_again_and_again(
    two_workers: Vestibule, pki: Pki, backend_port: int
) -> None:
    proxy = two_workers
    async with recording(backend_port):
        for _ in range(3):
            before = proxy.children
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await until(
                lambda before=before: len(set(proxy.children) - set(before)) == 2,  # type: ignore[misc]
                lambda: proxy.told("two new workers"),
            )

            async def is_served() -> bool:
                # What was accepted by a worker that died is lost; what waits in the backlog not.
                try:
                    async with await dial(proxy, pki) as wire:
                        return (await wire.ask(REQUEST % b"/")).status == 200
                except (EndOfStream, OSError):
                    return False

            await eventually(is_served, "service")
    assert proxy.stop() == 0


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_resumes_on_another_worker(
    two_workers: Vestibule, tmp_path: Path, option: str
) -> None:
    """However often it is tried, and so on whichever worker it lands."""
    session = str(tmp_path / "session")
    common = ("-servername", "own.test", option)
    raw = b"GET / HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n"
    output = s_client(two_workers.https, *common, "-sess_out", session, "-ign_eof", send=raw)
    assert "New, TLSv1" in output
    first, _ = two_workers.children
    for turn in range(12):
        if turn == 6:
            # Of the worker that is started later, too: it takes the keys from the parent.
            os.kill(first, signal.SIGKILL)
            wait_until(
                lambda: first not in two_workers.children and len(two_workers.children) == 2,
                "a new worker",
            )
        output = s_client(two_workers.https, *common, "-sess_in", session)
        assert "Reused, TLSv1" in output


def test_both_workers_serve(two_workers: Vestibule, pki: Pki) -> None:
    """Seen from /proc: connections that are held open are spread over both."""
    context = pki.client_context()
    held = []
    stop = threading.Event()

    def sockets_of(pid: int) -> int:
        count = 0
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                count += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
            except FileNotFoundError:
                continue
        return count

    before = {pid: sockets_of(pid) for pid in two_workers.children}
    try:
        for _ in range(200):
            sock = socket.create_connection(("127.0.0.1", two_workers.https), timeout=PATIENCE)
            held.append(context.wrap_socket(sock, server_hostname="own.test"))
            if all(sockets_of(pid) > count for pid, count in before.items()):
                break
        else:
            pytest.fail("one worker took all of 200 connections")
    finally:
        stop.set()
        for tls in held:
            tls.close()


# --- the log ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_each_request_has_its_line(
    config: dict[str, Value], start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    proxy = start_vestibule(config).until_ready()
    async with recording(backend_port), await dial(proxy, pki) as wire:
        await wire.ask(REQUEST % b"/a?b=c%22")
        await wire.ask(REQUEST.replace(b"GET", b"HEAD") % b"/", b"HEAD")
        await wire.ask((REQUEST % b"/x").replace(b"own.test", b"other.test"))
    proxy.wait_for(
        r"^INFO:     127\.0\.0\.1:\d+ - \"GET /a\?b=c%22 HTTP/1\.1\" 200 OK 13B [\d.]+ms"
        rf" -> 127\.0\.0\.1:{backend_port}$"
    )
    proxy.wait_for(r'- "HEAD / HTTP/1\.1" 200 OK 0B [\d.]+ms -> ')
    proxy.wait_for(r'- "GET /x HTTP/1\.1" 421 Misdirected Request \d+B [\d.]+ms$')
    async with await Wire.open(proxy.http) as wire:
        await wire.ask(b"GET /y HTTP/1.1\r\nHost: own.test\r\n\r\n")
    proxy.wait_for(r'- "GET /y HTTP/1\.1" 308 Permanent Redirect 0B [\d.]+ms$')


@pytest.mark.anyio
async def test_the_access_log_can_be_turned_off(
    config: dict[str, Value], start_vestibule: StartVestibule, pki: Pki, backend_port: int
) -> None:
    proxy = start_vestibule({**config, "log": {"access": False}}).until_ready()
    async with recording(backend_port), await dial(proxy, pki) as wire:
        assert (await wire.ask(REQUEST % b"/")).status == 200
    assert proxy.stop() == 0
    assert "GET" not in proxy.log
    assert str(proxy.pid) in proxy.log


def test_a_log_that_nobody_reads_holds_up_nobody(
    config: dict[str, Value], tmp_path: Path, pki: Pki
) -> None:
    """A pipe that is full: requests are answered all the same."""
    ports = ReservedPort(), ReservedPort()
    listen: Value = {"https": [str(ports[0])], "http": [str(ports[1])]}
    file = tmp_path / "vestibule.toml"
    file.write_text(to_toml({"workers": 1, "listen": listen, **config}))
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, "run", "--config", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        start_new_session=True,
    )
    try:
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as log:
            said = b""
            while b"Vestibule running on" not in said:
                piece = log.read(4096)
                assert piece, said.decode()
                said += piece

            async def flood() -> None:
                target = b"/" + b"x" * 4000
                async with await Wire.open(ports[1].number) as wire:
                    for _ in range(200):
                        raw = b"GET %b HTTP/1.1\r\nHost: own.test\r\n\r\n" % target
                        assert (await wire.ask(raw)).status == 308

            asyncio.run(flood())
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
        for port in ports:
            port.close()


def test_the_program_ends_with_its_block() -> None:
    """The tests' own helper leaves nothing behind."""
    import sys

    with Program([sys.executable, "-c", "import time; time.sleep(1000)"], Path(os.devnull)) as it:
        assert is_running(it.pid)
    assert not is_running(it.pid)
