"""proxy.tls.contexts"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.errors import CertificateFileError
from proxy.tls import contexts
from proxy.tls.contexts import SiteContext, TlsOptions, load_pair_into, make_context
from proxy.tls.pem_pair import PemPair
from proxy.tls.session import TlsSession
from tests.proxy.tls.certificates import Authority
from tests.proxy.tls.memory_client import client_context, connect

TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3
BOTH_VERSIONS = pytest.mark.parametrize("maximum", [TLS_1_2, TLS_1_3])


def site_with(*pairs: PemPair) -> SiteContext:
    site = SiteContext(TlsOptions())
    site.install(pairs)
    return site


def current(site: SiteContext) -> ssl.SSLContext:
    context = site.current
    assert context is not None
    return context


def served(site: SiteContext, client: ssl.SSLContext) -> str:
    """The fingerprint of the certificate that this client gets."""
    _, theirs = connect(current(site), client)
    certificate = theirs.tls.getpeercert(binary_form=True)
    assert certificate is not None
    return fingerprint(certificate)


def fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


@pytest.fixture
def client(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.root_pem())


class TestWhatIsSpoken:
    def test_versions(self) -> None:
        context = make_context(TlsOptions())
        assert context.minimum_version == TLS_1_2
        assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED

    def test_suites(self) -> None:
        suites = make_context(TlsOptions()).get_ciphers()
        assert all(suite["aead"] for suite in suites)
        older = {suite["name"] for suite in suites if suite["protocol"] != "TLSv1.3"}
        assert older == {
            f"ECDHE-{key}-{cipher}"
            for key in ("ECDSA", "RSA")
            for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
        }

    def test_options(self) -> None:
        options = make_context(TlsOptions()).options
        assert options & ssl.OP_NO_COMPRESSION
        assert options & ssl.OP_NO_RENEGOTIATION
        assert options & ssl.OP_CIPHER_SERVER_PREFERENCE

    @pytest.mark.parametrize(
        ("first", "chosen"),
        [
            ("AES256-GCM-SHA384", "AES128-GCM-SHA256"),
            ("AES128-GCM-SHA256", "AES128-GCM-SHA256"),
            ("CHACHA20-POLY1305", "CHACHA20-POLY1305"),
        ],
    )
    def test_aes_128_unless_the_client_has_no_aes_in_hardware(
        self, authority: Authority, ecdsa_pair: PemPair, first: str, chosen: str
    ) -> None:
        client = client_context(authority.root_pem(), maximum=TLS_1_2)
        client.set_ciphers(f"ECDHE-ECDSA-{first}:ECDHE+AESGCM:ECDHE+CHACHA20")
        session, _ = connect(current(site_with(ecdsa_pair)), client)
        assert session.cipher == f"ECDHE-ECDSA-{chosen}"

    @pytest.mark.parametrize(
        ("ours", "theirs", "expected"),
        [
            (("h2", "http/1.1"), ["http/1.1", "h2"], "h2"),
            (("http/1.1",), ["h2", "http/1.1"], "http/1.1"),
            ((), ["h2"], None),
            (("h2",), [], None),
        ],
    )
    def test_alpn(
        self,
        authority: Authority,
        ecdsa_pair: PemPair,
        ours: tuple[str, ...],
        theirs: list[str],
        expected: str | None,
    ) -> None:
        site = SiteContext(TlsOptions(alpn=ours))
        site.install([ecdsa_pair])
        session, _ = connect(current(site), client_context(authority.root_pem(), alpn=theirs))
        assert session.alpn == expected
        assert site.alpn == ours

    def test_small_rsa_keys_are_refused(self, weak_pair: PemPair) -> None:
        with pytest.raises(CertificateFileError, match=r"weak\.example: ee key too small"):
            site_with(weak_pair)


class TestClientCa:
    def test_missing_file(self, tmp_path: Path) -> None:
        options = TlsOptions(client_certificate="required", client_ca=tmp_path / "ca.pem")
        with pytest.raises(CertificateFileError, match=r"ca\.pem cannot be read: No such file"):
            make_context(options)

    def test_no_pem(self, tmp_path: Path) -> None:
        path = tmp_path / "ca.pem"
        path.write_text("nothing")
        options = TlsOptions(client_certificate="required", client_ca=path)
        with pytest.raises(CertificateFileError, match=r"ca\.pem holds no certificate"):
            make_context(options)

    def test_not_given(self) -> None:
        with pytest.raises(CertificateFileError, match="no CA is given"):
            make_context(TlsOptions(client_certificate="optional"))


class TestInstall:
    def test_before_there_is_a_certificate(self) -> None:
        site = SiteContext(TlsOptions())
        assert site.current is None
        assert repr(site) == "<SiteContext no certificate>"

    def test_renewal_is_for_new_connections(
        self, authority: Authority, client: ssl.SSLContext
    ) -> None:
        old, new = authority.issue(), authority.issue()
        site = site_with(old)
        session, theirs = connect(current(site), client)
        assert served(site, client) == old.fingerprint

        site.install([new])

        assert served(site, client) == new.fingerprint
        session.write(b"still here")
        theirs.exchange(session)
        assert theirs.received == b"still here"

    @BOTH_VERSIONS
    def test_sessions_resume_after_a_renewal(
        self, authority: Authority, maximum: ssl.TLSVersion
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        site = site_with(authority.issue())
        _, first = connect(current(site), client)
        site.install([authority.issue()])
        session, _ = connect(current(site), client, session=first.tls.session)
        assert session.resumed

    def test_a_pair_that_openssl_refuses_leaves_the_old_one(
        self, ecdsa_pair: PemPair, weak_pair: PemPair, client: ssl.SSLContext
    ) -> None:
        site = site_with(ecdsa_pair)
        with pytest.raises(CertificateFileError):
            site.install([weak_pair])
        assert served(site, client) == ecdsa_pair.fingerprint
        assert repr(site) == "<SiteContext ECDSA>"

    @BOTH_VERSIONS
    def test_both_key_types(
        self,
        authority: Authority,
        ecdsa_pair: PemPair,
        rsa_pair: PemPair,
        maximum: ssl.TLSVersion,
    ) -> None:
        site = site_with(rsa_pair, ecdsa_pair)
        assert repr(site) == "<SiteContext ECDSA and RSA>"
        client = client_context(authority.root_pem(), maximum=maximum)
        assert served(site, client) == ecdsa_pair.fingerprint
        only_rsa = client_context(authority.root_pem(), maximum=TLS_1_2)
        only_rsa.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        assert served(site, only_rsa) == rsa_pair.fingerprint

    @pytest.mark.parametrize("first", ["ECDSA", "RSA"])
    @BOTH_VERSIONS
    def test_a_changed_key_type_leaves_no_old_chain(
        self,
        authority: Authority,
        ecdsa_pair: PemPair,
        rsa_pair: PemPair,
        first: str,
        maximum: ssl.TLSVersion,
    ) -> None:
        client = client_context(authority.root_pem(), maximum=maximum)
        old, new = (ecdsa_pair, rsa_pair) if first == "ECDSA" else (rsa_pair, ecdsa_pair)
        site = site_with(old)
        assert served(site, client) == old.fingerprint
        site.install([new])
        assert served(site, client) == new.fingerprint
        site.install([old, new])
        assert served(site, client) == ecdsa_pair.fingerprint
        site.install([rsa_pair])
        assert served(site, client) == rsa_pair.fingerprint

    def test_one_of_each_key_type(self, authority: Authority, ecdsa_pair: PemPair) -> None:
        with pytest.raises(CertificateFileError, match="not ECDSA and ECDSA"):
            site_with(ecdsa_pair, authority.issue())
        with pytest.raises(CertificateFileError, match="not none"):
            site_with()


def shake_hands_in_a_worker(
    site: SiteContext, pair: PemPair, client: ssl.SSLContext, saved: ssl.SSLSession | None
) -> tuple[bytes, ssl.SSLSession | None]:
    """Connect to a forked process that installs the pair: its answer, and the session."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            theirs.close()
            site.install([pair])
            answer_one_client(current(site), ours)
        finally:
            os._exit(0)
    ours.close()
    theirs.settimeout(30)
    with client.wrap_socket(theirs, server_hostname="a.example.com", session=saved) as tls:
        answer = tls.recv(100)
        session = tls.session
    os.waitpid(child, 0)
    return answer, session


