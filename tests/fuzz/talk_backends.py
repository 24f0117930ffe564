"""Backends that mean no good, and a client that is yet to be filled in: the half of a talk that
does not depend on what the client speaks.

See :mod:`tests.fuzz.talks`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from proxy.downstream.http1 import Http1Connection
from proxy.downstream.http2 import Http2Connection
from proxy.errors import UpstreamUnavailable
from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from tests.fuzz.heads import ENGINES
from tests.fuzz.strict import Request, read_request
from tests.fuzz.talk_messages import ANSWERS, CLEAN, OTHERS, Asked
from tests.fuzz.target import Choices
from tests.proxy.bench import Backend, Bench

_NUMBER: Final = re.compile(rb"/q(\d+) ")
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT"})
_MOST_EVENTS: Final = 200
_NOBODYS: Final = 999
_LONG: Final = 10_000.0
"""Seconds; longer than any limit in time."""

Event = Callable[[], None]
AskedT = TypeVar("AskedT", bound=Asked)


class _Behind:
    """One connection to a backend, with what is still to be said on it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.looked_at = 0
        self.seen = 0
        self.current: Asked | None = None
        self.tunnel = False
        self.rest = b""
        self.rest_for: Asked | None = None
        self.slow = False
        self.silent = False
        self.surplus = False
        self.gone = False


