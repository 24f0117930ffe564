"""One TLS session over memory: ciphertext in, plaintext out, and back; no I/O.

OpenSSL sits between two ``ssl.MemoryBIO``. The connection feeds what the socket gave
(:meth:`TlsSession.receive`), takes plaintext, writes plaintext, and flushes what
:meth:`TlsSession.ciphertext_to_send` has for it — once per turn, so that handshake messages,
tickets, alerts and responses leave together.

Two facts shape this module, both measured (Python 3.11, OpenSSL 3.0, AES-256-GCM, one core):

*An empty read costs more than a full one.* ``SSLObject.read`` with nothing to give raises; that
is 2.1 µs beside 1.4 µs for reading a small request. So the record layer's framing (type, version,
length: five bytes in the clear, RFC 8446 §5.1) is followed here, OpenSSL is asked only when it
has a whole record, and on the normal path nothing is raised. It costs no more than asking
``pending`` on the BIO and on the session, which it replaces. A request and its response of one
record each take 2.7 µs in all, of which the four calls into OpenSSL are 2.0.

*A memory BIO never shrinks.* Fed 256 KiB at once it keeps 340 KiB until the connection ends. So
bulk goes through in pieces of one full record, in both directions: an idle session costs 18 KiB
after small requests, nearly all of it OpenSSL's own structures, and at most 21 KiB more for each
direction that has carried bulk. Pieces that end with a record also decrypt faster: 398 µs per MiB,
where unaligned pieces of 16 KiB take 487, of 64 KiB 407, and the whole read at once 391. For
encryption the size hardly matters: 384 µs per MiB in pieces of 16 KiB, 347 in pieces of 64, and
the same to within noise with the socket included. Reading into a shared buffer instead of new
``bytes`` saved nothing (421 µs).

*A handshake runs through cold caches*, and each Python frame in it costs some 2 µs. So the session
is made of what ``ssl.SSLObject`` itself is made of; that class would be one more frame for each
call, 11 of 440 µs in all.
"""

from __future__ import annotations

import ssl
from typing import Final, Literal, Protocol, cast

from proxy.errors import TlsError
from proxy.limits import KIB, TLS_RECORD_BYTES

_HEADER: Final = 5
_CIPHERTEXT_BYTES: Final = TLS_RECORD_BYTES + 2048
"""Largest record that may arrive: RFC 5246 §6.2.3; TLS 1.3 allows less (RFC 8446 §5.2)."""
_PIECE_BYTES: Final = _HEADER + TLS_RECORD_BYTES + 256
_UNEXPECTED_EOF: Final = "UNEXPECTED_EOF_WHILE_READING"

_UNASKED_BYTES: Final = 16 * KIB
"""Some 600 key updates. A long connection needs one in 2^24 records (RFC 8446 §5.5)."""


class _SslCore(Protocol):
    """What is inside of an ``ssl.SSLObject``, with the same meaning (CPython's ``_ssl``)."""

    session_reused: bool

    def do_handshake(self) -> None: ...
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes | bytearray | memoryview, /) -> int: ...
    def shutdown(self) -> None: ...
    def selected_alpn_protocol(self) -> str | None: ...
    def version(self) -> str | None: ...
    def cipher(self) -> tuple[str, str, int] | None: ...
    def getpeercert(self, binary: Literal[True], /) -> bytes | None: ...


class _CoreMaker(Protocol):
    def _wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool, /
    ) -> _SslCore: ...


