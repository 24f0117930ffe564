"""Looking at what a CA will look at: DNS, CAA, the ports, the clock.

Each probe asks one thing, ends within seconds whatever the network does, and returns what it found
as :class:`Finding`; none raises. What is asked of the network goes through arguments (a resolver,
addresses, ports), so that tests have servers of their own.

A probe sees the world from here. A CA sees it from outside: behind NAT or a firewall the two
differ, and then a finding is a hint and no verdict; its level says which.
"""

from __future__ import annotations

import enum
import hashlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import anyio
import anyio.to_thread

from acme_client.caa import CaaRecord, ancestors, why_not
from acme_client.errors import AcmeClientError, NotPresented
from acme_client.names import ip_address, is_wildcard
from acme_client.resources import Directory
from acme_client.session import Sight

PROBE_SECONDS = 5.0
"""For any one probe, all in all."""
CONNECT_SECONDS = 3.0
MAX_ADDRESSES = 4
MAX_ANSWER_BYTES = 4096

CLOCK_NOTE = timedelta(seconds=30)
CLOCK_PROBLEM = timedelta(minutes=5)

CHALLENGE_PATH = "/.well-known/acme-challenge/"


class Level(enum.Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found."""

    level: Level
    subject: str
    """What was looked at: ``dns``, ``caa``, ``port 80``, ``clock`` ..."""
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level.value, "subject": self.subject, "text": self.text}


class Resolver(Protocol):
    """Answers about names; raises NotPresented (LookupFailed) or OSError."""

    async def addresses(self, name: str) -> tuple[str, ...]: ...

    async def caa(self, name: str) -> tuple[CaaRecord, ...] | None:
        """The CAA records of exactly this name; None where they cannot be asked for."""


class SystemResolver:
    """The system's; it knows addresses only."""

    async def addresses(self, name: str) -> tuple[str, ...]:
        def look_up() -> list[str]:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]

        found = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)
        return tuple(dict.fromkeys(found))

    async def caa(self, name: str) -> tuple[CaaRecord, ...] | None:
        return None


class RecordLookup(Protocol):
    """What ``acme_client.dns.lookup.Lookup`` can do."""

    async def records(self, name: str, kind: str) -> tuple[str, ...]: ...


class DnsResolver:
    """Asks DNS itself, as a CA does: hosts files and the like do not count."""

    def __init__(self, lookup: RecordLookup) -> None:
        self._lookup = lookup

    async def addresses(self, name: str) -> tuple[str, ...]:
        v4 = await self._lookup.records(name, "A")
        return v4 + await self._lookup.records(name, "AAAA")

    async def caa(self, name: str) -> tuple[CaaRecord, ...] | None:
        return tuple(map(CaaRecord.parse, await self._lookup.records(name, "CAA")))


async def bounded(
    subject: str, probe: Callable[[], Awaitable[list[Finding]]], seconds: float = PROBE_SECONDS
) -> list[Finding]:
    """A probe's findings, or one that says that it came to no end."""
    with anyio.move_on_after(seconds):
        return await probe()
    return [Finding(Level.NOTE, subject, f"not known: no answer within {seconds:g} s")]


# DNS.


async def find_addresses(resolver: Resolver, name: str) -> tuple[tuple[str, ...], list[Finding]]:
    """Where a name leads, and what is to be said about that."""
    if ip_address(name) is not None:
        return (name,), []
    try:
        found = await resolver.addresses(name)
    except (NotPresented, OSError) as error:
        text = f"{name} cannot be looked up: {_reason(error)}"
        return (), [Finding(Level.PROBLEM, "dns", text)]
    if not found:
        text = f"{name} has neither an A nor an AAAA record; add one that leads to this machine"
        return (), [Finding(Level.PROBLEM, "dns", text)]
    return found, [_judge_addresses(name, found)]


def _judge_addresses(name: str, found: Sequence[str]) -> Finding:
    listed = ", ".join(found)
    strangers = [address for address in found if not is_own_address(address)]
    if not strangers:
        return Finding(Level.OK, "dns", f"{name} leads to {listed}, which is this machine")
    return Finding(
        Level.NOTE,
        "dns",
        f"{name} leads to {listed}; {', '.join(strangers)} is no address of this machine "
        "(right behind NAT, a load balancer or a CDN, wrong otherwise)",
    )


