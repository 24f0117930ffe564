"""One accepted socket: first bytes, ClientHello, TLS session, then HTTP.

A connection goes through stages, each a method that takes the bytes that have arrived::

    _receive_proxy    a PROXY protocol header, where the listener expects one
    _receive_hello    until the ClientHello is complete: no TLS object exists yet
    _hold             while the certificate is being fetched (ACME challenges)
    _receive_tls      handshake, then plaintext to the HTTP layer that ALPN chose
    _receive_plain    port 80: plaintext from the start
    _receive_linger   everything has been said; what still comes is dropped

All connections of a worker read into one shared buffer, so an idle one holds none.

Closing is in order (RFC 9112 §9.6): what was written goes out, then close_notify and FIN, then
reading goes on for a moment, because a socket closed with unread bytes sends RST, and that can
take the last response away from the client. A deadline ends it in any case.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from proxy.client import ClientInfo, bare_address
from proxy.clock import NEVER
from proxy.downstream.admission import Admission
from proxy.downstream.http1 import Channel, Http1Connection
from proxy.downstream.http2 import Http2Connection
from proxy.downstream.registry import Registry
from proxy.errors import CertificateFileError, ClientHelloError, ProtocolError, TlsError
from proxy.exchange import Application, Services
from proxy.forwarded import TrustedProxies
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.head import HeadReader
from proxy.limits import (
    BUFFER_BYTES,
    DRAIN_BYTES,
    DRAIN_SECONDS,
    SECONDS,
    STOP_SECONDS,
    TLS_RECORD_BYTES,
)
from proxy.proxy_protocol import parse as parse_proxy_header
from proxy.routing import SiteRoutes
from proxy.tls.alerts import Alert, alert_record
from proxy.tls.client_hello import ACME_TLS_1, ClientHello, ClientHelloReader, PlainHttp
from proxy.tls.session import TlsSession
from proxy.upstream.pool import Pool

logger = logging.getLogger(__name__)
"""Below ``info`` on purpose: broken handshakes are the noise of the internet."""

PLAIN_HTTP_PAGE: Final = (
    b'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>400 Bad Request'
    b"</title></head>\n<body><h1>400 Bad Request</h1><p>This port speaks HTTPS, and the request "
    b"came as plain HTTP. Use <b>https://</b> in the address.</p></body></html>\n"
)
_PLAIN_HTTP_RESPONSE: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(PLAIN_HTTP_PAGE), PLAIN_HTTP_PAGE)
)


_NO_LINGER: Final = struct.pack("ii", 1, 0)

PROXY_HEADER_SECONDS: Final = 5 * SECONDS
NO_PROXIES: Final = TrustedProxies()


class HttpLayer(Protocol):
    """What stands above the channel: HTTP/1.1 or HTTP/2."""

    def receive(self, data: bytes) -> None: ...
    def receive_eof(self) -> None: ...
    def connection_lost(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def sweep(self, now: float) -> None: ...
    def stop(self) -> None: ...
    def retire(self) -> None: ...
    def flush(self) -> None: ...
    @property
    def is_idle(self) -> bool: ...


class TlsChoice(Protocol):
    """What the ClientHello leads to."""

    site: SiteRoutes[Pool] | None

    def new_session(self) -> TlsSession: ...


class TlsFront(Protocol):
    """How the certificate is chosen; made by the composition root."""

    def choose(self, hello: ClientHello) -> TlsChoice | Awaitable[TlsChoice]:
        """The choice, at once or (a challenge, to be fetched) later. Raises ClientHelloError."""
        ...


class Front:
    """What all connections of one listening socket share."""

    __slots__ = (
        "admission",
        "application",
        "connections",
        "encoder",
        "port",
        "proxy_protocol",
        "read_buffer",
        "reader",
        "scheme",
        "services",
        "tls",
        "trusted",
    )

    def __init__(
        self,
        *,
        services: Services,
        reader: HeadReader,
        application: Application,
        admission: Admission,
        connections: Registry[ClientConnection],
        encoder: FieldEncoder,
        read_buffer: memoryview,
        port: int,
        tls: TlsFront | None,
        trusted: TrustedProxies = NO_PROXIES,
        proxy_protocol: bool = False,
    ) -> None:
        self.services = services
        self.reader = reader
        self.application = application
        self.admission = admission
        self.connections = connections
        self.encoder = encoder
        self.read_buffer = read_buffer
        self.port = port
        self.tls = tls
        self.trusted = trusted
        self.proxy_protocol = proxy_protocol
        self.scheme = "https" if tls is not None else "http"

    def http_layer(self, channel: Channel, alpn: str | None) -> HttpLayer:
        """The HTTP version that was agreed on."""
        if alpn == "h2":
            return Http2Connection(channel, self.services, self.encoder, self.application)
        return Http1Connection(channel, self.services, self.reader, self.application)


class ClientConnection:
    """See the module. To the event loop an ``asyncio.BufferedProtocol``, by its methods.

    Not by derivation: a class that is compiled has no interpreted base, and uvloop does not ask.
    """

    __slots__ = (
        "_closing",
        "_deadline",
        "_ended",
        "_front",
        "_hello",
        "_held",
        "_http",
        "_key",
        "_lingered",
        "_old_at",
        "_receive",
        "_session",
        "_site",
        "_task",
        "_transport",
        "_unsent",
        "_write_paused",
        "info",
    )

    def __init__(self, front: Front) -> None:
        self._front = front
        self._transport: asyncio.Transport = _NO_TRANSPORT
        self._key: str | None = None
        self._hello: ClientHelloReader | None = None
        self._held = b""
        self._session: TlsSession | None = None
        self._site: SiteRoutes[Pool] | None = None
        self._http: HttpLayer | None = None
        self._task: asyncio.Task[None] | None = None
        self._lingered = 0
        self._unsent = 0
        self._closing = False
        self._ended = False  # a FIN has been sent, or will be behind what waits
        self._write_paused = False
        self._deadline = NEVER
        age = front.services.limits.connection_age
        self._old_at = front.services.clock.now + age if age else NEVER
        self.info = _NOBODY
        self._receive: Callable[[memoryview], None] = self._receive_plain

    def __repr__(self) -> str:
        stage = self._receive.__name__.removeprefix("_receive_")
        return f"<ClientConnection {self.info.address}:{self.info.port} {stage}>"

    # -- the event loop calls these ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        front = self._front
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if not peer:
            self._transport.abort()  # gone between accept and here
            return
        address = bare_address(peer[0])
        trusted = front.trusted.trusts(address)
        self._key = front.admission.enter(address, for_many=trusted)
        if self._key is None:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)
        front.connections.add(self)
        if not front.proxy_protocol:
            self._begin(address, peer[1], "", front.port)
        elif trusted:
            self._receive = self._receive_proxy
            self._deadline = front.services.clock.now + PROXY_HEADER_SECONDS
            self.info = ClientInfo(address, peer[1], front.scheme, "", front.port)
        else:
            # Who may not speak for others has nothing to say on this port.
            logger.debug("%s: not a trusted proxy, on a port for these only", address)
            self._transport.abort()

    def _begin(self, address: str, port: int, local_address: str, local_port: int) -> None:
        """The client is known: on to TLS, or to HTTP."""
        front = self._front
        trusted = front.trusted if front.trusted.trusts(address) else None
        self.info = ClientInfo(
            address, port, front.scheme, local_address, local_port, trusted, self._transport
        )
        if front.tls is None:
            self._deadline = NEVER
            self._http = front.http_layer(self, None)
            self._receive = self._receive_plain
        else:
            self._hello = ClientHelloReader()
            self._receive = self._receive_hello
            self._deadline = front.services.clock.now + front.services.limits.handshake_timeout

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._front.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(self._front.read_buffer[:nbytes])

    def eof_received(self) -> bool:
        http = self._http
        if http is None or self._closing:
            self._transport.close()
            return False
        if http.is_idle and not self.unsent():
            # Nothing is lost, and nobody is there for a close_notify: a client that wants ours
            # sends its own before it ends TCP.
            self._closing = True
            http.connection_lost()  # now: what it keeps for another turn shall not begin
            self._transport.close()
            return False
        http.receive_eof()
        http.flush()
        return self._is_half_open()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._key is not None:
            self._front.admission.leave(self._key)
            self._key = None
        self._front.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        http, self._http = self._http, None
        if http is not None:
            http.connection_lost()
        self._session = None
        self._receive = _nobody_reads  # a bound method of its own would be a cycle

    def pause_writing(self) -> None:
        self._write_paused = True
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._http is not None:
            self._http.resume_writing()

    # -- the worker calls these ----------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Compare the deadlines with the time."""
        if now >= self._deadline:
            if self._closing and 0 < self.unsent() < self._unsent:
                self._set_closing_deadline()  # slow, but still reading the last response
            else:
                self._transport.abort()
        elif self._http is not None and not self._closing:
            if now >= self._old_at:
                self._old_at = NEVER
                self._http.retire()
            self._http.sweep(now)

    def stop(self) -> None:
        """Finish what is in flight, then close."""
        if self._http is None:
            self._transport.abort()
        elif not self._closing:
            self._http.stop()
        if self._closing and not self.unsent():
            # Idle: a client that does not notice the end shall not hold up the stop.
            self._deadline = min(self._deadline, self._front.services.clock.now + STOP_SECONDS)

    # -- the HTTP layer calls these (Channel) --------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        # Not after close either: its end has been written, and its TLS session may be gone.
        if self._closing or self._transport.is_closing():
            return
        session = self._session
        if session is not None:
            try:
                if len(data) > TLS_RECORD_BYTES:
                    self._transport.writelines(session.seal_records(data))
                else:
                    self._transport.write(session.seal(data))
            except TlsError as error:
                self._end_broken_tls(session, error)
        else:
            # What does not go out at once is kept, and the view will be written over.
            self._transport.write(bytes(data) if isinstance(data, memoryview) else data)

    def write_eof(self) -> None:
        if self._ended:
            return
        self._send_close_notify()
        self._ended = True
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._receive = self._receive_linger
        if self._transport.is_closing():
            return
        self.write_eof()
        self._set_closing_deadline()
        self._transport.resume_reading()

    def abort(self) -> None:
        self._closing = True
        if not self._transport.is_closing():
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                # RST and no FIN: for a client that does not read, the kernel would keep what it
                # has taken, megabytes at times, for minutes after us.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    # -- stages --------------------------------------------------------------------------------

    def _receive_proxy(self, data: memoryview) -> None:
        self._held += data
        try:
            header = parse_proxy_header(self._held)
        except ProtocolError as error:
            logger.info("%s: %s", self.info.address, error)
            self._transport.abort()
            return
        if header is None:
            return
        rest, self._held = self._held[header.length :], b""
        info = self.info
        source, destination = header.source, header.destination
        if source is None or destination is None:
            # LOCAL or UNKNOWN: the proxy speaks for itself (a health check).
            self._begin(info.address, info.port, "", info.local_port)
        else:
            key = self._front.admission.announce(source.host)
            if key is None:
                self._transport.abort()
                return
            self._key = key
            self._begin(source.host, source.port, destination.host, destination.port)
        if rest:
            self._receive(memoryview(rest))

    def _receive_hello(self, data: memoryview) -> None:
        assert self._hello is not None
        try:
            result = self._hello.receive(data)
            if result is None:
                return
            if isinstance(result, PlainHttp):
                self._transport.write(_PLAIN_HTTP_RESPONSE)
                self.close()
                return
            assert self._front.tls is not None
            choice = self._front.tls.choose(result)
        except ClientHelloError as error:
            self._refuse_hello(error)
            return
        first_bytes = self._hello.received
        self._hello = None
        # Not isinstance(choice, Awaitable): an abstract class takes its time to say no.
        if hasattr(choice, "new_session"):
            self._begin_tls(cast(TlsChoice, choice), first_bytes)
        else:
            self._receive = self._hold
            self.pause_reading()
            self._held = first_bytes
            self._deadline = NEVER  # what is waited for has a limit of its own
            self._task = asyncio.get_running_loop().create_task(self._fetch(choice))

    async def _fetch(self, choice: Awaitable[TlsChoice]) -> None:
        try:
            chosen = await choice
        except ClientHelloError as error:
            self._refuse_hello(error)
            return
        finally:
            self._task = None
        held, self._held = self._held, b""
        services = self._front.services
        self._deadline = services.clock.now + services.limits.handshake_timeout
        self.resume_reading()
        self._begin_tls(chosen, held)

    def _hold(self, data: memoryview) -> None:
        self._held += data

    def _refuse_hello(self, error: ClientHelloError) -> None:
        logger.debug("%s: %s", self.info.address, error)
        if not self._transport.is_closing():
            self._transport.write(alert_record(error.alert))
        self.close()

    def _begin_tls(self, choice: TlsChoice, first_bytes: bytes) -> None:
        try:
            self._session = choice.new_session()
        except CertificateFileError as error:
            logger.error("%s: %s", self.info.address, error)
            self._refuse_hello(ClientHelloError(str(error), Alert.INTERNAL_ERROR))
            return
        self._site = choice.site
        self._receive = self._receive_tls
        self._receive_tls(first_bytes)

    def _receive_tls(self, data: bytes | memoryview) -> None:
        session = self._session
        if session is None:
            return
        try:
            plaintext = session.receive(data)
        except TlsError as error:
            self._end_broken_tls(session, error)
            return
        http = self._http
        begins = http is None
        if http is None:
            if not session.established:
                self._transport.write(session.ciphertext_to_send())
                return
            alpn = session.alpn
            if alpn == ACME_TLS_1:
                # RFC 8737 §3: the handshake was all. It belongs to no site, and has asked for no
                # client certificate: no request may come this way.
                self._write_rest(session)
                self.close()
                return
            http = self._begin_http(alpn)
        if plaintext:
            http.receive(plaintext)
        if session.peer_closed and not self._closing:
            http.receive_eof()
        http.flush()
        if begins or not plaintext:
            # What TLS itself has to say, unless it has left with a response: the end of the
            # handshake and its ticket, the answer to a key update, an alert.
            self._write_rest(session)

    def _write_rest(self, session: TlsSession) -> None:
        rest = session.ciphertext_to_send()
        if rest and not self._ended and not self._transport.is_closing():
            self._transport.write(rest)

    def _begin_http(self, alpn: str | None) -> HttpLayer:
        self._deadline = NEVER
        self.info.site = self._site
        http = self._http = self._front.http_layer(self, alpn)
        if self._write_paused:
            http.pause_writing()
        return http

    def _end_broken_tls(self, session: TlsSession, error: TlsError) -> None:
        logger.debug("%s: %s", self.info.address, error)
        alert = error.to_send
        if alert and not self._ended and not self._transport.is_closing():
            self._transport.write(alert)
        if self._http is not None:
            self._http.connection_lost()
        self._session = None
        self.close()

    def _receive_plain(self, data: memoryview) -> None:
        http = self._http
        if http is not None:
            http.receive(bytes(data))
            http.flush()

    def _receive_linger(self, data: memoryview) -> None:
        self._lingered += len(data)
        if self._lingered > DRAIN_BYTES:
            # No abort: the reset could overtake the response. TCP holds the sender up from here.
            self.pause_reading()

    def _set_closing_deadline(self) -> None:
        services = self._front.services
        self._unsent = self.unsent()
        wait = services.limits.stall_timeout if self._unsent else DRAIN_SECONDS
        self._deadline = services.clock.now + wait

    def _is_half_open(self) -> bool:
        """After the client's end: whether we have more to say, as in a tunnel."""
        if self._closing:
            self._transport.close()
        return not self._transport.is_closing()

    def _send_close_notify(self) -> None:
        session = self._session
        if session is not None and not self._transport.is_closing():
            try:
                session.close(reads_on=not self._closing)
            except TlsError as error:
                logger.debug("%s: %s", self.info.address, error)
                self._session = None
                self._transport.write(error.to_send)
            else:
                self._transport.write(session.ciphertext_to_send())


def _nobody_reads(data: memoryview) -> None:
    """After the end."""


_NO_TRANSPORT: Final = asyncio.Transport()
_NOBODY: Final = ClientInfo("-", 0, "https")