def answer_one_client(context: ssl.SSLContext, connection: socket.socket) -> None:
    connection.settimeout(30)
    session = TlsSession(context)
    while not session.established:
        session.receive(connection.recv(65536))
        connection.sendall(session.ciphertext_to_send())
    session.write(b"resumed" if session.resumed else b"full")
    session.close()
    connection.sendall(session.ciphertext_to_send())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@BOTH_VERSIONS
def test_sessions_of_one_process_resume_in_another(
    authority: Authority, ecdsa_pair: PemPair, maximum: ssl.TLSVersion
) -> None:
    site, other_site = SiteContext(TlsOptions()), SiteContext(TlsOptions())
    client = client_context(authority.root_pem(), maximum=maximum)

    answer, session = shake_hands_in_a_worker(site, ecdsa_pair, client, None)
    assert answer == b"full"
    assert session is not None

    answer, _ = shake_hands_in_a_worker(site, authority.issue(), client, session)
    assert answer == b"resumed"
    answer, _ = shake_hands_in_a_worker(other_site, ecdsa_pair, client, session)
    assert answer == b"full"
    assert site.current is None  # this process, the parent, has seen no key


@BOTH_VERSIONS
def test_sessions_of_one_site_do_not_resume_at_another(
    authority: Authority, ecdsa_pair: PemPair, maximum: ssl.TLSVersion
) -> None:
    client = client_context(authority.root_pem(), maximum=maximum)
    one, other = site_with(ecdsa_pair), site_with(ecdsa_pair)
    _, first = connect(current(one), client)
    session, _ = connect(current(other), client, session=first.tls.session)
    assert not session.resumed
    session, _ = connect(current(one), client, session=first.tls.session)
    assert session.resumed


