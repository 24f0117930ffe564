"""proxy.tls.session"""

from __future__ import annotations

import ssl
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import TlsError
from proxy.tls.contexts import SiteContext, TlsOptions, make_context
from proxy.tls.pem_pair import PemPair
from proxy.tls.session import TlsSession
from tests.proxy.tls.certificates import Authority, write_pair
from tests.proxy.tls.memory_client import MemoryClient, client_context, connect
from tests.proxy.tls.traffic_keys import TrafficKeys

BOTH_VERSIONS = pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def context_of(pair: PemPair, options: TlsOptions | None = None) -> ssl.SSLContext:
    site = SiteContext(options or TlsOptions())
    site.install([pair])
    context = site.current
    assert context is not None
    return context


@pytest.fixture(scope="session")
def server(ecdsa_pair: PemPair) -> ssl.SSLContext:
    return context_of(ecdsa_pair)


@pytest.fixture(scope="session")
def client(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.root_pem(), alpn=["http/1.1"])


def sealed(client: MemoryClient, *messages: bytes) -> bytes:
    """The client's records for these messages."""
    for message in messages:
        client.tls.write(message)
    return client.outgoing.read()


class TestHandshake:
    @BOTH_VERSIONS
    def test_what_was_agreed(
        self, authority: Authority, server: ssl.SSLContext, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), alpn=["http/1.1"], maximum=maximum)
        session = TlsSession(server)
        assert repr(session) == "<TlsSession in handshake>"
        theirs = MemoryClient(client)
        theirs.exchange(session)
        version = {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[maximum.name]
        assert session.established
        assert session.version == version
        assert session.alpn == "http/1.1"
        assert session.cipher == theirs.tls.cipher()[0]  # type: ignore[index]
        assert not session.resumed
        assert session.peer_certificate is None
        assert repr(session) == f"<TlsSession {version} {session.cipher} http/1.1>"

    def test_byte_by_byte(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        session, theirs = TlsSession(server), MemoryClient(client)
        while not session.established:
            theirs.progress()
            for byte in theirs.outgoing.read():
                assert session.receive(bytes((byte,))) == b""
            theirs.incoming.write(session.ciphertext_to_send())
        theirs.progress()
        assert session.version == "TLSv1.3"

    def test_request_together_with_the_last_flight(
        self, server: ssl.SSLContext, client: ssl.SSLContext
    ) -> None:
        session, theirs = TlsSession(server), MemoryClient(client)
        theirs.progress()
        session.receive(theirs.outgoing.read())
        theirs.incoming.write(session.ciphertext_to_send())
        theirs.progress()
        assert session.receive(sealed(theirs, b"GET /")) == b"GET /"
        session.write(b"200")
        theirs.exchange(session)
        assert theirs.received == b"200"

    def test_no_certificate_loaded(self, client: ssl.SSLContext) -> None:
        session, theirs = TlsSession(make_context(TlsOptions())), MemoryClient(client)
        theirs.progress()
        with pytest.raises(
            TlsError, match=r"TLS handshake: no shared cipher|no suitable"
        ) as caught:
            session.receive(theirs.outgoing.read())
        theirs.incoming.write(caught.value.to_send)
        with pytest.raises(ssl.SSLError, match="handshake failure"):
            theirs.progress()

    @pytest.mark.parametrize(
        "first", [b"\x16\x03\x01\xff\xff\x01", b"\x15\x03\x01\x00\x02\x02\x00", bytes(99)]
    )
    def test_garbage(self, server: ssl.SSLContext, first: bytes) -> None:
        session = TlsSession(server)
        with pytest.raises(TlsError, match="TLS handshake: "):
            session.receive(first)
        assert repr(session) == "<TlsSession failed>"
        assert session.receive(first) == b""

    def test_the_clients_alert(self, server: ssl.SSLContext) -> None:
        stranger = ssl.create_default_context()
        stranger.load_verify_locations(cadata=Authority().root_pem())
        session, theirs = TlsSession(server), MemoryClient(stranger)
        theirs.progress()
        session.receive(theirs.outgoing.read())
        theirs.incoming.write(session.ciphertext_to_send())
        with pytest.raises(ssl.SSLCertVerificationError):
            theirs.progress()
        with pytest.raises(TlsError, match="alert unknown ca"):
            session.receive(theirs.outgoing.read())


class TestRecords:
    @BOTH_VERSIONS
    def test_request_and_response(
        self, authority: Authority, server: ssl.SSLContext, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        session, theirs = connect(server, client)
        for i in range(3):
            assert session.receive(memoryview(sealed(theirs, b"request %d" % i))) == (
                b"request %d" % i
            )
            session.write(b"response %d" % i)
            assert session.ciphertext_to_send() != b""
            assert session.ciphertext_to_send() == b""

    def test_nothing_is_nothing(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        session, theirs = connect(server, client)
        assert session.receive(b"") == b""
        session.write(b"")
        assert session.ciphertext_to_send() == b""
        assert session.receive(sealed(theirs, b"x")) == b"x"
        assert not session.peer_closed

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(data=st.data())
    def test_any_messages_in_any_pieces(
        self, server: ssl.SSLContext, client: ssl.SSLContext, data: st.DataObject
    ) -> None:
        session, theirs = connect(server, client)
        sizes = data.draw(
            st.lists(
                st.one_of(st.integers(1, 60), st.sampled_from([16_383, 16_384, 16_385, 70_000])),
                max_size=6,
            )
        )
        messages = [bytes((i,)) * size for i, size in enumerate(sizes)]
        stream = sealed(theirs, *messages)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        edges = [0, *cuts, len(stream)]
        plaintext = b""
        for start, end in pairwise(edges):
            plaintext += session.receive(stream[start:end])
        assert plaintext == b"".join(messages)
        # Nothing is left behind: the next one comes out by itself.
        assert session.receive(sealed(theirs, b"next")) == b"next"

    @pytest.mark.parametrize("size", [1, 16_384, 16_385, 1_000_000])
    def test_bulk(self, server: ssl.SSLContext, client: ssl.SSLContext, size: int) -> None:
        session, theirs = connect(server, client)
        content = bytes(range(256)) * (size // 256 + 1)
        content = content[:size]
        assert session.receive(sealed(theirs, content)) == content
        session.write(memoryview(content))
        theirs.exchange(session)
        assert theirs.received == content

    def test_bulk_in_records_comes_behind_what_waits(
        self, server: ssl.SSLContext, client: ssl.SSLContext
    ) -> None:
        session, theirs = connect(server, client)
        session.write(b"first")
        records = session.seal_records(memoryview(bytes(40_000)))
        assert len(records) == 3
        theirs.incoming.write(b"".join(records))
        assert session.ciphertext_to_send() == b""
        session.write(b"last")
        theirs.exchange(session)
        assert theirs.received == b"first" + bytes(40_000) + b"last"

    def test_many_small_writes_stay_in_order(
        self, server: ssl.SSLContext, client: ssl.SSLContext
    ) -> None:
        session, theirs = connect(server, client)
        parts = [bytes((i % 256,)) * 900 for i in range(100)]
        for i, part in enumerate(parts):
            session.write(part)
            if i == 50:
                session.write(bytes(40_000))
        theirs.exchange(session)
        assert theirs.received == b"".join(parts[:51]) + bytes(40_000) + b"".join(parts[51:])

    def test_a_changed_record(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        session, theirs = connect(server, client)
        record = bytearray(sealed(theirs, b"request"))
        record[-1] ^= 1
        with pytest.raises(TlsError, match="TLS session: decryption failed or bad") as caught:
            session.receive(record)
        theirs.incoming.write(caught.value.to_send)
        with pytest.raises(ssl.SSLError, match="alert bad record mac"):
            theirs.progress()
        assert not session.peer_closed

    @pytest.mark.parametrize("junk", [b"\x17\x03\x03\xff\xff" + bytes(10), b"\x99" * 30])
    def test_junk_in_the_stream(
        self, server: ssl.SSLContext, client: ssl.SSLContext, junk: bytes
    ) -> None:
        session, theirs = connect(server, client)
        with pytest.raises(TlsError, match="TLS session"):
            session.receive(sealed(theirs, b"request") + junk)

    def test_write_before_the_handshake_is_an_error(self, server: ssl.SSLContext) -> None:
        with pytest.raises(TlsError, match="TLS handshake"):
            TlsSession(server).write(b"early")


class TestClose:
    @BOTH_VERSIONS
    def test_by_us(
        self, authority: Authority, server: ssl.SSLContext, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        session, theirs = connect(server, client)
        session.write(b"last")
        session.close()
        assert repr(session).endswith(", closed>")
        theirs.incoming.write(session.ciphertext_to_send())
        assert theirs.tls.read() == b"last"
        assert theirs.tls.read() == b""  # close_notify, not a cut
        session.close()
        assert session.ciphertext_to_send() == b""

    @BOTH_VERSIONS
    @pytest.mark.parametrize("cut", [b"", b"\x17\x03\x03\x00", b"\x17\x03\x03\x00\x40half"])
    @pytest.mark.parametrize("ignoring", [True, False])
    def test_by_us_in_both_directions(
        self,
        authority: Authority,
        ecdsa_pair: PemPair,
        maximum: ssl.TLSVersion,
        cut: bytes,
        ignoring: bool,
    ) -> None:
        server = context_of(ecdsa_pair)
        assert server.options & ssl.OP_IGNORE_UNEXPECTED_EOF
        if not ignoring:  # as it would be with a context that somebody else has made
            server.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        session, theirs = connect(server, client_context(authority.root_pem(), maximum=maximum))
        session.write(b"last")
        assert session.receive(cut) == b""
        session.close(reads_on=False)
        assert repr(session) == "<TlsSession over, closed>"
        assert not session.peer_closed  # the end was ours; they have said nothing
        theirs.incoming.write(session.ciphertext_to_send())
        assert theirs.tls.read() == b"last"
        assert theirs.tls.read() == b""  # close_notify, not a cut
        assert session.receive(sealed(theirs, b"still sending")) == b""
        session.close()
        assert session.ciphertext_to_send() == b""

    @BOTH_VERSIONS
    def test_the_other_direction_stays_open(
        self, authority: Authority, server: ssl.SSLContext, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        session, theirs = connect(server, client)
        session.close()
        assert session.receive(sealed(theirs, b"still sending")) == b"still sending"
        assert session.receive(sealed(theirs, b"a", b"b")) == b"ab"
        assert not session.peer_closed
        with pytest.raises(ssl.SSLWantReadError):
            theirs.tls.unwrap()
        assert session.receive(theirs.outgoing.read()) == b""
        assert session.peer_closed

    @BOTH_VERSIONS
    def test_by_the_peer(
        self, authority: Authority, server: ssl.SSLContext, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        session, theirs = connect(server, client)
        with pytest.raises(ssl.SSLWantReadError):
            theirs.tls.unwrap()
        assert session.receive(theirs.outgoing.read()) == b""
        assert session.peer_closed
        assert repr(session) == "<TlsSession closed by the peer>"
        # Ours can still be said, and what it was asked for still be sent (RFC 8446 §6.1).
        session.write(b"answer")
        session.close()
        theirs.incoming.write(session.ciphertext_to_send())
        assert theirs.tls.read() == b"answer"

    def test_data_and_close_together(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        session, theirs = connect(server, client)
        theirs.tls.write(b"request")
        with pytest.raises(ssl.SSLWantReadError):
            theirs.tls.unwrap()
        assert session.receive(theirs.outgoing.read() + b"ignored" * 10) == b"request"
        assert session.peer_closed
        assert session.receive(b"\x17\x03\x03\x00\x01\x00") == b""

    def test_before_a_broken_record_is_complete(
        self, server: ssl.SSLContext, client: ssl.SSLContext
    ) -> None:
        session, theirs = connect(server, client)
        assert session.receive(b"\x99\x03\x03\x00\x64half of it") == b""
        with pytest.raises(TlsError, match="TLS session: ") as caught:
            session.close()
        theirs.incoming.write(caught.value.to_send)
        assert theirs.tls.read() == b""  # close_notify comes first

    def test_in_the_handshake_there_is_nothing_to_say(self, server: ssl.SSLContext) -> None:
        session = TlsSession(server)
        session.close()
        assert session.ciphertext_to_send() == b""

    def test_after_a_failure_there_is_nothing_to_say(
        self, server: ssl.SSLContext, client: ssl.SSLContext
    ) -> None:
        session, theirs = connect(server, client)
        record = sealed(theirs, b"request")
        with pytest.raises(TlsError):
            session.receive(bytes([*record[:-1], record[-1] ^ 1]))
        session.close()
        assert session.ciphertext_to_send() == b""


class TestKeyUpdates:
    """RFC 8446 §4.6.3: the peer may ask for new keys at any time, and gets an answer."""

    @pytest.fixture
    def keys_and_session(
        self, authority: Authority, server: ssl.SSLContext, tmp_path: Path
    ) -> tuple[TrafficKeys, TlsSession]:
        client = client_context(authority.root_pem())
        client.keylog_filename = str(tmp_path / "keys")
        session, theirs = connect(server, client)
        assert session.cipher == "TLS_AES_256_GCM_SHA384"
        del theirs, client
        return TrafficKeys(tmp_path / "keys"), session

    def test_between_requests(self, keys_and_session: tuple[TrafficKeys, TlsSession]) -> None:
        keys, session = keys_and_session
        for i in range(100):
            assert session.receive(keys.update()) == b""
            assert session.receive(keys.seal(b"%d" % i)) == b"%d" % i
            both = keys.seal(b"a") + keys.update() + keys.seal(b"b")
            assert session.receive(both) == b"ab"
        assert session.ciphertext_to_send() != b""  # our own updates

    @pytest.mark.parametrize("together", [1, 50, 2000])
    def test_a_flood_ends_within_bounds(
        self, keys_and_session: tuple[TrafficKeys, TlsSession], together: int
    ) -> None:
        keys, session = keys_and_session
        answers = 0

        def flood() -> None:
            nonlocal answers
            for _ in range(10_000):
                session.receive(b"".join(keys.update() for _ in range(together)))
                answers += len(session.ciphertext_to_send())

        with pytest.raises(TlsError, match="too many key updates") as caught:
            flood()
        assert answers + len(caught.value.to_send) < 128 * 1024

    def test_a_flood_between_data(self, keys_and_session: tuple[TrafficKeys, TlsSession]) -> None:
        keys, session = keys_and_session

        def flood() -> None:
            for _ in range(10_000):
                assert session.receive(keys.update() + keys.seal(b"x")) == b"x"

        with pytest.raises(TlsError, match="too many key updates"):
            flood()


class TestResumption:
    @BOTH_VERSIONS
    def test_resumed(
        self, authority: Authority, server: ssl.SSLContext, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        _, first = connect(server, client)
        session, _ = connect(server, client, session=first.tls.session)
        assert session.resumed


class TestClientCertificate:
    @pytest.fixture
    def clients_ca(self) -> Authority:
        return Authority()

    @pytest.fixture
    def options(self, clients_ca: Authority, tmp_path: Path) -> TlsOptions:
        ca = tmp_path / "ca.pem"
        ca.write_text(clients_ca.root_pem())
        return TlsOptions(client_certificate="required", client_ca=ca)

    def client_with(
        self, authority: Authority, pair: PemPair, folder: Path, maximum: ssl.TLSVersion
    ) -> ssl.SSLContext:
        client = client_context(authority.root_pem(), maximum=maximum)
        client.load_cert_chain(*write_pair(pair, folder))
        return client

    @BOTH_VERSIONS
    def test_given(
        self,
        authority: Authority,
        clients_ca: Authority,
        ecdsa_pair: PemPair,
        options: TlsOptions,
        tmp_path: Path,
        maximum: ssl.TLSVersion,
    ) -> None:
        client = self.client_with(authority, clients_ca.issue("someone"), tmp_path, maximum)
        session, _ = connect(context_of(ecdsa_pair, options), client)
        certificate = session.peer_certificate
        assert certificate is not None
        assert b"someone" in certificate

    @BOTH_VERSIONS
    @pytest.mark.parametrize("which", ["none", "of another CA"])
    def test_refused(
        self,
        authority: Authority,
        ecdsa_pair: PemPair,
        options: TlsOptions,
        tmp_path: Path,
        maximum: ssl.TLSVersion,
        which: str,
    ) -> None:
        if which == "none":
            client = client_context(authority.root_pem(), maximum=maximum)
            expected = "peer did not return a certificate"
        else:
            client = self.client_with(authority, Authority().issue("x"), tmp_path, maximum)
            expected = "certificate verify failed: "
        session, theirs = TlsSession(context_of(ecdsa_pair, options)), MemoryClient(client)
        with pytest.raises(TlsError, match=expected) as caught:
            theirs.exchange(session)
        assert caught.value.to_send
        theirs.incoming.write(caught.value.to_send)
        with pytest.raises(ssl.SSLError, match="alert"):
            theirs.progress()

    def test_optional(self, authority: Authority, ecdsa_pair: PemPair, options: TlsOptions) -> None:
        optional = TlsOptions(client_certificate="optional", client_ca=options.client_ca)
        session, _ = connect(context_of(ecdsa_pair, optional), client_context(authority.root_pem()))
        assert session.peer_certificate is None
