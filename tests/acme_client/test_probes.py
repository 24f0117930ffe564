"""Looking at DNS, ports, CA and clock, at servers of the test's own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from acme_client import CertificateManager, CertificateRequest
from acme_client.acme_issuer import AcmeIssuer
from acme_client.caa import CaaRecord
from acme_client.dns.lookup import LookupFailed
from acme_client.errors import AcmeClientError, IssuerUnreachable
from acme_client.probes import (
    DnsResolver,
    Doors,
    Finding,
    Level,
    Proof,
    SystemResolver,
    Wanted,
    bounded,
    check_caa,
    find_addresses,
    is_own_address,
    judge_clock,
    judge_profile,
    judge_sight,
    knock_http,
    knock_https,
    look_at_ca,
)
from acme_client.resources import Directory
from acme_client.session import Sight
from acme_client.testing import AcmeCA
from tests.acme_client.support import make_environment
from tests.http_server import http_server

pytestmark = pytest.mark.anyio

PROOF = Proof("token-of-the-doctor", "answer-that-only-we-give")


class Answers:
    """A resolver with a table; what is an exception is raised."""

    def __init__(
        self,
        addresses: tuple[str, ...] | Exception = (),
        caa: dict[str, tuple[str, ...] | Exception] | None = None,
    ) -> None:
        self._addresses = addresses
        self._caa = caa or {}
        self.asked: list[str] = []

    async def addresses(self, name: str) -> tuple[str, ...]:
        if isinstance(self._addresses, Exception):
            raise self._addresses
        return self._addresses

    async def caa(self, name: str) -> tuple[CaaRecord, ...] | None:
        self.asked.append(name)
        found = self._caa.get(name, ())
        if isinstance(found, Exception):
            raise found
        return tuple(map(CaaRecord.parse, found))


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


# DNS.


async def test_a_name_that_leads_here() -> None:
    addresses, said = await find_addresses(Answers(("127.0.0.1",)), "a.example")
    assert addresses == ("127.0.0.1",)
    assert only(said).level is Level.OK
    assert is_own_address("127.0.0.1")


async def test_a_name_that_leads_elsewhere() -> None:
    _, said = await find_addresses(Answers(("127.0.0.1", "192.0.2.1")), "a.example")
    assert only(said).level is Level.NOTE
    assert "192.0.2.1 is no address of this machine" in only(said).text
    assert not is_own_address("2001:db8::1")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((), "has neither an A nor an AAAA record"),
        (LookupFailed("a.example A cannot be looked up: SERVFAIL"), "SERVFAIL"),
        (socket.gaierror(-2, "No such name"), "a.example cannot be looked up: No such name"),
    ],
)
async def test_a_name_that_leads_nowhere(answer: tuple[str, ...] | Exception, fault: str) -> None:
    addresses, said = await find_addresses(Answers(answer), "a.example")
    assert (addresses, only(said).level) == ((), Level.PROBLEM)
    assert fault in only(said).text


async def test_an_address_needs_no_dns() -> None:
    assert await find_addresses(Answers(OSError()), "192.0.2.1") == (("192.0.2.1",), [])
    assert await check_caa(Answers(), "192.0.2.1", ["ca.example"]) == []


async def test_the_resolvers() -> None:
    system = SystemResolver()
    assert "127.0.0.1" in await system.addresses("127.0.0.1")
    assert await system.caa("a.example") is None

    class Lookup:
        async def records(self, name: str, kind: str) -> tuple[str, ...]:
            return {"A": ("192.0.2.1",), "AAAA": (), "CAA": ('0 issue "ca.example"',)}[kind]

    resolver = DnsResolver(Lookup())
    assert await resolver.addresses("a.example") == ("192.0.2.1",)
    assert await resolver.caa("a.example") == (CaaRecord(0, "issue", "ca.example"),)


async def test_caa_of_the_nearest_ancestor() -> None:
    answers = Answers(caa={"example.com": ('0 issue "ca.example"',)})
    assert only(await check_caa(answers, "a.example.com", ["ca.example"])).level is Level.OK
    assert answers.asked == ["a.example.com", "example.com"]
    found = only(await check_caa(answers, "a.example.com", ["other.example"]))
    assert found.level is Level.PROBLEM
    assert "do not allow this CA (other.example): it allows ca.example" in found.text
    assert only(await check_caa(answers, "a.example.com", [])).level is Level.NOTE


async def test_caa_that_nobody_has_or_nobody_can_say() -> None:
    assert "no CAA record" in only(await check_caa(Answers(), "a.example", ["ca.example"])).text
    failing = Answers(caa={"example": LookupFailed("SERVFAIL")})
    found = only(await check_caa(failing, "a.example", ["ca.example"]))
    assert (found.level, "no CA may issue" in found.text) == (Level.PROBLEM, True)
    found = only(await check_caa(SystemResolver(), "a.example", ["ca.example"]))
    assert (found.level, "vestibule[dns]" in found.text) == (Level.NOTE, True)


# Ports.


@pytest.fixture
def http() -> Iterator[Callable[[bytes], int]]:
    """Start an HTTP server that answers everything with a body."""
    with ExitStack() as stack:

        def start(body: bytes) -> int:
            return stack.enter_context(http_server(lambda host, target: (200, {}, body)))

        yield start


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_who_answers_on_port_80(http: Callable[[bytes], int]) -> None:
    ours = Doors(http(PROOF.answer.encode()), None)
    found = only(await knock_http("a.example", ["127.0.0.1"], ours, PROOF))
    assert (found.level, "gives our answers" in found.text) == (Level.OK, True)
    other = Doors(http(b"It works!"), None)
    found = only(await knock_http("a.example", ["127.0.0.1"], other, PROOF))
    assert found.level is Level.PROBLEM
    assert "answered by somebody else" in found.text
    assert "HTTP/1.0 200 OK" in found.text
    assert only(await knock_http("a.example", ["127.0.0.1"], other, None)).level is Level.OK


async def test_nobody_answers_on_port_80() -> None:
    port = closed_port()
    found = only(await knock_http("a.example", ["127.0.0.1"], Doors(port, None), PROOF))
    assert found.level is Level.PROBLEM
    assert f"127.0.0.1:{port} does not answer from here: Connection refused" in found.text
    forwarded = Doors(port, None, ours=False)
    assert only(await knock_http("::1", ["::1"], forwarded, PROOF)).level is Level.NOTE


@pytest.fixture
def tls() -> Iterator[tuple[int, str]]:
    """A TLS server for a.example alone: its port, and its certificate's fingerprint."""
    identity = trustme.CA().issue_cert("a.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.configure_cert(context)

    def refuse_others(connection: ssl.SSLObject, name: str | None, _: object) -> int | None:
        return None if name == "a.example" else int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)

    context.sni_callback = refuse_others
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(1, socket.MSG_PEEK) == b"q":
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    leaf = x509.load_pem_x509_certificate(identity.cert_chain_pems[0].bytes())
    port = int(listener.getsockname()[1])
    yield port, leaf.fingerprint(hashes.SHA256()).hex()
    with socket.create_connection(("127.0.0.1", port)) as last:
        last.sendall(b"q")
    thread.join()
    listener.close()


