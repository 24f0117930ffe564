"""Target: one HTTP/1.1 client and backends that mean no good, event by event.

The input is a script of what happens: the client writes requests and sends them in pieces, ahead
of the answers if it likes; it stops reading, half-closes, vanishes. Backends answer in full, in
part, twice, unasked or with anything; they close, reset, stop reading. Connections are late or
refused, time passes, the proxy stops. The connection, the exchanges and the upstream connections
are the real ones (``tests.proxy.bench``).

Each request carries its number, and all that a backend says carries the number of the request that
it was asked last. So, whatever happens:

* what reaches a backend is one strict request after the other, none of them altered; a request
  that is not idempotent never comes twice, and none comes again after a byte of its response;
* what the client gets is one well-formed response after the other, each with the number of its
  own request and no other; one that is cut short ends in a reset and not as if it were whole;
* nothing is left when all have gone and the time is over: no connection, no exchange that was not
  logged, none that was logged twice, no backend that is neither idle nor closed.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import UpstreamUnavailable
from proxy.exchange import Exchange
from proxy.forwarding import Forwarding
from tests.fuzz.heads import ENGINES
from tests.fuzz.strict import Request, h11_request, read_request
from tests.fuzz.talk_messages import ANSWERS, ASKS, CLEAN, OTHERS, Asked, Response
from tests.fuzz.target import SHORT, Choices, Target
from tests.proxy.bench import Backend, Bench

_NUMBER: Final = re.compile(rb"/q(\d+) ")
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT"})
_SIZES: Final = (1, 2, 9, 30, 15_000)
"""Of bodies, in marks; the last one is more than is held for a backend that is not there yet."""
_MOST_EVENTS: Final = 200
_NOBODYS: Final = 999
_LONG: Final = 10_000.0
"""Seconds; longer than any limit in time."""


class _Behind:
    """One connection to a backend, with what is still to be said on it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.seen = 0
        self.current: Asked | None = None
        self.tunnel = False
        self.rest = b""
        self.rest_for: Asked | None = None
        self.slow = False
        self.silent = False
        self.surplus = False
        self.gone = False


