"""The notification channel between the parent and each child.

One socketpair per child, one notice per line of JSON. A notice is a hint and never the truth
("something about certificate X changed": go and look in the store), so a notice may be lost and
nothing goes wrong for long. That allows the two rules that keep one process from hanging
another:

- sending never waits: what the socket does not take is kept, up to ``MAX_PENDING_BYTES``, and
  beyond that the notice is dropped (``dropped`` counts them);
- receiving never waits: it returns what is complete.

The end of the stream means that the other process is gone. For a child that is the order to end,
so every process must hold only its own end: a copy in a sibling would keep the stream open.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from proxy.errors import VestibuleError

MAX_NOTICE_BYTES = 4096
MAX_PENDING_BYTES = 64 * 1024

_READ_BYTES = 64 * 1024

Kind = Literal["ready", "installed", "wanted", "refused", "withdrawn"]
"""
``ready``
    a child serves (to the parent; not passed on).
``installed``
    the store holds a new certificate under the id ``name``; this and the rest are passed on to all
    other children.
``wanted``
    a client of a worker asks for ``name``, for which there is no certificate.
``refused``
    the manager gets no certificate for ``name`` now.
``withdrawn``
    ``name`` is no longer to be served.
"""

_KINDS = frozenset(get_args(Kind))


class ChannelError(VestibuleError):
    """The other process sent what is no notice."""


@dataclass(frozen=True, slots=True)
class Notice:
    kind: Kind
    name: str = ""

    def encode(self) -> bytes:
        line = json.dumps({"kind": self.kind, "name": self.name}).encode() + b"\n"
        if len(line) > MAX_NOTICE_BYTES:
            raise ValueError(f"a notice of {len(line)} bytes; allowed are {MAX_NOTICE_BYTES}")
        return line


def decode(line: bytes) -> Notice:
    try:
        fields = json.loads(line)
        kind, name = fields["kind"], fields["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise ChannelError(f"not a notice: {line[:80]!r}") from error
    if not isinstance(kind, str) or kind not in _KINDS or not isinstance(name, str):
        raise ChannelError(f"not a notice: {line[:80]!r}")
    return Notice(cast(Kind, kind), name)


class ChannelEnd:
    """One end of a channel; the other is in another process."""

    __slots__ = ("_loop", "_received", "_sock", "_unsent", "closed_by_peer", "dropped")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = b""
        self._unsent = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed_by_peer = False
        self.dropped = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether to watch for room to write, and then call :meth:`flush`."""
        return bool(self._unsent) and not self.closed_by_peer

    def send(self, notice: Notice) -> None:
        """Send, or keep for later, or drop; never wait, never fail."""
        line = notice.encode()
        if self.closed_by_peer or len(self._unsent) + len(line) > MAX_PENDING_BYTES:
            self.dropped += 1
            return
        self._unsent += line
        self.flush()

    def flush(self) -> None:
        """Write what the socket takes now."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            # What the peer said before it went is still to be read, so this is not its end yet.
            self._unsent = b""
        if self._loop is not None:
            self._watch_writing(self._loop)

    def receive(self) -> list[Notice]:
        """The notices that have arrived; after the last, ``closed_by_peer`` is true."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed_by_peer = True
            return []
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > MAX_NOTICE_BYTES:
            raise ChannelError(f"a notice of over {MAX_NOTICE_BYTES} bytes")
        return [decode(line) for line in lines]

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_notice: Callable[[Notice], None],
        on_closed: Callable[[], None],
    ) -> None:
        """In a child: have ``loop`` deliver notices, and the parent's end."""
        self._loop = loop

        def readable() -> None:
            notices = self.receive()
            for notice in notices:
                on_notice(notice)
            if self.closed_by_peer:
                self.detach()
                on_closed()

        loop.add_reader(self._sock, readable)
        self._watch_writing(loop)

    def detach(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._loop = None

    def close(self) -> None:
        self.detach()
        self._sock.close()

    def _watch_writing(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.has_unsent:
            loop.add_writer(self._sock, self.flush)
        else:
            loop.remove_writer(self._sock)


def make_channel() -> tuple[ChannelEnd, ChannelEnd]:
    """Two connected ends."""
    ours, theirs = socket.socketpair()
    return ChannelEnd(ours), ChannelEnd(theirs)