async def test_who_answers_on_port_443(tls: tuple[int, str]) -> None:
    port, fingerprint = tls
    doors = Doors(None, port)

    async def knock(name: str, stored: str | None = None, key_type: str | None = None) -> Finding:
        wanted = Wanted(stored, key_type)
        return only(await knock_https(name, ["127.0.0.1"], doors, [wanted]))

    found = await knock("a.example", fingerprint)
    assert (found.level, "serves the stored certificate" in found.text) == (Level.OK, True)
    found = await knock("a.example", "0123")
    assert (found.level, "serves another certificate" in found.text) == (Level.NOTE, True)
    assert "answers TLS" in (await knock("a.example")).text
    found = await knock("b.example")
    assert (found.level, "has no certificate for b.example yet" in found.text) == (Level.OK, True)
    found = await knock("b.example", fingerprint)
    assert (found.level, "no TLS with b.example" in found.text) == (Level.PROBLEM, True)
    # Where there are two kinds, each has clients that can read nothing else.
    found = await knock("a.example", fingerprint, "p256")
    assert (found.level, "serves the stored p256 certificate" in found.text) == (Level.OK, True)
    found = await knock("a.example", None, "rsa2048")
    assert (found.level, "no rsa2048 certificate for a.ex" in found.text) == (Level.OK, True)
    found = await knock("a.example", "0123", "rsa2048")
    assert (found.level, "a client of rsa2048 alone" in found.text) == (Level.PROBLEM, True)


async def test_each_stored_certificate_is_looked_for(tls: tuple[int, str]) -> None:
    port, fingerprint = tls
    wanted = [Wanted(fingerprint, "p256"), Wanted(None, "rsa2048")]
    found = await knock_https("a.example", ["127.0.0.1"], Doors(None, port), wanted)
    assert [one.level for one in found] == [Level.OK, Level.OK]
    assert ["p256" in found[0].text, "rsa2048" in found[1].text] == [True, True]