class TlsSession:
    """The server's end of one TLS session."""

    __slots__ = (
        "established",
        "peer_closed",
        "_tls",
        "_incoming",
        "_outgoing",
        "_outgoing_read",
        "_read",
        "_write",
        "_sealed",
        "_missing",
        "_head",
        "_between_records",
        "_unasked",
        "_over",
        "_closed",
    )

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        maker = cast(_CoreMaker, context)
        self._tls = maker._wrap_bio(self._incoming, self._outgoing, True)
        self._read = self._tls.read
        self._write = self._tls.write
        self._outgoing_read = self._outgoing.read
        self._sealed: list[bytes] = []  # ciphertext that was taken out of the BIO

        self._missing = 0  # bytes that the record in the BIO still lacks
        self._head = b""  # a record header that is cut, not in the BIO yet
        self._between_records = False  # established, nothing is cut, and not over

        self._unasked = 0
        self._over = False  # nothing more is read
        self._closed = False
        self.established = False
        """The handshake is complete: :meth:`write` may be called."""
        self.peer_closed = False
        """The peer has sent close_notify: it ends here on purpose, nothing was cut off."""

    def __repr__(self) -> str:
        if self._over and self.peer_closed:
            state = "closed by the peer"
        elif self._over:
            state = "over" if self._closed else "failed"
        elif not self.established:
            state = "in handshake"
        else:
            state = f"{self.version} {self.cipher} {self.alpn or 'no ALPN'}"
        return f"<TlsSession {state}{', closed' if self._closed else ''}>"

    # What was agreed; to be asked when established.

    @property
    def alpn(self) -> str | None:
        """The protocol both sides agreed on, or None without negotiation."""
        return self._tls.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        """``TLSv1.3`` or ``TLSv1.2``."""
        return self._tls.version()

    @property
    def cipher(self) -> str | None:
        cipher = self._tls.cipher()
        return cipher[0] if cipher else None

    @property
    def resumed(self) -> bool:
        """Whether an earlier session was resumed instead of a full handshake."""
        return self._tls.session_reused

    @property
    def peer_certificate(self) -> bytes | None:
        """The client's certificate (DER), verified, where its site asks for one."""
        return self._tls.getpeercert(True)

    # The hot path.

    def receive(self, ciphertext: bytes | bytearray | memoryview) -> bytes:
        """Take bytes from the peer; the plaintext they complete, possibly none.

        Raises :class:`TlsError` when the session is over in error. Whatever comes after the
        peer's close_notify is ignored (RFC 8446 §6.1).
        """
        size = len(ciphertext)
        if (
            self._between_records
            and size > _HEADER
            and size == _HEADER + (ciphertext[3] << 8 | ciphertext[4])
        ):
            # One record and nothing else: a request from almost any client.
            try:
                self._incoming.write(ciphertext)
                plaintext = self._read(size)
            except ssl.SSLError as error:
                self._interrupted(error)
                self._charge(_HEADER)
                return b""
            if not plaintext:
                self._end(peer_closed=True)
            return plaintext
        return self._receive_records(memoryview(ciphertext))

    def write(self, plaintext: bytes | bytearray | memoryview) -> None:
        """Encrypt; the result is in :meth:`ciphertext_to_send`."""
        size = len(plaintext)
        try:
            if size <= TLS_RECORD_BYTES:
                if size:
                    self._write(plaintext)
                if self._outgoing.pending > TLS_RECORD_BYTES:
                    self._sealed.append(self._outgoing.read())
                return
            view = memoryview(plaintext)
            for start in range(0, size, TLS_RECORD_BYTES):
                self._write(view[start : start + TLS_RECORD_BYTES])
                self._sealed.append(self._outgoing.read())
        except ssl.SSLError as error:
            raise self._failure(error) from error

    def seal(self, plaintext: bytes | memoryview) -> bytes:
        """Encrypt and hand out at once: :meth:`write` and :meth:`ciphertext_to_send` in one."""
        if len(plaintext) <= TLS_RECORD_BYTES and plaintext and not self._sealed:
            try:
                self._write(plaintext)
            except ssl.SSLError as error:
                raise self._failure(error) from error
            return self._outgoing_read()
        self.write(plaintext)
        return self.ciphertext_to_send()

    def seal_records(self, plaintext: bytes | memoryview) -> list[bytes]:
        """The same for more than one record: joining them would be one more copy of bulk."""
        self.write(plaintext)
        sealed, self._sealed = self._sealed, []
        return sealed

    def ciphertext_to_send(self) -> bytes:
        """What the peer should get now, handed out once; empty when there is nothing."""
        if self._sealed:
            self._sealed.append(self._outgoing.read())
            ciphertext = b"".join(self._sealed)
            self._sealed.clear()
            return ciphertext
        return self._outgoing.read()

    def close(self, *, reads_on: bool = True) -> None:
        """Say close_notify. The other direction stays open until the peer closes it too.

        Without ``reads_on`` nothing more is read, whatever comes. That is the cheaper end: OpenSSL
        looks for the peer's close_notify too, and making the exception that it is not here yet
        takes as long as all of the rest. Where no more can come, it is not missed.

        Raises :class:`TlsError` when what has come in of the next record is already wrong.
        """
        if self._closed or not self.established or (self._over and not self.peer_closed):
            return
        self._closed = True
        if not reads_on:
            self._over = True
            self._between_records = False
            self._incoming.write_eof()
        try:
            self._tls.shutdown()
        except (ssl.SSLWantReadError, ssl.SSLEOFError):
            return  # said; the peer's own is not here yet, and nobody has to wait for it
        except ssl.SSLError as error:
            # By the context's options OpenSSL may mind the end; Python 3.11.2 has no class for it.
            if getattr(error, "reason", None) != _UNEXPECTED_EOF:
                raise self._failure(error) from error

    # Everything that is not one whole record.

    def _receive_records(self, data: memoryview) -> bytes:
        """Cut ``data`` at the ends of its records, and give OpenSSL whole ones."""
        if self._over:
            return b""
        if not self.established and len(data) <= _PIECE_BYTES and not (self._missing or self._head):
            flight = bytes(data)
            if _is_of_whole_records(flight):
                self._incoming.write(flight)
                plaintext: list[bytes] = []
                self._advance(plaintext)
                self._between_records = self._is_between_records()
                return b"".join(plaintext)
        if self._head:
            data = memoryview(self._head + data)
            self._head = b""
        size = len(data)
        plaintext = []

        end = 0
        if self._missing:
            end = min(self._missing, size)
            self._incoming.write(data[:end])
            self._missing -= end
            if self._missing:
                return b""
            self._advance(plaintext)

        start = end
        while end + _HEADER <= size:
            length = data[end + 3] << 8 | data[end + 4]
            after = end + _HEADER + length
            if length > _CIPHERTEXT_BYTES:
                after = size  # no record at all: OpenSSL finds the words for it
            if after - start > _PIECE_BYTES and end > start:
                self._incoming.write(data[start:end])
                self._advance(plaintext)
                start = end
            if after > size:
                self._missing = after - size
                break
            end = after
        if end > start:
            self._incoming.write(data[start:end])
            self._advance(plaintext)

        if self._missing:
            self._incoming.write(data[end:])
        else:
            self._head = bytes(data[end:])
        self._between_records = self._is_between_records()
        return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)

    def _is_between_records(self) -> bool:
        return self.established and not (self._over or self._missing or self._head)

    def _advance(self, plaintext: list[bytes]) -> None:
        """Let OpenSSL work on the whole records it has."""
        unsent = 0
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
                if not self._incoming.pending:
                    return
            unsent = self._outgoing.pending
            # Each read takes one record and all of it, so the BIO alone says whether there is more.
            while self._incoming.pending and not self._over:
                piece = self._read(TLS_RECORD_BYTES)
                if piece:
                    plaintext.append(piece)
                else:
                    self._end(peer_closed=True)
        except ssl.SSLError as error:
            self._interrupted(error)
        if self.established:
            self._charge(self._outgoing.pending - unsent)

    def _charge(self, size: int) -> None:
        """Count what the peer makes us say, or look at, without sending data.

        It may ask for new keys, or (TLS 1.2) for the renegotiation that it is refused, as often
        as it likes and without reading the answers, which would fill our memory.
        """
        self._unasked += size
        if self._unasked > _UNASKED_BYTES:
            self._end(peer_closed=False)
            raise TlsError(
                "TLS session: too many key updates or renegotiations", self.ciphertext_to_send()
            )

    def _interrupted(self, error: ssl.SSLError) -> None:
        """No plaintext came of it: a message of TLS itself, close_notify after ours, or failure."""
        if isinstance(error, ssl.SSLWantReadError):
            return
        if not isinstance(error, ssl.SSLZeroReturnError):
            raise self._failure(error) from error
        self._end(peer_closed=True)

    def _end(self, *, peer_closed: bool) -> None:
        self._over = True
        self._between_records = False
        self.peer_closed = peer_closed

    def _failure(self, error: ssl.SSLError) -> TlsError:
        self._end(peer_closed=self.peer_closed)
        # None when OpenSSL had no part in it, and for newer alerts, which Python has no symbol for.
        symbol: str | None = getattr(error, "reason", None)
        reason = symbol.replace("_", " ").lower() if symbol else str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"{reason}: {error.verify_message}"
        during = "session" if self.established else "handshake"
        return TlsError(f"TLS {during}: {reason}", self.ciphertext_to_send())


def _is_of_whole_records(data: bytes) -> bool:
    """Whether ``data`` ends with a record, as a flight of a handshake does nearly always."""
    size = len(data)
    end = 0
    while end + _HEADER <= size:
        end += _HEADER + (data[end + 3] << 8 | data[end + 4])
    return end == size
