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

from collections.abc import Sequence
from typing import Final

from proxy.downstream.http1 import Http1Connection
from tests.fuzz.talk_backends import Event, Talk
from tests.fuzz.talk_messages import ANSWERS, ASKS, Http1Asked, Response
from tests.fuzz.target import SHORT, Choices, Target


class Http1Talk(Talk[Http1Asked]):
    """A client that pipelines."""

    @property
    def events(self) -> Sequence[Event]:
        ours = self._ask, self.send_some, self.send_all
        return (*ours, *self.backend_events, *self.other_events)

    @property
    def http(self) -> Http1Connection:
        return self.bench.http

    def _ask(self) -> None:
        asked = Http1Asked(len(self.asked), self.choices.byte(), self.choices.byte())
        self.asked.append(asked)
        self.unsent += asked.wire

    def check_responses(self, data: bytes) -> None:
        """One response after the other, each to its own request."""
        channel, begun = self.bench.channel, len(self.exchanges)
        for number, asked in enumerate([*self.asked, None]):
            if not data:
                return
            method = b"GET" if asked is None or number >= begun else asked.method
            response = Response(method, data, ended=channel.closed and not channel.aborted)
            assert response.marks <= {number}, f"{response.marks} in response {number}: {data!r}"
            if response.status == 101:
                return
            if not response.whole:
                assert channel.aborted or self.left, f"cut short, not reset: {data!r}"
                return
            assert asked is not None, f"an answer to nothing: {data!r}"
            # After a client that left, what is behind is cut off without a word.
            clean = response.status == 200 and len(asked.says) == 1 and not self.left
            if clean and method != b"HEAD":
                expected = asked.says[0]
                assert expected is None or response.body == expected, f"not {expected!r}: {data!r}"
            data = response.rest
        assert not data, f"more than the responses: {data!r}"


def check_talk(data: bytes) -> None:
    """Whatever clients and backends do to each other, each gets what is its own."""
    Http1Talk(Choices(data)).play()


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