class TestFiles:
    """The PEM bytes become files for as long as OpenSSL reads them, and no longer."""

    def test_no_descriptor_is_left(self, ecdsa_pair: PemPair, weak_pair: PemPair) -> None:
        before = os.listdir("/proc/self/fd")
        load_pair_into(make_context(TlsOptions()), ecdsa_pair)
        with pytest.raises(CertificateFileError):
            load_pair_into(make_context(TlsOptions()), weak_pair)
        assert os.listdir("/proc/self/fd") == before

    def test_without_files_in_memory(
        self,
        ecdsa_pair: PemPair,
        client: ssl.SSLContext,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        modes = {}
        load_cert_chain = ssl.SSLContext.load_cert_chain

        def load(self: ssl.SSLContext, chain: str, key: str, password: Callable[[], str]) -> None:
            for path in (chain, key, os.path.dirname(key)):
                modes[path] = stat.S_IMODE(os.stat(path).st_mode)
            load_cert_chain(self, chain, key, password)

        def forbidden(name: str, flags: int) -> int:
            raise PermissionError

        monkeypatch.setattr(contexts, "_SHARED_MEMORY", str(tmp_path / "missing"))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(os, "memfd_create", forbidden)
        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)

        assert served(site_with(ecdsa_pair), client) == ecdsa_pair.fingerprint

        assert set(modes.values()) == {0o600, 0o700}
        assert all(path.startswith(str(tmp_path)) for path in modes)
        assert not list(tmp_path.iterdir())

    def test_nowhere_to_put_them(
        self, ecdsa_pair: PemPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contexts, "_SHARED_MEMORY", str(tmp_path / "missing"))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        monkeypatch.delattr(os, "memfd_create")
        with pytest.raises(CertificateFileError, match="cannot be handed to OpenSSL"):
            site_with(ecdsa_pair)

    def test_an_encrypted_key_is_never_asked_for(self, ecdsa_pair: PemPair) -> None:
        key = load_pem_private_key(ecdsa_pair.key_pem, None)
        encrypted = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        with pytest.raises(CertificateFileError, match="encrypted"):
            load_pair_into(make_context(TlsOptions()), replace(ecdsa_pair, key_pem=encrypted))
