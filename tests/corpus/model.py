"""What a case is, and what its verdict promises.

Requests are sent over TLS to a proxy whose one site is :data:`HOST`, from a peer that is not a
trusted proxy, against a backend that records all it receives and answers each request at once.
The limits are the defaults. ``raw`` is all that the client sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

HOST: Final = b"front.test"

SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: front.test\r\n\r\n"
"""A request inside another: a backend that sees ``/smuggled`` as a request has been smuggled to."""

LIE: Final = b"6.6.6.6"
"""The address that forged forwarded headers carry."""

Stage: TypeAlias = Literal["head", "body", "exchange"]
"""Where the verdict falls: on the head alone, on the body's framing behind a sound head, or by
what stands around both (method policy, routing, several requests)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One complete request as the backend must receive it."""

    method: bytes = b"GET"
    target: bytes = b"/"
    body: bytes = b""
    present: tuple[tuple[bytes, bytes], ...] = ()
    """Fields that must be there: lower-case name, exact value; several of a name in order."""
    named: tuple[bytes, ...] = ()
    """Lower-case names that must be there exactly once, with a value of the proxy's choosing."""
    absent: tuple[bytes, ...] = ()
    """Lower-case names that must not be there."""
    never: tuple[bytes, ...] = ()
    """Bytes that must occur nowhere in the head."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The client gets one of these statuses and the connection closes; no complete request
    reaches the backend."""

    statuses: frozenset[int]


@dataclass(frozen=True, slots=True)
class Closed:
    """The message never ends. When the client has closed its side, the connection closes, with or
    without an error response; no complete request reaches the backend."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The backend sees exactly these requests, in this order, and each is answered.

    ``least``: so many of them must be seen; for the others the proxy may also close the
    connection. ``then``: what becomes of the bytes behind the last one.
    """

    seen: tuple[Seen, ...]
    then: Refused | Closed | None = None
    least: int | None = None


@dataclass(frozen=True, slots=True)
class RequestCase:
    """Some bytes from a client, and what must become of them."""

    name: str
    raw: bytes
    verdict: Forwarded | Refused | Closed
    note: str = ""
    stage: Stage = "head"

    @property
    def is_large(self) -> bool:
        """Too long to be sent byte by byte in every test run."""
        return len(self.raw) > 4096


@dataclass(frozen=True, slots=True)
class Passed:
    """The client gets this final status and body, complete.

    ``reusable``: whether the upstream connection is clean afterwards; if not, it must never carry
    another request (as far as the backend left it open at all).
    """

    status: int
    body: bytes = b""
    reusable: bool = True
    present: tuple[tuple[bytes, bytes], ...] = ()
    """Fields that the client must see: lower-case name, exact value."""
    absent: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class BadGateway:
    """The client gets a 502 that holds nothing of what the upstream sent."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """The client can tell that the response is not whole: a 502, or the end of the connection
    before the response's own end."""


@dataclass(frozen=True, slots=True)
class ResponseCase:
    """Some bytes from an upstream, and what must become of them.

    ``method``: of the request that they answer. ``closes``: the upstream closes behind them;
    otherwise it leaves the connection open.
    """

    name: str
    raw: bytes
    verdict: Passed | BadGateway | Truncated
    note: str = ""
    method: bytes = b"GET"
    closes: bool = False

    @property
    def is_large(self) -> bool:
        """Too long to be sent byte by byte in every test run."""
        return len(self.raw) > 4096


def refused(*statuses: int) -> Refused:
    """Refused with one of ``statuses``, 400 when none is given."""
    return Refused(frozenset(statuses or (400,)))


def request(*lines: bytes, line: bytes = b"GET / HTTP/1.1", body: bytes = b"") -> bytes:
    """A request to :data:`HOST` with more field lines."""
    return b"\r\n".join((line, b"Host: " + HOST, *lines, b"", body))


def response(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    """A response with these field lines."""
    return b"\r\n".join((line, *lines, b"", body))


def show(data: bytes) -> str:
    """Bytes as a part of a case's name."""
    text = repr(data)[2:-1].replace(" ", "\\s")
    return text if len(text) <= 56 else f"{text[:48]}..{len(data)}"
