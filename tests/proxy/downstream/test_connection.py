"""One accepted socket through its stages, on a transport of ours."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import weakref
from collections.abc import Awaitable

import pytest

from proxy.clock import CoarseClock
from proxy.downstream.admission import Admission
from proxy.downstream.connection import ClientConnection, Front, TlsChoice
from proxy.downstream.http1 import Http1Connection
from proxy.downstream.registry import Registry
from proxy.errors import ClientHelloError
from proxy.exchange import Exchange, Services
from proxy.forwarded import TrustedProxies
from proxy.http.engine import make_engine
from proxy.http.h2.field_encoder import FieldEncoder
from proxy.http.head import HeadReader
from proxy.limits import DRAIN_BYTES, READ_BYTES, Limits
from proxy.routing import SiteRoutes
from proxy.tls.client_hello import ClientHello
from proxy.tls.contexts import TlsOptions, load_pair_into, make_context
from proxy.tls.session import TlsSession
from proxy.upstream.pool import Pool
from tests.proxy.bench import HOWS, FakeTransport, How, pieces
from tests.proxy.tls.certificates import Authority

GET = b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n"


def say_hello(exchange: Exchange) -> None:
    exchange.respond(200, [], b"hello")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server_context(authority: Authority) -> ssl.SSLContext:
    context = make_context(TlsOptions(alpn=("http/1.1",)))
    load_pair_into(context, authority.issue("a.example.com"))
    return context


class Choice:
    site: SiteRoutes[Pool] | None = None

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def new_session(self) -> TlsSession:
        return TlsSession(self.context)


class Chooser:
    """Answers at once, later, or not at all."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.names: list[str | None] = []
        self.later: asyncio.Future[TlsChoice] | None = None

    def choose(self, hello: ClientHello) -> TlsChoice | Awaitable[TlsChoice]:
        self.names.append(hello.server_name)
        if hello.server_name == "unknown.example.com":
            raise ClientHelloError("no such site", 112)
        return self.later if self.later is not None else Choice(self.context)


class Peer:
    """A client's socket and what hangs on it."""

    def __init__(
        self,
        chooser: Chooser | None = None,
        *,
        limits: Limits | None = None,
        admission: Admission | None = None,
        trusted: TrustedProxies | None = None,
        address: str = "1.2.3.4",
    ) -> None:
        limits = limits or Limits()
        self.clock = CoarseClock(1000.0)
        self.registry: Registry[ClientConnection] = Registry()
        self.admission = admission or Admission(100, 10)
        self.front = Front(
            services=Services(limits=limits, clock=self.clock, time=lambda: 0.0, access_log=None),
            reader=HeadReader(make_engine("httptools", limits.header_bytes), limits),
            application=say_hello,
            admission=self.admission,
            connections=self.registry,
            encoder=FieldEncoder(),
            read_buffer=memoryview(bytearray(READ_BYTES)),
            port=443,
            tls=chooser,
            trusted=trusted or TrustedProxies(),
            proxy_protocol=trusted is not None,
        )
        extra: dict[str, object] = {"peername": (address, 5678), "sockname": ("10.0.0.1", 443)}
        self.transport = FakeTransport(extra)
        self.connection = ClientConnection(self.front)
        self.connection.connection_made(self.transport)

    def sends(self, data: bytes, how: How = "whole") -> None:
        for piece in pieces(data, how):
            if self.transport.is_closing():
                return
            self.connection.get_buffer(-1)[: len(piece)] = piece
            self.connection.buffer_updated(len(piece))

    def take(self) -> bytes:
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.connection.sweep(self.clock.now)

    def lost(self) -> None:
        self.connection.connection_lost(None)