class Talk(ABC, Generic[AskedT]):
    """Plays a script, and checks what reaches the backends and what is left over at the end."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.exchanges: dict[int, Exchange] = {}
        """By the number of their request."""
        how = choices.byte()
        self._backends_first = bool(how & 2)
        self.bench = Bench(engine=ENGINES[how & 1], application=self._application)
        self.asked: list[AskedT] = []
        self.unsent = b""
        """What the client has written and not sent yet."""
        self.left = False
        """The client has closed, or is gone."""
        self._behind: list[_Behind] = []
        self._lost = False
        self._slow = False
        self.backend_events: Sequence[Event] = (
            *(self._answer, self._answer, self._go_on, self._say_anything, self._backend_closes),
            *(self._backend_resets, self._backend_slow),
        )
        self.other_events: Sequence[Event] = (
            *(self._client_slow, self._client_closes, self._client_vanishes, self._time),
            *(self._pool, self._stop),
        )

    @property
    @abstractmethod
    def events(self) -> Sequence[Event]:
        """What can happen; an octet of the script chooses."""

    @property
    @abstractmethod
    def http(self) -> Http1Connection | Http2Connection:
        """The connection that the client talks to."""

    @abstractmethod
    def check_responses(self, data: bytes) -> None:
        """Judge what the client got."""

    def _application(self, exchange: Exchange) -> None:
        head = exchange.head
        number = int(head.target.removeprefix(b"/q"))
        assert number not in self.exchanges, f"two exchanges for request {number}"
        self.exchanges[number] = exchange
        if head.method == b"TRACE":
            exchange.refuse(405)
        else:
            exchange.forward(Forwarding(self, head, self.bench.site, self.bench.route))

    def play(self) -> None:
        """The script, and then the end of everything."""
        events = self.events
        for _ in range(_MOST_EVENTS):
            if not self.choices:
                break
            events[self.choices.byte() % len(events)]()
            self._look()
        self._end()
        self.check_responses(bytes(self.bench.channel.written))

    # -- the client --------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """The client sends."""
        if data and self.bench.channel.is_open:
            self.http.receive(data)
            self.http.flush()

    @property
    def _may_send(self) -> bool:
        """What comes while reading is paused waits in the socket."""
        channel = self.bench.channel
        return channel.is_open and not self.left and not channel.paused

    def send_some(self) -> None:
        """The client sends a piece of what it has written."""
        self._send_piece(self.choices.byte())

    def send_all(self) -> None:
        self._send_piece(len(self.unsent))

    def _send_piece(self, size: int) -> None:
        if self._may_send:
            piece, self.unsent = self.unsent[:size], self.unsent[size:]
            self.send(piece)

    def _client_slow(self) -> None:
        """The client stops reading, or reads again."""
        if self.bench.channel.is_open:
            self._slow = not self._slow
            self.bench.channel.waiting = 100_000 * self._slow
            (self.http.pause_writing if self._slow else self.http.resume_writing)()

    def _client_closes(self) -> None:
        if self._may_send:
            self.left = True
            self.http.receive_eof()
            self.http.flush()

    def _client_vanishes(self) -> None:
        if self.bench.channel.is_open:
            self.left = self._lost = True
            self.bench.channel.aborted = True
            self.http.connection_lost()

    # -- backends ----------------------------------------------------------------------------------

    def _chosen(self) -> _Behind | None:
        """One of the backends that are there."""
        there = [behind for behind in self._behind if not behind.gone]
        number = self.choices.byte()
        return there[-1 - number % len(there)] if there else None

    def _answer(self) -> None:
        kind, behind = self.choices.byte(), self._chosen()
        if behind is None:
            return
        asked = behind.current
        text = b"<r%d>" % (asked.number if asked else _NOBODYS) * (kind >> 6)
        kind = (kind & 0x3F) % len(ANSWERS)
        behind.rest, behind.rest_for = ANSWERS[kind](text), asked
        behind.surplus = False
        if asked is not None:
            asked.says.append(text if kind < len(CLEAN) else None)
            behind.surplus = len(asked.says) == 1 and kind >= len(CLEAN) + len(OTHERS)
        self._deliver(behind, self.choices.byte() or len(behind.rest))

    def _go_on(self) -> None:
        behind = self._chosen()
        if behind is not None:
            self._deliver(behind, self.choices.byte() or len(behind.rest))

    def _say_anything(self) -> None:
        behind = self._chosen()
        text = self.choices.string().replace(b"<", b"(")  # no marks but ours
        if behind is not None:
            if behind.current is not None:
                behind.current.says.append(None)
            behind.rest, behind.rest_for, behind.surplus = text, behind.current, False
            self._deliver(behind, len(text))

    def _deliver(self, behind: _Behind, size: int) -> None:
        """Nobody could tell that what comes late is not for the request that came meanwhile."""
        paused = behind.backend.transport.paused
        if behind.rest_for is not behind.current or paused or behind.silent:
            return
        piece, behind.rest = behind.rest[:size], behind.rest[size:]
        if piece:
            unasked = behind.backend in self.bench.pool.idle
            if behind.current is not None:
                behind.current.heard = True
            behind.backend.says(piece)
            if unasked or (behind.surplus and not behind.rest):
                assert not behind.backend.is_open, f"kept, for all that it said {piece!r}"

    def _backend_closes(self) -> None:
        behind = self._chosen()
        if behind is not None and not behind.backend.transport.paused and not behind.silent:
            behind.silent = True
            if not behind.backend.connection.eof_received():
                self._backend_gone(behind, None)

    def _backend_resets(self) -> None:
        behind = self._chosen()
        if behind is not None:
            self._backend_gone(behind, ConnectionResetError("by the backend"))

    def _backend_gone(self, behind: _Behind, error: Exception | None) -> None:
        behind.gone = True
        behind.backend.transport.abort()
        behind.backend.connection.connection_lost(error)

    def _backend_slow(self) -> None:
        """A backend stops reading, or reads again."""
        behind = self._chosen()
        if behind is not None:
            behind.slow = not behind.slow
            behind.backend.transport.waiting = 100_000 * behind.slow
            connection = behind.backend.connection
            (connection.pause_writing if behind.slow else connection.resume_writing)()

    # -- time, and what the proxy does -------------------------------------------------------------

    def _time(self) -> None:
        self._pass_time(float(self.choices.byte()))

    def _pass_time(self, seconds: float) -> None:
        self.bench.clock.now += seconds
        if self.bench.channel.is_open:
            self.http.sweep(self.bench.clock.now)

    def _pool(self) -> None:
        pool = self.bench.pool
        what = self.choices.byte() % 3
        if what == 0:
            pool.holds = not pool.holds
            while pool.waiters and not pool.holds:
                pool.serve()
        elif pool.waiters and what == 1:
            pool.serve()
        elif pool.waiters:
            pool.refuse(UpstreamUnavailable("nobody is there"))

    def _stop(self) -> None:
        channel = self.bench.channel
        if channel.is_open:
            (self.http.retire if self.choices.byte() & 1 else self.http.stop)()
            self.http.flush()

    # -- what follows from them --------------------------------------------------------------------

    def _look(self) -> None:
        """See what has reached the backends, and do what the loop does about closed sockets."""
        while len(self._behind) < len(self.bench.pool.backends):
            self._behind.append(_Behind(self.bench.pool.backends[len(self._behind)]))
        for behind in self._behind:
            self._look_at(behind)
            if behind.backend.transport.is_closing() and not behind.gone:
                behind.gone = True
                behind.backend.connection.connection_lost(None)
        if not self.bench.channel.is_open and not self._lost:
            self._lost = True
            self.http.connection_lost()
        assert len(self.bench.pool.idle) == len({*map(id, self.bench.pool.idle)})

    def _look_at(self, behind: _Behind) -> None:
        written = behind.backend.transport.written
        if len(written) == behind.looked_at:
            return
        behind.looked_at = len(written)
        while behind.seen < len(written) and not behind.tunnel:
            current = behind.current
            if current is not None and self.exchanges[current.number].status == 101:
                behind.tunnel = True
                return
            head = _NUMBER.search(written, behind.seen)
            request, rest = read_request(bytes(written[behind.seen :]))
            if head is not None:
                self._reaches(behind, self.asked[int(head[1])])
            if request is None:
                return
            behind.seen = len(written) - len(rest)
            assert behind.current is not None
            self._is_unaltered(behind.current, request)

    def _reaches(self, behind: _Behind, asked: Asked) -> None:
        if behind.backend in asked.reached:
            return  # more of its body
        assert not asked.heard, "sent once more after its response had begun"
        assert not asked.reached or asked.method in _IDEMPOTENT, "not idempotent, and sent twice"
        asked.reached.append(behind.backend)
        behind.current = asked
        behind.rest = b""

    @staticmethod
    def _is_unaltered(asked: Asked, request: Request) -> None:
        assert asked.method == request.method
        assert asked.body == request.body

    # -- the end -----------------------------------------------------------------------------------

    def _end(self) -> None:
        bench = self.bench
        bench.pool.holds = False
        if self._backends_first:
            self._end_of_backends()
        while bench.pool.waiters:
            bench.pool.refuse(UpstreamUnavailable("nobody is there"))
        if self._slow:
            self._client_slow()
        self._look()
        for _ in range(6 + len(self.asked)):
            self._pass_time(_LONG)
            self._look()
        if bench.channel.is_open:
            # A response may take as long as its backend likes: events come when there are some.
            going_on = [e for e in self.exchanges.values() if e.response_started and not e.done]
            assert going_on, f"nothing ends {self.http!r}"
            self._client_vanishes()
            self._look()
        assert not bench.pool.waiters, f"still waiting: {bench.pool.waiters!r}"
        for behind in self._behind:
            assert behind.gone or behind.backend in bench.pool.idle, "a backend is left over"
        self._end_of_backends()
        # What the client took back in the same breath is logged, and has never begun.
        begun = {id(exchange) for exchange in self.exchanges.values()}
        logged = [id(exchange) for exchange in bench.finished]
        assert len(logged) == len(set(logged)), f"logged twice: {bench.finished!r}"
        assert begun <= set(logged), f"begun {self.exchanges!r}, logged {bench.finished!r}"
        for exchange in bench.finished:
            assert id(exchange) in begun or (exchange.status, exchange.attempts) == (499, 0)

    def _end_of_backends(self) -> None:
        for _ in range(3):  # the first one may bring others: requests that are sent again
            for behind in self._behind:
                if not behind.gone:
                    self._backend_gone(behind, None)
            self._look()