def is_own_address(address: str) -> bool:
    """Whether this machine has the address; nothing is sent to find out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def check_caa(resolver: Resolver, name: str, identities: Sequence[str]) -> list[Finding]:
    """Whether the domain's CAA records let a CA of these identities issue."""
    if ip_address(name) is not None:
        return []
    for ancestor in ancestors(name):
        try:
            records = await resolver.caa(ancestor)
        except (NotPresented, OSError, ValueError) as error:
            # RFC 8659 §3: a CA must not issue when it gets no answer.
            text = f"the CAA records of {ancestor} cannot be looked up, so no CA may issue: {error}"
            return [Finding(Level.PROBLEM, "caa", text)]
        if records is None:
            text = "CAA records were not looked at: that needs pip install 'vestibule[dns]'"
            return [Finding(Level.NOTE, "caa", text)]
        if records:
            return [_judge_caa(name, ancestor, records, identities)]
    return [Finding(Level.OK, "caa", f"no CAA record restricts {name}")]


def _judge_caa(
    name: str, holder: str, records: Sequence[CaaRecord], identities: Sequence[str]
) -> Finding:
    if not identities:
        listed = ", ".join(map(str, records))
        text = f"{holder} has {listed}; the CA does not say what it calls itself there"
        return Finding(Level.NOTE, "caa", text)
    reason = why_not(records, identities, wildcard=is_wildcard(name))
    if reason is None:
        return Finding(Level.OK, "caa", f"the CAA records of {holder} allow this CA")
    text = f"the CAA records of {holder} do not allow this CA ({', '.join(identities)}): {reason}"
    return Finding(Level.PROBLEM, "caa", text)


# The ports.


@dataclass(frozen=True, slots=True)
class Doors:
    """Where to knock on behalf of a CA."""

    http: int | None = 80
    """None: HTTP-01 is not used."""
    https: int | None = 443
    ours: bool = True
    """Whether we listen on these ports ourselves; otherwise somebody forwards them to us."""

    @property
    def level(self) -> Level:
        """What it means that nobody opens."""
        return Level.PROBLEM if self.ours else Level.NOTE


@dataclass(frozen=True, slots=True)
class Proof:
    """A challenge of our own making: a token, and the answer that only we give."""

    token: str
    answer: str


async def knock_http(
    name: str, addresses: Sequence[str], doors: Doors, proof: Proof | None
) -> list[Finding]:
    """Whether an answer to HTTP-01 would be found; without a ``proof`` only who answers."""
    assert doors.http is not None
    subject = f"port {doors.http}"
    findings = []
    for address in addresses[:MAX_ADDRESSES]:
        where = _written(address, doors.http)
        try:
            body = await _get(address, doors.http, name, proof.token if proof else "probe")
        except (OSError, TimeoutError) as error:
            text = f"{where} does not answer from here: {_reason(error)}"
            findings.append(Finding(doors.level, subject, text))
            continue
        if proof is None:
            findings.append(Finding(Level.OK, subject, f"{where} answers"))
        elif proof.answer.encode() in body:
            text = f"{where} gives our answers to challenges"
            findings.append(Finding(Level.OK, subject, text))
        else:
            status = body.split(b"\r\n", 1)[0][:60].decode("ascii", "replace") or "nothing"
            text = (
                f"{where} is answered by somebody else (or an old process of ours): {status!r} "
                f"where our answer to a challenge should be; everything under {CHALLENGE_PATH} "
                "must reach Vestibule"
            )
            findings.append(Finding(Level.PROBLEM, subject, text))
    return findings