class TlsPeer(Peer):
    """With a TLS client that is real but for its socket."""

    def __init__(self, chooser: Chooser, authority: Authority, name: str = "a.example.com") -> None:
        super().__init__(chooser)
        context = ssl.create_default_context(cadata=authority.root_pem())
        context.set_alpn_protocols(["http/1.1"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def turn(self, how: How = "whole") -> None:
        """What the client has to say goes there, and the answer back."""
        self.sends(self.outgoing.read(), how)
        self.incoming.write(self.take())

    def shake_hands(self, how: How = "whole") -> None:
        for _ in range(5):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.turn(how)
            else:
                self.turn(how)
                return

    def reads(self) -> bytes:
        data = b""
        try:
            while more := self.tls.read(65536):
                data += more
        except ssl.SSLWantReadError:
            pass
        return data


# -- plain -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_plain_request(how: How) -> None:
    peer = Peer()
    peer.sends(GET, how)
    assert peer.take().endswith(b"\r\n\r\nhello")
    assert repr(peer.connection) == "<ClientConnection 1.2.3.4:5678 plain>"


def test_a_view_is_not_looked_at_later(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    peer = Peer()
    monkeypatch.setattr(peer.transport, "write", kept.append)
    buffer = bytearray(b"x" * 40_000)
    peer.connection.write(memoryview(buffer))
    buffer[:] = bytes(40_000)
    assert kept == [b"x" * 40_000]


def test_the_client_ends_a_plain_connection_and_nothing_lingers() -> None:
    peer = Peer()
    peer.sends(GET)
    assert not peer.connection.eof_received()
    assert peer.transport.closed
    peer.lost()
    assert len(peer.registry) == 0
    assert peer.admission.total == 0


def test_a_last_response_is_followed_by_fin_and_a_moment_of_reading() -> None:
    peer = Peer()
    peer.sends(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert peer.take().endswith(b"hello")
    assert peer.transport.eof
    assert not peer.transport.is_closing()
    peer.sends(GET)
    assert peer.take() == b"", "what still comes is dropped"
    assert not peer.connection.eof_received()
    assert peer.transport.closed


def test_lingering_ends_in_time() -> None:
    peer = Peer()
    peer.sends(b"garbage\r\n\r\n")
    assert peer.take().startswith(b"HTTP/1.1 400 ")
    peer.pass_time(4.5)
    assert not peer.transport.is_closing()
    peer.pass_time(0.5)
    assert peer.transport.aborted


def test_lingering_is_bounded_without_a_reset() -> None:
    peer = Peer()
    peer.sends(b"garbage\r\n\r\n")
    peer.sends(b"x" * (DRAIN_BYTES + 1))
    assert peer.transport.is_paused()
    assert not peer.transport.aborted, "a reset could overtake the response"


def test_a_slow_reader_gets_its_last_response_whole() -> None:
    peer = Peer()
    peer.transport.waiting = 60_000
    peer.sends(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    for waiting in (40_000, 20_000, 1):
        peer.transport.waiting = waiting
        peer.pass_time(30)
        assert not peer.transport.is_closing()
    peer.pass_time(30)
    assert peer.transport.aborted, "nothing was read for 30 s"


def test_a_page_for_plain_http_on_the_https_port(server_context: ssl.SSLContext) -> None:
    for how in HOWS:
        peer = Peer(Chooser(server_context))
        peer.sends(GET, how)
        page = peer.take()
        assert page.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"https://" in page
        assert peer.transport.eof


def test_admission_is_asked_and_told() -> None:
    admission = Admission(100, 1)
    first = Peer(admission=admission)
    second = Peer(admission=admission)
    assert second.transport.aborted
    assert second.transport.written == b""
    second.lost()
    first.lost()
    assert not Peer(admission=admission).transport.aborted


def test_a_socket_that_is_gone_already() -> None:
    peer = Peer()
    transport = FakeTransport({"peername": None, "sockname": None})
    connection = ClientConnection(peer.front)
    connection.connection_made(transport)
    assert transport.aborted
    connection.connection_lost(None)
    assert peer.admission.total == 1


def test_a_connection_that_is_old_enough_is_asked_to_end() -> None:
    peer = Peer(limits=Limits(connection_age=60.0, keep_alive_timeout=1000.0))
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    peer.sends(request)
    peer.pass_time(59.0)
    peer.sends(request)
    answers = peer.take()
    assert answers.count(b"hello") == 2
    assert b"Connection: close" not in answers
    peer.pass_time(1.0)
    assert not peer.transport.eof, "a request may be on its way"
    peer.sends(request)
    assert b"\r\nConnection: close\r\n" in peer.take()
    assert peer.transport.eof


def test_no_age_is_too_old_when_it_is_unlimited() -> None:
    peer = Peer(limits=Limits(connection_age=0.0, keep_alive_timeout=1e9))
    for _ in range(2):
        peer.sends(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = peer.take()
        assert answer.endswith(b"hello")
        assert b"Connection: close" not in answer
        peer.pass_time(1e6)


def test_stop_lets_go_of_an_idle_connection() -> None:
    peer = Peer()
    peer.connection.stop()
    assert peer.transport.eof


def test_a_lost_connection_is_no_cycle() -> None:
    """Thousands of connections a second must not wait for the garbage collector."""
    peer = Peer()
    peer.sends(GET)
    peer.lost()
    gone = weakref.ref(peer.transport)
    gc.disable()
    try:
        front = peer.front
        del peer
        assert gone() is None
        assert front is not None
    finally:
        gc.enable()


# -- PROXY protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_trusted_proxy_tells_who_the_client_is(how: How) -> None:
    peer = Peer(trusted=TrustedProxies(["10.0.0.0/8"]), address="10.0.0.9")
    peer.sends(b"PROXY TCP4 5.6.7.8 10.0.0.1 1111 443\r\n" + GET, how)
    assert peer.take().endswith(b"hello")
    assert (peer.connection.info.address, peer.connection.info.port) == ("5.6.7.8", 1111)


def test_a_trusted_proxy_has_as_many_connections_as_its_clients() -> None:
    """It is one address that speaks for many; who has too many is the client that it names."""
    admission = Admission(100, 2)
    trusted = TrustedProxies(["10.0.0.0/8"])
    peers = [Peer(trusted=trusted, address="10.0.0.9", admission=admission) for _ in range(6)]
    for number, peer in enumerate(peers):
        assert not peer.transport.aborted
        client = b"5.6.7.8" if number < 3 else b"5.6.7.%d" % number
        peer.sends(b"PROXY TCP4 " + client + b" 10.0.0.1 1111 443\r\n")
    assert [peer.transport.aborted for peer in peers] == [False, False, True, False, False, False]
    for peer in peers:
        peer.lost()
    assert admission.total == 0
    assert admission.enter("5.6.7.8") is not None


def test_nobody_else_may() -> None:
    peer = Peer(trusted=TrustedProxies(["10.0.0.0/8"]))
    assert peer.transport.aborted


def test_a_proxy_header_has_its_time_and_its_form() -> None:
    peer = Peer(trusted=TrustedProxies(["10.0.0.0/8"]), address="10.0.0.9")
    peer.sends(b"PROXY TCP4 ")
    peer.pass_time(5)
    assert peer.transport.aborted
    peer = Peer(trusted=TrustedProxies(["10.0.0.0/8"]), address="10.0.0.9")
    peer.sends(GET)
    assert peer.transport.aborted


# -- TLS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_request_over_tls(how: How, authority: Authority, server_context: ssl.SSLContext) -> None:
    chooser = Chooser(server_context)
    peer = TlsPeer(chooser, authority)
    peer.shake_hands(how)
    assert chooser.names == ["a.example.com"]
    assert peer.tls.version() == "TLSv1.3"
    for _ in range(2):
        peer.tls.write(GET)
        peer.turn(how)
        assert peer.reads().endswith(b"\r\n\r\nhello")


def test_a_client_that_says_goodbye_gets_one(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    peer = TlsPeer(Chooser(server_context), authority)
    peer.shake_hands()
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.turn()
    peer.tls.unwrap()
    assert peer.transport.eof
    assert not peer.connection.eof_received()
    assert peer.transport.closed


def test_a_client_that_just_goes_is_told_nothing(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    peer = TlsPeer(Chooser(server_context), authority)
    peer.shake_hands()
    assert not peer.connection.eof_received()
    assert peer.take() == b""
    assert peer.transport.closed


def test_what_a_client_left_for_another_turn_does_not_begin_after_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    monkeypatch.setitem(globals(), "say_hello", asked.append)
    peer = Peer()
    http = peer.connection._http
    assert isinstance(http, Http1Connection)
    assert not peer.connection.eof_received()
    http.receive(GET)
    assert asked == []


def test_a_client_that_still_reads_its_last_response_is_told_its_end(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    peer = TlsPeer(Chooser(server_context), authority)
    peer.shake_hands()
    peer.tls.write(GET)
    peer.turn()
    peer.transport.waiting = 100
    peer.connection.eof_received()
    peer.incoming.write(peer.take())
    assert peer.reads().endswith(b"\r\n\r\nhello")
    assert peer.tls.read(1) == b"", "close_notify"


def test_an_unknown_name_gets_its_alert(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    peer = TlsPeer(Chooser(server_context), authority, "unknown.example.com")
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        peer.shake_hands()
    assert peer.transport.eof


def test_a_handshake_has_its_time(authority: Authority, server_context: ssl.SSLContext) -> None:
    peer = Peer(Chooser(server_context))
    peer.sends(b"\x16\x03\x01")
    peer.pass_time(9.5)
    assert not peer.transport.is_closing()
    peer.pass_time(0.5)
    assert peer.transport.aborted


def test_broken_records_end_the_connection_and_never_in_plain_text(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    peer = TlsPeer(Chooser(server_context), authority)
    peer.shake_hands()
    peer.sends(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    alert = peer.take()
    assert alert[:1] == b"\x17", "an encrypted alert"
    assert peer.transport.eof
    peer.connection.write(b"plain text")
    assert peer.take() == b""


def test_what_an_aborted_client_has_not_read_is_not_kept() -> None:
    """The socket ends with RST, so the kernel's buffer goes with it."""
    ours, theirs = socket.socketpair()
    peer = Peer()
    connection = ClientConnection(peer.front)
    transport = FakeTransport({"peername": ("1.2.3.4", 1), "sockname": ("::", 2), "socket": ours})
    connection.connection_made(transport)
    connection.abort()
    connection.abort()
    assert transport.aborted
    linger = ours.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    assert struct.unpack("ii", linger) == (1, 0)
    connection.connection_lost(None)
    ours.close()
    theirs.close()


def test_writing_after_the_end_is_nothing() -> None:
    peer = Peer()
    peer.connection.close()
    peer.connection.close()
    peer.connection.write(b"late")
    peer.connection.abort()
    peer.connection.write(b"late")
    assert peer.take() == b""


@pytest.mark.anyio
async def test_a_certificate_may_come_later(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    chooser = Chooser(server_context)
    chooser.later = asyncio.get_running_loop().create_future()
    peer = TlsPeer(chooser, authority)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    peer.turn()
    assert peer.transport.is_paused()
    chooser.later.set_result(Choice(server_context))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not peer.transport.is_paused()
    peer.incoming.write(peer.take())
    peer.shake_hands()
    peer.tls.write(GET)
    peer.turn()
    assert peer.reads().endswith(b"hello")


@pytest.mark.anyio
async def test_a_client_that_leaves_while_its_certificate_is_fetched(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    chooser = Chooser(server_context)
    chooser.later = asyncio.get_running_loop().create_future()
    peer = TlsPeer(chooser, authority)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    peer.turn()
    await asyncio.sleep(0)
    peer.lost()
    await asyncio.sleep(0)
    assert chooser.later.cancelled()


@pytest.mark.anyio
async def test_a_certificate_that_does_not_come(
    authority: Authority, server_context: ssl.SSLContext
) -> None:
    chooser = Chooser(server_context)
    chooser.later = asyncio.get_running_loop().create_future()
    peer = TlsPeer(chooser, authority)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    peer.turn()
    chooser.later.set_exception(ClientHelloError("no certificate", 112))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert peer.take()[:1] == b"\x15"
    assert peer.transport.eof
