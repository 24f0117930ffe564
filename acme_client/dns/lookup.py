"""Asking DNS: aliases, zones, the servers of a zone, and what each of them says.

Two kinds of servers are asked. *Resolvers* (those of ``/etc/resolv.conf``, or as configured) find
things out: where a name is an alias to, which zone it is in, which servers the zone has. A zone's
*authoritative servers* are asked one by one, without recursion, what they give out right now,
because that is what a CA sees: caches of resolvers lie in between for nobody but us.

Every question has a time limit and few tries; chains, servers and addresses have caps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from acme_client.dns.addresses import DNS_PORT, ServerAddress
from acme_client.dns.extras import MissingExtra
from acme_client.dns.provider import in_thread
from acme_client.errors import NotPresented

try:
    import dns.asyncquery
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdatatype
    import dns.resolver
except ModuleNotFoundError as error:
    raise MissingExtra("looking up DNS records", "dnspython", "dns") from error

QUERY_SECONDS = 3.0
"""For one question to one server, TCP after a truncated answer included."""
TRIES = 2
"""How often all resolvers are asked in turn."""
MAX_RESOLVERS = 4
MAX_ALIASES = 8
"""As CAs allow; a longer chain is a loop."""
MAX_SERVERS = 16
"""Addresses of authoritative servers that are asked per zone."""
MAX_LABELS = 128


@dataclass(frozen=True, slots=True, order=True)
class AuthoritativeServer:
    """One address of one name server of a zone."""

    host: str
    where: ServerAddress

    def __str__(self) -> str:
        return f"{self.host} ({self.where})" if self.host != str(self.where) else self.host


class LookupFailed(NotPresented):
    """DNS gave no usable answer."""

    kind = "dns"


class Lookup:
    """Questions to DNS, each bounded in time."""

    def __init__(
        self,
        resolvers: Sequence[ServerAddress] = (),
        *,
        authoritative: Sequence[ServerAddress] = (),
        authoritative_port: int = DNS_PORT,
        query_seconds: float = QUERY_SECONDS,
    ) -> None:
        """``authoritative`` stands in for the servers that NS records name (a hidden primary,
        split horizon); ``authoritative_port`` is where those named by NS records listen."""
        self._configured = tuple(resolvers)
        self._authoritative = tuple(authoritative)
        self._port = authoritative_port
        self._query_seconds = query_seconds

    def __repr__(self) -> str:
        resolvers = ", ".join(map(str, self._configured)) or "those of the system"
        return f"<Lookup through {resolvers}>"

    async def follow_aliases(self, name: str) -> str:
        """Where CNAME records lead from a name; the name itself when there is none."""
        current = dns.name.from_text(name)
        for _ in range(MAX_ALIASES):
            answer = await self._resolve(current, dns.rdatatype.CNAME)
            target = _alias_of(answer, current)
            if target is None:
                return _text(current)
            current = target
        raise LookupFailed(f"{name}: more than {MAX_ALIASES} CNAME records one after another")

    async def zone_of(self, name: str) -> str:
        """The zone that a name is in: the nearest ancestor that has an SOA record."""
        current = dns.name.from_text(name)
        for _ in range(MAX_LABELS):
            answer = await self._resolve(current, dns.rdatatype.SOA)
            for section in (answer.answer, answer.authority):
                for rrset in section:
                    # A negative answer names its zone in the authority section (RFC 2308 §3).
                    if rrset.rdtype == dns.rdatatype.SOA and current.is_subdomain(rrset.name):
                        return _text(rrset.name)
            if current == dns.name.root:
                break
            current = current.parent()
        raise LookupFailed(f"{name}: no zone found that it belongs to")

    async def servers_of(self, zone: str) -> tuple[AuthoritativeServer, ...]:
        """Every address of every authoritative server of a zone, up to a cap."""
        if self._authoritative:
            return tuple(AuthoritativeServer(str(s), s) for s in self._authoritative)
        apex = dns.name.from_text(zone)
        answer = await self._resolve(apex, dns.rdatatype.NS)
        hosts = [
            record.target
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.NS and rrset.name == apex
            for record in rrset
        ]
        if not hosts:
            raise LookupFailed(f"zone {zone}: it has no NS records")
        found: set[AuthoritativeServer] = set()

        async def look(host: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
            for address in await self._addresses(host, kind):
                found.add(AuthoritativeServer(_text(host), ServerAddress(address, self._port)))

        async with anyio.create_task_group() as group:
            for host in hosts[:MAX_SERVERS]:
                group.start_soon(look, host, dns.rdatatype.A)
                group.start_soon(look, host, dns.rdatatype.AAAA)
        servers = sorted(found)
        if not servers:
            named = ", ".join(_text(host) for host in sorted(hosts))
            raise LookupFailed(f"zone {zone}: none of its name servers ({named}) has an address")
        return tuple(servers[:MAX_SERVERS])

    async def texts_at(self, server: AuthoritativeServer, name: str) -> tuple[str, ...]:
        """The TXT records that one authoritative server gives out for a name."""
        wanted = dns.name.from_text(name)
        answer = await self._ask(server.where, wanted, dns.rdatatype.TXT, recurse=False)
        code = answer.rcode()
        if code == dns.rcode.NXDOMAIN:
            return ()
        if code != dns.rcode.NOERROR:
            raise LookupFailed(f"{server} answered {dns.rcode.to_text(code)} for {name}")
        return _texts(answer, wanted)

    async def texts(self, name: str) -> tuple[str, ...]:
        """The TXT records of a name, as the resolvers see them, aliases followed."""
        wanted = dns.name.from_text(name)
        answer = await self._resolve(wanted, dns.rdatatype.TXT)
        return _texts(answer, wanted)

    async def records(self, name: str, kind: str) -> tuple[str, ...]:
        """The records of a kind (``A``, ``CAA``) as the resolvers see them, in text form, behind
        the aliases that their answer has."""
        wanted = dns.rdatatype.from_text(kind)
        answer = await self._resolve(dns.name.from_text(name), wanted)
        return tuple(
            record.to_text()
            for rrset in answer.answer
            if rrset.rdtype == wanted
            for record in rrset
        )

    async def _addresses(self, host: dns.name.Name, kind: dns.rdatatype.RdataType) -> list[str]:
        try:
            answer = await self._resolve(host, kind)
        except LookupFailed:
            # One family, or one server of several, may well be out of reach.
            return []
        return [
            record.address for rrset in answer.answer if rrset.rdtype == kind for record in rrset
        ]

    async def _resolve(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> dns.message.Message:
        """Ask the resolvers in turn until one says yes or no."""
        problems: list[str] = []
        for _ in range(TRIES):
            for resolver in await in_thread(self._resolvers):
                try:
                    answer = await self._ask(resolver, name, kind, recurse=True)
                except LookupFailed as problem:
                    problems.append(str(problem))
                    continue
                if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return answer
                problems.append(f"{resolver} answered {dns.rcode.to_text(answer.rcode())}")
        wanted = f"{_text(name)} {dns.rdatatype.to_text(kind)}"
        reasons = "; ".join(dict.fromkeys(problems)) or "no resolver is configured"
        raise LookupFailed(f"{wanted} cannot be looked up: {reasons}")

    def _resolvers(self) -> Sequence[ServerAddress]:
        """Read anew each time: resolv.conf changes with the network."""
        if self._configured:
            return self._configured[:MAX_RESOLVERS]
        try:
            system = dns.resolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            return ()
        return [
            ServerAddress(address, system.port)
            for address in system.nameservers[:MAX_RESOLVERS]
            if isinstance(address, str)
        ]

    async def _ask(
        self,
        server: ServerAddress,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        *,
        recurse: bool,
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        if not recurse:
            query.flags &= ~dns.flags.RD
        try:
            # RFC 7766: over TCP when the answer was too long for UDP.
            answer, _ = await dns.asyncquery.udp_with_fallback(
                query, server.address, timeout=self._query_seconds, port=server.port
            )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise LookupFailed(f"{server} did not answer: {reason}") from error
        return answer


def _alias_of(answer: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
    for rrset in answer.answer:
        if rrset.rdtype == dns.rdatatype.CNAME and rrset.name == name:
            target = rrset[0].target
            assert isinstance(target, dns.name.Name)
            return target
    return None


def _texts(answer: dns.message.Message, name: dns.name.Name) -> tuple[str, ...]:
    """The TXT strings of a name in an answer, behind the aliases that the answer itself has."""
    for _ in range(MAX_ALIASES):
        target = _alias_of(answer, name)
        if target is None:
            break
        name = target
    return tuple(
        # RFC 8555 §8.4 and RFC 8659 §4.2 alike: the strings of a record are one text.
        b"".join(record.strings).decode("utf-8", "replace")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT and rrset.name == name
        for record in rrset
    )


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