class Talk:
    """Plays a script, and checks it."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._exchanges: list[Exchange] = []
        how = choices.byte()
        self._backends_first = bool(how & 2)
        self._bench = Bench(engine=ENGINES[how & 1], application=self._application)
        self._asked: list[Asked] = []
        self._unsent = b""
        self._behind: list[_Behind] = []
        self._client_left = False
        self._lost = False
        self._slow = False
        self._events = (
            *(self._ask, self._send, self._send_all, self._answer, self._answer, self._go_on),
            *(self._say_anything, self._backend_closes, self._backend_resets, self._backend_slow),
            *(
                self._client_slow,
                self._client_closes,
                self._client_vanishes,
                self._time,
                self._pool,
            ),
            self._stop,
        )

    def _application(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)
        head = exchange.head
        if head.method == b"TRACE":
            exchange.refuse(405)
        else:
            bench = self._bench
            exchange.forward(Forwarding(self, head, bench.site, bench.route))

    def play(self) -> None:
        """The script, and then the end of everything."""
        for _ in range(_MOST_EVENTS):
            if not self._choices:
                break
            self._events[self._choices.byte() % len(self._events)]()
            self._look()
        self._end()

    # -- events ------------------------------------------------------------------------------------

    def _ask(self) -> None:
        asked = Asked(
            len(self._asked), self._choices.byte(), _SIZES[self._choices.byte() % len(_SIZES)]
        )
        self._asked.append(asked)
        self._unsent += asked.wire

    def _send(self) -> None:
        self._send_piece(self._choices.byte())

    def _send_all(self) -> None:
        self._send_piece(len(self._unsent))

    def _send_piece(self, size: int) -> None:
        # Who does not read is not sent to for ever; what comes while reading is paused waits.
        if self._client_hears() and not self._bench.channel.paused:
            piece, self._unsent = self._unsent[:size], self._unsent[size:]
            if piece:
                self._bench.client(piece)

    def _client_hears(self) -> bool:
        return self._bench.channel.is_open and not self._client_left

    def _chosen(self) -> _Behind | None:
        """One of the backends that are there."""
        there = [behind for behind in self._behind if not behind.gone]
        number = self._choices.byte()
        return there[-1 - number % len(there)] if there else None

    def _answer(self) -> None:
        kind, behind = self._choices.byte(), self._chosen()
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
        self._deliver(behind, self._choices.byte() or len(behind.rest))

    def _go_on(self) -> None:
        behind = self._chosen()
        if behind is not None:
            self._deliver(behind, self._choices.byte() or len(behind.rest))

    def _say_anything(self) -> None:
        behind = self._chosen()
        text = self._choices.string().replace(b"<", b"(")  # no marks but ours
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
            unasked = behind.backend in self._bench.pool.idle
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

    def _client_slow(self) -> None:
        """The client stops reading, or reads again."""
        if self._bench.channel.is_open:
            self._slow = not self._slow
            if self._slow:
                self._bench.client_stops_reading()
            else:
                self._bench.client_reads()

    def _client_closes(self) -> None:
        if self._client_hears() and not self._bench.channel.paused:
            self._client_left = True
            self._bench.client_closes()

    def _client_vanishes(self) -> None:
        if self._bench.channel.is_open:
            self._client_left = self._lost = True
            self._bench.client_vanishes()

    def _time(self) -> None:
        self._bench.pass_time(float(self._choices.byte()))

    def _pool(self) -> None:
        pool = self._bench.pool
        what = self._choices.byte() % 3
        if what == 0:
            pool.holds = not pool.holds
            while pool.waiters and not pool.holds:
                pool.serve()
        elif pool.waiters and what == 1:
            pool.serve()
        elif pool.waiters:
            pool.refuse(UpstreamUnavailable("nobody is there"))

    def _stop(self) -> None:
        channel = self._bench.channel
        if channel.is_open and not channel.eof:
            http = self._bench.http
            (http.retire if self._choices.byte() & 1 else http.stop)()
            http.flush()

    # -- what follows from them --------------------------------------------------------------------

    def _look(self) -> None:
        """See what has reached the backends, and do what the loop does about closed sockets."""
        while len(self._behind) < len(self._bench.pool.backends):
            self._behind.append(_Behind(self._bench.pool.backends[len(self._behind)]))
        for behind in self._behind:
            self._look_at(behind)
            if behind.backend.transport.is_closing() and not behind.gone:
                behind.gone = True
                behind.backend.connection.connection_lost(None)
        if not self._bench.channel.is_open and not self._lost:
            self._lost = True
            self._bench.http.connection_lost()
        assert len(self._bench.pool.idle) == len({*map(id, self._bench.pool.idle)})

    def _look_at(self, behind: _Behind) -> None:
        written = behind.backend.transport.written
        while behind.seen < len(written) and not behind.tunnel:
            current = behind.current
            if current is not None and b"websocket" in current.wire:
                exchange = self._exchanges[current.number]
                if exchange.status == 101:
                    behind.tunnel = True
                    return
            head = _NUMBER.search(written, behind.seen)
            request, rest = read_request(bytes(written[behind.seen :]))
            if head is not None:
                self._reaches(behind, self._asked[int(head[1])])
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
        said, _ = h11_request(asked.wire)
        assert said is not None, f"{request!r} is no request of the client's"
        assert (request.method, request.body) == (said.method, said.body)

    # -- the end -----------------------------------------------------------------------------------

    def _end(self) -> None:
        bench = self._bench
        bench.pool.holds = False
        if self._backends_first:
            self._end_of_backends()
        while bench.pool.waiters:
            bench.pool.refuse(UpstreamUnavailable("nobody is there"))
        if self._slow and bench.channel.is_open:
            bench.client_reads()
        self._look()
        for _ in range(6 + len(self._asked)):
            bench.pass_time(_LONG)
            self._look()
        if bench.channel.is_open:
            # A response may take as long as its backend likes: events come when there are some.
            last = self._exchanges[-1]
            responding = last.response_started and not last.done
            assert responding, f"nothing ends {bench.http!r}"
            self._client_vanishes()
            self._look()
        assert not bench.pool.waiters, f"still waiting: {bench.pool.waiters!r}"
        for behind in self._behind:
            assert behind.gone or behind.backend in bench.pool.idle, "a backend is left over"
        self._end_of_backends()
        assert sorted(map(id, bench.finished)) == sorted(map(id, self._exchanges)), (
            f"begun {self._exchanges!r}, logged {bench.finished!r}"
        )
        self._are_well_formed(bytes(bench.channel.written))

    def _end_of_backends(self) -> None:
        for _ in range(3):  # the first one may bring others: requests that are sent again
            for behind in self._behind:
                if not behind.gone:
                    self._backend_gone(behind, None)
            self._look()

    def _are_well_formed(self, data: bytes) -> None:
        """One response after the other, each to its own request."""
        channel, begun = self._bench.channel, len(self._exchanges)
        for number, asked in enumerate([*self._asked, None]):
            if not data:
                return
            method = b"GET" if asked is None or number >= begun else asked.method
            response = Response(method, data, ended=channel.closed and not channel.aborted)
            assert response.marks <= {number}, f"{response.marks} in response {number}: {data!r}"
            if response.status == 101:
                return
            if not response.whole:
                assert channel.aborted or self._client_left, f"cut short, not reset: {data!r}"
                return
            assert asked is not None, f"an answer to nothing: {data!r}"
            # After a client that left, what is behind is cut off without a word.
            clean = response.status == 200 and len(asked.says) == 1 and not self._client_left
            if clean and method != b"HEAD":
                expected = asked.says[0]
                assert expected is None or response.body == expected, f"not {expected!r}: {data!r}"
            data = response.rest
        assert not data, f"more than the responses: {data!r}"


def check_talk(data: bytes) -> None:
    """Whatever clients and backends do to each other, each gets what is its own."""
    Talk(Choices(data)).play()


# -- seeds -------------------------------------------------------------------------------------

_ASK, _SEND, _SEND_ALL, _ANSWER, _, _GO_ON, _ANYTHING, _CLOSES, _RESETS, _SLOW = range(10)
_CLIENT_SLOW, _CLIENT_CLOSES, _VANISHES, _TIME, _POOL, _STOP = range(10, 16)
_TEXT: Final = 0x80
"""Two marks in an answer."""


def _talks() -> list[bytes]:
    seeds = []
    for answer in range(len(ANSWERS)):
        for ask in range(len(ASKS)):
            first = (_ASK, ask, answer % 4, _SEND_ALL, _ANSWER, answer | _TEXT, 0, 0)
            second = (_ASK, 0, 0, _SEND_ALL, _ANSWER, _TEXT, 0, 0)
            seeds.append(bytes((answer & 3, *first, *second)))
        pieces = (_SEND, 40, _ANSWER, answer | _TEXT, 0, 20, _SEND_ALL, _GO_ON, 0, 9, _GO_ON, 0, 0)
        seeds.append(bytes((answer & 3, _ASK, 3, 3, _ASK, 2, 1, *pieces, *pieces)))
        seeds.append(bytes((answer & 3, _ASK, 9, 0, *pieces, _CLOSES, 0, _SEND_ALL)))
    others = (
        *((_CLIENT_SLOW, _TIME, 9), (_CLIENT_CLOSES,), (_VANISHES,), (_TIME, 200), (_STOP, 0)),
        *((_STOP, 1), (_RESETS, 0), (_CLOSES, 0), (_SLOW, 0, _TIME, 99), (_ANYTHING, 0, 1, 65)),
    )
    for other in others:
        for ask in (0, 2, 3, 9):
            before = (_ASK, ask, 4, _ASK, 0, 0, _SEND, 255)
            after = (_SEND_ALL, _ANSWER, _TEXT | 1, 0, 60, *other, _GO_ON, 0, 0, _SEND_ALL)
            seeds.append(bytes((ask & 3, *before, *other, *after)))
            seeds.append(bytes((ask & 3, _POOL, 0, *before, _SEND_ALL, *other, _POOL, 1, *after)))
    return seeds


_EVENTS: Final = (
    *(bytes((_ASK, ask, 0, _SEND_ALL)) for ask in range(len(ASKS))),
    *(bytes((_ANSWER, answer | _TEXT, 0, 0)) for answer in range(len(ANSWERS))),
    *(bytes((event, 0)) for event in (_GO_ON, _CLOSES, _RESETS, _SLOW, _POOL, _STOP, _SEND)),
    *(bytes((event,)) for event in (_CLIENT_SLOW, _CLIENT_CLOSES, _VANISHES, _SEND_ALL)),
    *(b"\xff", b"\x01", bytes((_TIME, 6)), bytes((_TIME, 61)), bytes((_TIME, 255)), b"\x04"),
)

TARGETS: Final = (Target("talks", check_talk, _talks, _EVENTS, SHORT),)
