"""Targets: the client's side of HTTP/1.1 against what reached the backend, and the way back.

Any bytes go in as a client's connection, through the real connection, exchange and upstream
connection (``tests.proxy.bench``). What comes out at the backends is read by
:mod:`tests.fuzz.strict` and must be, one by one, the requests that h11 sees in the client's bytes:
as many as the proxy answered, in the same order, with the same bodies. How the bytes were cut
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import h11

from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from proxy.http.engine import EngineName
from tests.corpus.requests import REQUESTS
from tests.corpus.responses import RESPONSES
from tests.fuzz.heads import SCRAPS, origin_form, small, ways
from tests.fuzz.strict import Request, h11_request, read_request
from tests.fuzz.target import SHORT, Target, same
from tests.proxy.bench import Bench

_SWITCH: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)


class Behind:
    """All backends of a bench: they answer each request once it is complete."""

    def __init__(self, bench: Bench) -> None:
        self.requests: list[Request] = []
        self.tunnelled = b""
        self._bench = bench
        self._taken: dict[int, int] = {}
        self._tunnels: set[int] = set()

    def work(self) -> None:
        """Answer until there is nothing more to answer."""
        while any(self._answer(number) for number in range(len(self._bench.pool.backends))):
            pass

    def _answer(self, number: int) -> bool:
        backend = self._bench.pool.backends[number]
        new = backend.got[self._taken.get(number, 0) :]
        if number in self._tunnels:
            self.tunnelled += new
            self._taken[number] = len(backend.got)
            return False
        if not new:
            return False
        request, rest = read_request(new)
        if request is None:
            return False
        self._taken[number] = len(backend.got) - len(rest)
        self.requests.append(request)
        if request.upgrade and b"ws" in request.target:
            self._tunnels.add(number)
            backend.says(_SWITCH)
            return True
        assert not rest, f"two requests at once on one connection: {rest!r}"
        backend.says(answer(request))
        return True


def answer(request: Request) -> bytes:
    """A response that tells which request it belongs to."""
    text = b"%b %b %d" % (request.method, request.target, len(request.body))
    body = b"" if request.method == b"HEAD" else text
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), body)


class Client:
    """A bench whose exchanges are noted, with backends that answer."""

    def __init__(self, engine: EngineName) -> None:
        self.heads: list[tuple[bytes, bytes, bool]] = []
        self.bench = Bench(engine=engine, application=self._application)
        self.behind = Behind(self.bench)

    def _application(self, exchange: Exchange) -> None:
        head = exchange.head
        forwards = head.fields.host_name == "front.test" and head.method not in (
            b"TRACE",
            b"CONNECT",
        )
        self.heads.append((head.method, head.target, forwards))
        if forwards:
            exchange.forward(Forwarding(self, head, self.bench.site, self.bench.route))
        else:
            exchange.refuse(421)

    def send(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self.bench.client(piece)
            self.behind.work()


def check_exchanges(data: bytes) -> None:
    """What the client said, what the exchanges were and what the backends got are one story."""
    told = []
    for engine, pieces in ways(data):
        client = Client(engine)
        client.send(pieces)
        _is_what_the_client_said(client, data)
        told.append(_story(client))
    same(told, "the pieces or the engine made a difference")


def _story(client: Client) -> object:
    behind, channel = client.behind, client.bench.channel
    statuses = [
        # Which of several faults is named first depends on what has arrived.
        "refused" if status >= 400 else (status, body)
        for status, body in responses(client)
    ]
    return client.heads, behind.requests, behind.tunnelled, statuses, channel.is_open


def _is_what_the_client_said(client: Client, data: bytes) -> None:
    said = client_requests(data)
    got = iter(client.behind.requests)
    for position, (method, target, forwards) in enumerate(client.heads):
        request = next(said, None)
        complete = request is not None
        if request is not None:
            assert (method, target) == (request.method, origin_form(request.target)), (
                f"exchange {position} is {method!r} {target!r}, the client said {request!r}"
            )
        if not forwards:
            continue
        reached = next(got, None)
        if reached is None:
            # Only the last one may be missing: incomplete, or with a body that turned out bad.
            assert position == len(client.heads) - 1
            return
        assert complete, f"{reached!r} reached the backend, h11 sees no such request"
        assert request is not None
        assert (reached.method, reached.target) == (method, target)
        assert reached.body == request.body
        if reached.upgrade and b"ws" in target:
            return
    assert next(got, None) is None, "a backend got a request that no exchange was made for"


def client_requests(data: bytes) -> Iterator[Request]:
    """The requests that h11 sees in a client's bytes."""
    while data:
        # RFC 9112 §2.2: one empty line before a request is passed over.
        request, rest = h11_request(data.removeprefix(b"\r\n"))
        if request is None:
            return
        yield request
        data = rest