async def test_nobody_answers_on_port_443() -> None:
    doors = Doors(None, closed_port())
    found = only(await knock_https("a.example", ["127.0.0.1"], doors, [Wanted()]))
    assert (found.level, "Connection refused" in found.text) == (Level.PROBLEM, True)


async def test_a_probe_has_a_limit() -> None:
    async def hang() -> list[Finding]:
        await anyio.sleep_forever()
        return []

    found = only(await bounded("dns", hang, 0.01))
    assert (found.level, str(found)) == (Level.NOTE, "dns: not known: no answer within 0.01 s")
    assert found.to_json() == {"level": "note", "subject": "dns", "text": found.text}


# The CA.


async def test_a_ca_is_looked_at(acme_ca: AcmeCA, tmp_path: Path) -> None:
    environment = make_environment(tmp_path)
    issuer = AcmeIssuer(
        acme_ca.directory_url, ca_certificates=acme_ca.trust_file, profile="no-such"
    )
    sight, said = await look_at_ca("ca", issuer.session(environment).look)
    assert sight is not None
    assert not sight.has_account
    assert sight.directory.url == acme_ca.directory_url
    texts = [str(finding) for finding in said]
    assert any("has no profile 'no-such'; it offers" in text for text in texts)
    # The environment's clock stands in March.
    assert any(finding.subject == "clock" and "set it right" in finding.text for finding in said)
    acme_ca.stop()
    sight, said = await look_at_ca("ca", issuer.session(environment).look)
    assert sight is None
    assert only(said).level is Level.PROBLEM
    assert only(said).text.startswith("ca cannot be used now: ")
    host = urlsplit(acme_ca.directory_url).netloc
    _, said = await look_at_ca(host, issuer.session(environment).look)
    assert only(said).text.startswith(f"{host} cannot be reached: ")


async def test_an_account_that_was_refused_is_none(acme_ca: AcmeCA, tmp_path: Path) -> None:
    """Its key is kept from before the CA was asked, for the next try."""
    acme_ca.settings.external_account_required = True
    environment = make_environment(tmp_path)
    issuer = AcmeIssuer(acme_ca.directory_url, ca_certificates=acme_ca.trust_file)
    request = CertificateRequest(names=("a.example",))
    manager = CertificateManager(requests=[request], issuers=[issuer], store=environment.store)
    with pytest.raises(AcmeClientError, match="wants external account binding"):
        await manager.obtain("a.example")
    _, said = await look_at_ca("ca", issuer.session(environment).look)
    assert any("ca wants external account binding: set eab" in str(found) for found in said)


async def test_a_ca_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acme_client.probes.PROBE_SECONDS", 0.01)

    async def hang() -> Sight:
        await anyio.sleep_forever()
        raise IssuerUnreachable("never")

    sight, said = await look_at_ca("ca", hang)
    assert sight is None
    assert "does not answer within 0.01 s" in only(said).text


def sight(*, bound: bool = False, account: bool = False, required: bool = True) -> Sight:
    url = "https://ca.example/x"
    directory = Directory(
        url=url,
        new_nonce=url,
        new_account=url,
        new_order=url,
        revoke_cert=url,
        key_change=None,
        renewal_info=None,
        external_account_required=required,
        profiles={"short": ""},
    )
    return Sight(
        directory=directory,
        clock_ahead=timedelta(0),
        has_account=account,
        has_binding=bound,
        profile="short",
    )


def test_a_ca_that_wants_a_binding() -> None:
    assert any("external account" in found.text for found in judge_sight("ca", sight()))
    for fine in (sight(bound=True), sight(account=True), sight(required=False)):
        assert all(found.level is Level.OK for found in judge_sight("ca", fine))


def test_a_profile_that_there_is_not() -> None:
    directory = sight().directory
    for fine in (None, "short"):
        assert judge_profile("ca", directory, fine) == []
    found = only(judge_profile("ca", directory, "classic"))
    assert (found.level, found.text) == (
        Level.PROBLEM,
        "ca has no profile 'classic'; it offers short",
    )
    wrong = judge_sight("ca", replace(sight(bound=True), profile="gold"))
    assert any("no profile 'gold'; it offers short" in found.text for found in wrong)


@pytest.mark.parametrize(
    ("ahead", "level", "word"),
    [
        (timedelta(0), Level.OK, "agrees"),
        (timedelta(seconds=60), Level.NOTE, "60 s behind"),
        (timedelta(minutes=-10), Level.PROBLEM, "600 s ahead of"),
    ],
)
def test_the_clock(ahead: timedelta, level: Level, word: str) -> None:
    found = judge_clock("ca", ahead)
    assert (found.level, word in found.text) == (level, True)
