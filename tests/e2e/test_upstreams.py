"""Several backends behind a site, through the running proxy: who gets what, and who is left out.

The decisions themselves are tested where they are made (``proxy/upstream``); here it is shown that
the configuration reaches them, and what a client sees of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from proxy.proxy_protocol import parse as parse_proxy_header
from tests.e2e.backends import Backend, Peer, Received, recording, scripted
from tests.e2e.pki import Pki
from tests.e2e.programs import Program, ReservedPort
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.waiting import eventually
from tests.e2e.wire import Response, Wire

pytestmark = pytest.mark.anyio

OUT_FOR = 1.0
CLIENTS = 40
"""So many that each of three backends gets some of them, whatever its port."""
QUEUE_TIMEOUT = 1.0

_TABLES: dict[str, dict[str, Value]] = {
    "turns.test": {"balancing": {"weights": [2, 1, 1]}},
    "quiet.test": {"balancing": {"policy": "least_connections"}},
    "sticky.test": {"balancing": {"policy": "hash", "hash_by": "cookie:sid", "out_for": OUT_FOR}},
    "by-header.test": {"balancing": {"policy": "hash", "hash_by": "header:X-Tenant"}},
    "shy.test": {"balancing": {"failures": 2, "out_for": OUT_FOR}},
}
"""Sites before all three backends."""

_CHECK: Value = {"path": "/health", "interval": 0.1, "timeout": 2.0, "rise": 1, "fall": 1}

_NARROW: Value = {"connections": 1, "queue": 1, "queue_timeout": QUEUE_TIMEOUT}
_RULES: Value = {
    "request_set": {"X-Set": "ours"},
    "request_remove": ["X-Secret"],
    "response_set": {"X-Frame-Options": "DENY"},
    "response_remove": ["X-Powered-By"],
}


class Farm:
    """The proxy, and where its three backends are to listen."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.pki = pki
        self.ports = [ReservedPort() for _ in range(3)]
        self.checked = [ReservedPort() for _ in range(2)]
        """Of their own, because checks come whenever they like."""
        all_of_them: Value = [str(port) for port in self.ports]
        first: Value = [str(self.ports[0])]
        stripped: Value = {"path": "/api", "strip_prefix": True}

        def site(name: str, upstreams: Value, **tables: Value) -> Value:
            chain, key = pki.issue(name)
            certificate: Value = {"chain": str(chain), "key": str(key)}
            return {"names": [name], "certificate": certificate, "upstreams": upstreams, **tables}

        sites: list[Value] = [site(name, all_of_them, **_TABLES[name]) for name in _TABLES]
        sites += [
            site(
                "checked.test",
                [str(port) for port in self.checked],
                health_check=_CHECK,
                balancing={"failures": 1000},
            ),
            site("narrow.test", first, balancing=_NARROW),
            site("ruled.test", first, headers=_RULES, routes=[stripped]),
            site("v1.test", first, balancing={"proxy_protocol": "v1"}),
            site("v2.test", first, balancing={"proxy_protocol": "v2"}),
        ]
        self.proxy = Vestibule(folder, {"sites": sites}).until_ready()

    @asynccontextmanager
    async def backends(self, *numbers: int) -> AsyncIterator[list[Backend]]:
        """These of the three, each answering with its number."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(recording(self.ports[number].number, named(number)))
                for number in numbers
            ]

    async def open(self, name: str) -> Wire:
        return await Wire.open(self.proxy.https, self.pki.client_context(), name)

    async def ask(self, name: str, *lines: bytes, target: bytes = b"/") -> Response:
        async with await self.open(name) as wire:
            return await wire.ask(get(name, *lines, target=target))

    async def asked(self, name: str, *lines: bytes) -> int:
        """Which backend answered."""
        response = await self.ask(name, *lines)
        assert response.status == 200
        return int(response.body)


def get(name: str, *lines: bytes, target: bytes = b"/") -> bytes:
    head = b"GET %b HTTP/1.1" % target, b"Host: " + name.encode(), *lines
    return b"\r\n".join((*head, b"", b""))


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def named(number: int) -> Callable[[Received], bytes]:
    return lambda received: answer(b"%d" % number)


@pytest.fixture(scope="module")
def one_farm(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("farm"), pki)
    yield farm
    farm.proxy.end()
    for port in (*farm.ports, *farm.checked):
        port.close()


@pytest.fixture
def farm(one_farm: Farm, log_on_failure: list[Program]) -> Iterator[Farm]:
    log_on_failure.append(one_farm.proxy)
    before = len(one_farm.proxy.log)
    yield one_farm
    assert "Traceback" not in one_farm.proxy.log[before:]
    assert one_farm.proxy.exit_code is None


# -- who gets what -------------------------------------------------------------------------------


async def test_turns_go_by_weight(farm: Farm) -> None:
    async with farm.backends(0, 1, 2):
        got = [await farm.asked("turns.test") for _ in range(8)]
    assert [got.count(number) for number in range(3)] == [4, 2, 2]


async def test_the_least_busy_is_asked(farm: Farm) -> None:
    """While two hold a request each, all others go to the third."""
    go_on = asyncio.Event()
    holding: list[int] = []

    def script(number: int) -> Callable[[Peer], asyncio.Future[None]]:
        async def serve(peer: Peer) -> None:
            while (received := await peer.request()) is not None:
                if received.target == b"/hold":
                    holding.append(number)
                    await go_on.wait()
                await peer.send(answer(b"%d" % number))

        return lambda peer: asyncio.ensure_future(serve(peer))

    async with AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(scripted(farm.ports[number].number, script(number)))
        held = [asyncio.create_task(farm.ask("quiet.test", target=b"/hold")) for _ in range(2)]

        async def both() -> bool:
            return len(holding) == 2

        await eventually(both, "two requests that are held")
        assert len(set(holding)) == 2
        free = ({0, 1, 2} - set(holding)).pop()
        assert [await farm.asked("quiet.test") for _ in range(4)] == [free] * 4
        go_on.set()
        assert sorted([int((await task).body) for task in held]) == sorted(holding)


async def test_a_cookie_stays_with_its_backend_for_as_long_as_it_lives(farm: Farm) -> None:
    def cookie(number: int) -> bytes:
        return b"Cookie: a=b; sid=client-%d; c=d" % number

    async with farm.backends(0, 1, 2):
        home = {
            number: await farm.asked("sticky.test", cookie(number)) for number in range(CLIENTS)
        }
        assert set(home.values()) == {0, 1, 2}
        again = {number: await farm.asked("sticky.test", cookie(number)) for number in home}
        assert again == home
    async with farm.backends(0, 1):
        # One is dead: its clients are answered by the others, and nobody else moves.
        for number in home:
            got = await farm.asked("sticky.test", cookie(number))
            assert got == home[number] if home[number] != 2 else got in (0, 1)
    async with farm.backends(0, 1, 2):

        async def all_are_home() -> bool:
            return {
                number: await farm.asked("sticky.test", cookie(number)) for number in home
            } == home

        await eventually(all_are_home, "every client at its old backend")


async def test_a_header_stays_with_its_backend(farm: Farm) -> None:
    async with farm.backends(0, 1, 2):
        first = [await farm.asked("by-header.test", b"X-Tenant: %d" % n) for n in range(CLIENTS)]
        again = [await farm.asked("by-header.test", b"x-tenant: %d" % n) for n in range(CLIENTS)]
    assert first == again
    assert set(first) == {0, 1, 2}


# -- who is left out -----------------------------------------------------------------------------


async def test_a_failing_backend_is_left_out_and_tried_again(farm: Farm) -> None:
    """It accepts and hangs up; a POST that meets it is never sent to another one."""
    met: list[bytes] = []

    async def hang_up(peer: Peer) -> None:
        if (received := await peer.request()) is not None:
            met.append(received.target)
            peer.reset()

    async def post() -> int:
        async with await farm.open("shy.test") as wire:
            raw = get("shy.test", b"Content-Length: 0").replace(b"GET", b"POST")
            return (await wire.ask(raw)).status

    async with farm.backends(0, 1):
        async with scripted(farm.ports[2].number, hang_up):
            statuses: list[int] = []
            before = len(farm.proxy.log)  # another site may have avoided it, too

            async def is_noticed() -> bool:
                statuses.append(await post())
                said = farm.proxy.log[before:]
                return f"upstream {farm.ports[2]} is failing and will be avoided" in said

            await eventually(is_noticed, "its being left out")
            assert set(statuses) == {200, 502}
            assert statuses.count(502) == len(met) >= 2
        async with farm.backends(2):

            async def is_back() -> bool:
                return await farm.asked("shy.test") == 2

            await eventually(is_back, "the backend that works again")


async def test_a_backend_that_fails_its_check_gets_nothing(farm: Farm) -> None:
    status = b"200 OK"

    def serve(received: Received) -> bytes:
        return answer(b"1", status if received.target == b"/health" else b"200 OK")

    async def both_are_asked() -> bool:
        # At first both are out: nobody listened there.
        return {(await farm.ask("checked.test")).body for _ in range(2)} == {b"0", b"1"}

    async def one_is_left_out() -> bool:
        return {await farm.asked("checked.test") for _ in range(2)} == {0}

    first, second = (port.number for port in farm.checked)
    async with recording(first, named(0)), recording(second, serve) as backend:
        await eventually(both_are_asked, "both backends in turns")
        status = b"500 Broken"
        await eventually(one_is_left_out, "the second backend left out")
        assert await one_is_left_out()
        status = b"204 Fine"
        await eventually(both_are_asked, "the second backend again")
    checks = [received for received in backend.records if received.target == b"/health"]
    assert {received.get(b"host") for received in checks} == {b"checked.test"}
    assert all(received.get(b"x-forwarded-for") is None for received in checks)


async def test_all_that_fail_their_checks_are_503(farm: Farm) -> None:
    async def is_unavailable() -> Response | None:
        response = await farm.ask("checked.test")
        return response if response.status == 503 else None

    assert (await eventually(is_unavailable, "503")).get(b"retry-after") == b"1"

    async def is_served() -> bool:
        return (await farm.ask("checked.test")).status == 200

    async with recording(farm.checked[0].number, named(0)):
        await eventually(is_served, "service")


# -- how much one is given -----------------------------------------------------------------------


async def test_who_finds_no_room_waits_and_the_next_is_told_when_to_come_again(
    farm: Farm,
) -> None:
    go_on = asyncio.Semaphore(0)
    met: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            met.append(received.target)
            await go_on.acquire()
            await peer.send(answer(received.target))

    async with scripted(farm.ports[0].number, serve) as backend:
        first = asyncio.create_task(farm.ask("narrow.test", target=b"/1"))

        async def met_one() -> bool:
            return met == [b"/1"]

        await eventually(met_one, "the first request")
        # Whoever of the two comes second finds the queue full.
        others = [
            asyncio.create_task(farm.ask("narrow.test", target=b"/%d" % number))
            for number in (2, 3)
        ]
        done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [503]
        assert [task.result().get(b"retry-after") for task in done] == [b"1"]
        go_on.release()
        assert (await first).body == b"/1"
        go_on.release()
        if waiting:
            # On a machine that is slow enough its time in the queue may have passed, too.
            assert (await waiting.pop()).status in (200, 503)
        # The wait has an end.
        held = asyncio.create_task(farm.ask("narrow.test", target=b"/4"))

        async def met_the_last() -> bool:
            return met[-1] == b"/4"

        await eventually(met_the_last, "the request that holds the only place")
        late = await farm.ask("narrow.test", target=b"/5")
        assert (late.status, late.get(b"retry-after")) == (503, b"1")
        go_on.release()
        assert (await held).body == b"/4"
        assert b"/5" not in met
        assert len(backend.peers) == 1, "one at a time is one connection"


async def test_a_client_that_leaves_the_queue_is_never_sent_on(farm: Farm) -> None:
    go_on = asyncio.Event()
    met: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while (received := await peer.request()) is not None:
            met.append(received.target)
            await go_on.wait()
            await peer.send(answer(received.target))

    async with scripted(farm.ports[0].number, serve):
        first = asyncio.create_task(farm.ask("narrow.test", target=b"/1"))

        async def met_one() -> bool:
            return met == [b"/1"]

        await eventually(met_one, "the first request")
        async with await farm.open("narrow.test") as wire:
            await wire.send(get("narrow.test", target=b"/left"))
            await wire.send_end()
            await wire.read_to_end()
        go_on.set()
        assert (await first).status == 200
        assert (await farm.ask("narrow.test", target=b"/2")).status == 200
    assert met == [b"/1", b"/2"]


# -- what it is told -----------------------------------------------------------------------------


async def test_header_rules_and_a_stripped_prefix(farm: Farm) -> None:
    def serve(received: Received) -> bytes:
        return answer(b"x", b"200 OK\r\nX-Powered-By: y\r\nX-Frame-Options: SAMEORIGIN")

    async with recording(farm.ports[0].number, serve) as backend:
        lines = b"X-Secret: theirs", b"x-set: theirs", b"X-Forwarded-Prefix: /theirs"
        seen = []
        for target in (b"/api", b"/api/", b"/api?a", b"/api//a", b"/api/../b", b"/apis", b"//api"):
            response = await farm.ask("ruled.test", *lines, target=target)
            assert response.all(b"x-frame-options") == [b"DENY"]
            assert response.get(b"x-powered-by") is None
            received = backend.records[-1]
            assert received.all(b"x-set") == [b"ours"]
            assert received.get(b"x-secret") is None
            seen.append((received.target, received.get(b"x-forwarded-prefix")))
    assert seen == [
        *((target, b"/api") for target in (b"/", b"/", b"/?a", b"//a", b"/../b")),
        (b"/apis", None),
        (b"//api", None),
    ]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_client_is_announced_once_on_each_connection(farm: Farm, version: str) -> None:
    announced: list[tuple[str, int]] = []

    async def serve(peer: Peer) -> None:
        header = b""
        while (parsed := parse_proxy_header(header)) is None:
            header += await peer.read_exactly(1)
        assert parsed.source is not None
        announced.append((parsed.source.host, parsed.source.port))
        while (received := await peer.request()) is not None:
            await peer.send(answer(received.target))

    async with scripted(farm.ports[0].number, serve):
        async with await farm.open(f"{version}.test") as wire:
            for target in (b"/1", b"/2"):
                response = await wire.ask(get(f"{version}.test", target=target))
                assert response.body == target
    assert len(announced) == 2
    assert announced[0] == announced[1]
    assert announced[0][0] == "127.0.0.1"
