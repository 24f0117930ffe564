"""Extensible priorities (RFC 9218), and the scheduler that decides whose data goes next.

A stream has an urgency, 0 (first) to 7 (last), and is incremental or not. Lower numbers go first.
Within one urgency, non-incremental streams are sent one after the other in the order in which they
were opened, because half a script is of no use; incremental ones take turns, frame by frame. Where
both kinds wait, they alternate (RFC 9218 §10 leaves that to the server).

Two departures, both so that no stream can starve another (RFC 9218 §10 wants that avoided, and
RFC 9113 §10.5 warns of it):

- a stream for which the client has said nothing takes turns like an incremental one. A gRPC client
  sends no priorities and expects its streams to advance together;
- while less urgent streams wait, one frame in 16 is theirs.

Only streams that can send are here: a stream without data or without window is not in anybody's
way. RFC 9113 §5.3.2 has the older scheme of weights and dependencies deprecated; we ignore it.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

DEFAULT_URGENCY: Final = 3
FIELD_BYTES: Final = 256
"""Longest Priority value that is looked at; the two defined members take eight."""

TURN_OF_THE_LESS_URGENT: Final = 16


@dataclass(frozen=True, slots=True)
class Priority:
    """RFC 9218 §4. ``incremental`` is True for a stream of which the client has said nothing."""

    urgency: int = DEFAULT_URGENCY
    incremental: bool = False


UNSAID: Final = Priority(DEFAULT_URGENCY, incremental=True)
"""Of a stream whose client sends no priorities."""

# Structured Fields for HTTP (RFC 9651 §3.2): just enough of the grammar to find our two members
# among others. Whatever may follow a repeat differs from it in its first byte, so matching takes
# linear time; possessive repeats would say so too, but Python 3.11.2 gets nested ones wrong.
_ITEM = (
    rb"(?:-?[0-9]{1,15}(?:\.[0-9]{1,3})?"
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*"'
    rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"
    rb"|:[A-Za-z0-9+/=]*:"
    rb"|\?[01])"
)
_KEY = rb"[a-z*][a-z0-9_\-.*]*"
_PARAMETERS = rb"(?:;[ ]*" + _KEY + rb"(?:=" + _ITEM + rb")?)*"
_MEMBERS = _ITEM + _PARAMETERS + rb"(?:[ ]+" + _ITEM + _PARAMETERS + rb")*"
_LIST = rb"\([ ]*(?:" + _MEMBERS + rb"[ ]*)?\)"
_MEMBER = re.compile(
    rb"(" + _KEY + rb")(?:=(" + _ITEM + rb"|" + _LIST + rb"))?" + _PARAMETERS + rb"[ \t]*(,|\Z)"
)
_OWS = re.compile(rb"[ \t]*")


def parse_priority(value: bytes) -> Priority:
    """A Priority field value (RFC 9218 §4).

    What is unknown or out of range is ignored, and so is a value that is no dictionary at all: a
    priority is a hint, and a bad hint is the same as none.
    """
    urgency = DEFAULT_URGENCY
    incremental = False
    value = value.strip(b" \t")
    position = 0
    while position < len(value) <= FIELD_BYTES:
        match = _MEMBER.match(value, position)
        if match is None or (match[3] and match.end() == len(value)):
            return Priority()
        key, item = match[1], match[2]
        if key == b"u":
            # The last one counts (RFC 9651 §4.2.2), also when it is not an integer of 0 to 7.
            valid = item is not None and len(item) == 1 and b"0" <= item <= b"7"
            urgency = int(item) if valid else DEFAULT_URGENCY
        elif key == b"i":
            incremental = item is None or item == b"?1"
        padding = _OWS.match(value, match.end())
        position = padding.end() if padding else match.end()
    return Priority(urgency, incremental)


class Schedulable(Protocol):
    """What the scheduler needs to know of a stream."""

    id: int
    priority: Priority


StreamT = TypeVar("StreamT", bound=Schedulable)


class _Level(Generic[StreamT]):
    """The streams of one urgency that can send."""

    __slots__ = ("in_order", "in_turns", "order_is_next", "streams")

    def __init__(self) -> None:
        self.streams: dict[int, StreamT] = {}
        self.in_order: list[int] = []
        self.in_turns: deque[int] = deque()
        self.order_is_next = True

    def add(self, stream: StreamT) -> None:
        self.streams[stream.id] = stream
        if stream.priority.incremental:
            self.in_turns.append(stream.id)
        else:
            heappush(self.in_order, stream.id)

    def take(self) -> StreamT:
        if self.in_order and (self.order_is_next or not self.in_turns):
            stream_id = heappop(self.in_order)
        else:
            stream_id = self.in_turns.popleft()
        self.order_is_next = not self.order_is_next
        return self.streams.pop(stream_id)

    def remove(self, stream_id: int) -> bool:
        if self.streams.pop(stream_id, None) is None:
            return False
        if stream_id in self.in_turns:
            self.in_turns.remove(stream_id)
        else:
            self.in_order.remove(stream_id)
            heapify(self.in_order)
        return True


class Scheduler(Generic[StreamT]):
    """Streams that can send, and which of them does so next.

    A stream is added when it has data and window, taken when it is its turn, and added again when
    it has more to send after that.
    """

    __slots__ = ("_last_given", "_levels", "_streak", "_waiting")

    def __init__(self) -> None:
        self._levels: dict[int, _Level[StreamT]] = {}
        self._waiting = 0
        self._streak = 0
        self._last_given = -1

    def __bool__(self) -> bool:
        return self._waiting > 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, stream: StreamT) -> None:
        """The stream, which is not waiting yet, can send."""
        level = self._levels.get(stream.priority.urgency)
        if level is None:
            level = self._levels[stream.priority.urgency] = _Level()
        level.add(stream)
        self._waiting += 1

    def take(self) -> StreamT:
        """The stream that may send one frame now; it no longer waits."""
        levels = self._levels
        if len(levels) == 1:
            (urgency,) = levels
        else:
            urgency = self._choose()
        level = levels[urgency]
        stream = level.take()
        self._waiting -= 1
        if not level.streams:
            del levels[urgency]
        return stream

    def remove(self, stream: StreamT) -> bool:
        """The stream has nothing to send any more, or cannot. False when it was not waiting."""
        urgency = stream.priority.urgency
        level = self._levels.get(urgency)
        if level is None or not level.remove(stream.id):
            return False
        self._waiting -= 1
        if not level.streams:
            del self._levels[urgency]
        return True

    def _choose(self) -> int:
        """The most urgent level, but every sixteenth time one of the others, in rotation."""
        most_urgent, *others = sorted(self._levels)
        self._streak += 1
        if self._streak < TURN_OF_THE_LESS_URGENT:
            return most_urgent
        self._streak = 0
        given = next((urgency for urgency in others if urgency > self._last_given), others[0])
        self._last_given = given
        return given