def responses(client: Client) -> list[tuple[int, bytes]]:
    """The final responses that the client got: well-formed, and each to its own request."""
    methods = [method for method, _, _ in client.heads]
    return _read_responses((*methods, b"GET"), client.bench.got)


@lru_cache(maxsize=64)  # most ways to cut the same bytes end in the same answers
def _read_responses(methods: tuple[bytes, ...], data: bytes) -> list[tuple[int, bytes]]:
    told: list[tuple[int, bytes]] = []
    for method in methods:
        if not data:
            break
        connection = asked(method)
        connection.receive_data(data)
        while isinstance(event := connection.next_event(), h11.InformationalResponse):
            if event.status_code == 101:
                break
        if isinstance(event, h11.InformationalResponse):
            told.append((101, b""))
            return told
        if event is h11.NEED_DATA and told_of_continue(data):
            return told  # the rest of its body never came
        assert isinstance(event, h11.Response), f"{event!r} in {data!r}"
        status, body = event.status_code, b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), f"{event!r} in {data!r}"
        told.append((status, body))
        data = bytes(connection.trailing_data[0])
    assert not data, f"more than the responses: {data!r}"
    return told


def told_of_continue(data: bytes) -> bool:
    """Nothing but an invitation to send the body."""
    return data == b"HTTP/1.1 100 Continue\r\n\r\n"


def asked(method: bytes) -> h11.Connection:
    """A client that has sent its request and waits."""
    connection = h11.Connection(h11.CLIENT)
    fields = [("host", "h"), ("connection", "upgrade"), ("upgrade", "websocket")]
    connection.send(h11.Request(method=method, target="/", headers=fields))
    connection.send(h11.EndOfMessage())
    return connection


# -- the way back --------------------------------------------------------------------------------

_FIRST: Final = b"%b /first HTTP/1.1\r\nHost: front.test\r\n\r\n"
_SECOND: Final = b"GET /second HTTP/1.1\r\nHost: front.test\r\n\r\n"
_OWN: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"


def check_response(data: bytes) -> None:
    """Whatever a backend says, the client gets a message, and the next request its own answer."""
    for method in (b"GET", b"HEAD"):
        # After HEAD a response is over with its head, which two ways are enough for.
        chosen = list(ways(data))[1:3] if method == b"HEAD" else ways(data)
        told = [_first_and_second(engine, method, pieces) for engine, pieces in chosen]
        same(told, f"pieces or engine made a difference to {method!r}")


def _first_and_second(engine: EngineName, method: bytes, pieces: Sequence[bytes]) -> object:
    bench = Bench(engine=engine)
    bench.client(_FIRST % method)
    first = bench.backend
    for piece in pieces:
        first.says(piece)
    first_status, first_body, whole = _response(bench.take(), method)
    clean = first.is_open and bench.pool.idle == [first]
    if not whole:
        # How much of it came before the fault depends on the pieces.
        assert not bench.channel.is_open or first.is_open
        return "cut", bench.channel.is_open
    if not bench.channel.is_open:
        return first_status, first_body, "closed"
    bench.client(_SECOND)
    if bench.backend is first:
        assert clean, "a connection was used again that was not given back"
    bench.backend.says(_OWN)
    second = _response(bench.take(), b"GET")
    assert second == (200, b"second", True), f"the second request got {second!r}"
    return first_status, first_body, whole, clean


@lru_cache(maxsize=64)
def _response(data: bytes, method: bytes) -> tuple[int, bytes, bool]:
    """Status, body and whether it is complete."""
    if not data:
        return 0, b"", False
    connection = asked(method)
    connection.receive_data(data)
    while isinstance(event := connection.next_event(), h11.InformationalResponse):
        pass
    if not isinstance(event, h11.Response):
        assert event in (h11.NEED_DATA, h11.PAUSED), f"{event!r} in {data!r}"
        return 0, b"", False
    names = [name for name, _ in event.headers]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    body = b""
    status = event.status_code
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    whole = isinstance(event, h11.EndOfMessage)
    if whole:
        assert not connection.trailing_data[0], f"more than a response: {data!r}"
    return status, body, whole


def _client_bytes() -> list[bytes]:
    websocket = (
        b"GET /ws HTTP/1.1\r\nHost: front.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return small([*(case.raw for case in REQUESTS), websocket, websocket + b"\x81\x80abcd"])


def _backend_bytes() -> list[bytes]:
    return small([case.raw for case in RESPONSES])


TARGETS: Final = (
    Target("exchanges", check_exchanges, _client_bytes, SCRAPS, SHORT),
    Target("responses", check_response, _backend_bytes, SCRAPS, SHORT),
)