async def _get(address: str, port: int, name: str, token: str) -> bytes:
    host = f"[{name}]" if ":" in name else name
    request = (
        f"GET {CHALLENGE_PATH}{token} HTTP/1.1\r\nHost: {host}\r\n"
        "User-Agent: vestibule-doctor\r\nConnection: close\r\n\r\n"
    )
    received = b""
    with anyio.fail_after(CONNECT_SECONDS):
        async with await anyio.connect_tcp(address, port) as stream:
            await stream.send(request.encode("ascii"))
            while len(received) < MAX_ANSWER_BYTES:
                try:
                    received += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
    return received


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate that should be served."""

    fingerprint: str | None = None
    """None: there is none yet."""
    key_type: str | None = None
    """Where there are several: shown to a client that can read this kind alone."""

    def __str__(self) -> str:
        return f"{self.key_type} certificate" if self.key_type else "certificate"


async def knock_https(
    name: str, addresses: Sequence[str], doors: Doors, wanted: Sequence[Wanted]
) -> list[Finding]:
    """Who answers TLS for a name, and whether with the certificates that are stored."""
    return [
        await _knock_https(name, address, doors, one)
        for address in addresses[:MAX_ADDRESSES]
        for one in wanted
    ]


async def _knock_https(name: str, address: str, doors: Doors, wanted: Wanted) -> Finding:
    assert doors.https is not None
    subject, where = f"port {doors.https}", _written(address, doors.https)
    try:
        shown = await anyio.to_thread.run_sync(
            _handshake, address, doors.https, name, wanted.key_type, abandon_on_cancel=True
        )
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        nothing_fits = "unrecognized name" in reason or "handshake failure" in reason
        if nothing_fits and wanted.fingerprint is None:
            return Finding(
                Level.OK, subject, f"{where} answers, and has no {wanted} for {name} yet"
            )
        only = "" if wanted.key_type is None else f" for a client of {wanted.key_type} alone"
        # TLS 1.2 is how that client is made; a server may well refuse that.
        level = Level.NOTE if "protocol version" in reason else doors.level
        return Finding(level, subject, f"{where}: no TLS with {name}{only}: {reason}")
    except (OSError, TimeoutError) as error:
        text = f"{where} does not answer from here: {_reason(error)}"
        return Finding(doors.level, subject, text)
    if wanted.fingerprint is None:
        return Finding(Level.OK, subject, f"{where} answers TLS")
    if shown == wanted.fingerprint:
        return Finding(Level.OK, subject, f"{where} serves the stored {wanted}")
    text = f"{where} serves another {wanted} for {name} than the one that is stored"
    return Finding(Level.NOTE, subject, text)


def _handshake(address: str, port: int, name: str, key_type: str | None) -> str | None:
    """The fingerprint of what is shown; nothing is verified, for that is not the question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if key_type is not None:
        # Before TLS 1.3 the cipher suite says what kind of key there must be; how to offer
        # signature algorithms is beyond the ssl module.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+aRSA" if key_type.startswith("rsa") else "ECDHE+aECDSA")
    is_address = ip_address(name) is not None
    # A wildcard stands for any label.
    server_name = None if is_address else name.replace("*.", "vestibule-doctor.", 1)
    with (
        socket.create_connection((address, port), timeout=CONNECT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=server_name) as tls,
    ):
        leaf = tls.getpeercert(binary_form=True)
    return None if leaf is None else hashlib.sha256(leaf).hexdigest()


def _written(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "time is up (a firewall, as a rule)"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)  # its number is none of the system's errors
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)  # asyncio has a text of its own in its place
    return str(error) or type(error).__name__


# The CA.


def judge_sight(label: str, sight: Sight) -> list[Finding]:
    """What a CA says of itself against what is set for it (pure)."""
    directory = sight.directory
    findings = [Finding(Level.OK, "ca", f"{label} answers ({directory.url})")]
    if directory.external_account_required and not (sight.has_binding or sight.has_account):
        text = f"{label} wants external account binding: set eab with its key id and HMAC key"
        findings.append(Finding(Level.PROBLEM, "ca", text))
    findings += judge_profile(label, directory, sight.profile)
    return [*findings, judge_clock(label, sight.clock_ahead)]


def judge_profile(label: str, directory: Directory, wanted: str | None) -> list[Finding]:
    """Whether a CA has the profile that an issuer or a site asks for (pure)."""
    if wanted is None or wanted in directory.profiles:
        return []
    offers = ", ".join(sorted(directory.profiles)) or "none"
    text = f"{label} has no profile {wanted!r}; it offers {offers}"
    return [Finding(Level.PROBLEM, "ca", text)]


def judge_clock(label: str, ahead: timedelta) -> Finding:
    """``ahead``: how far the CA's clock is ahead of ours (pure)."""
    off = abs(ahead)
    way = "behind" if ahead > timedelta(0) else "ahead of"
    text = f"this machine's clock is {off.total_seconds():.0f} s {way} that of {label}"
    if off >= CLOCK_PROBLEM:
        text += "; certificates may seem not yet valid or expired: set it right (NTP)"
        return Finding(Level.PROBLEM, "clock", text)
    if off >= CLOCK_NOTE:
        return Finding(Level.NOTE, "clock", text)
    return Finding(Level.OK, "clock", f"this machine's clock agrees with that of {label}")


async def look_at_ca(
    label: str, look: Callable[[], Awaitable[Sight]]
) -> tuple[Sight | None, list[Finding]]:
    """A CA as it is now, and what is to be said about that."""
    with anyio.move_on_after(PROBE_SECONDS):
        try:
            sight = await look()
        except AcmeClientError as error:
            text = str(error)
            if not text.startswith(f"{label} "):
                text = f"{label} cannot be used now: {text}"
            return None, [Finding(Level.PROBLEM, "ca", text)]
        return sight, judge_sight(label, sight)
    text = f"{label} does not answer within {PROBE_SECONDS:g} s"
    return None, [Finding(Level.PROBLEM, "ca", text)]
