"""DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945): BIND, Knot, PowerDNS, Windows DNS and more.

The server must be one that takes updates, the primary as a rule. Which of its zones a name belongs
to it tells itself (SOA), unless the configuration does. Updates go over TCP: an answer then means
the update was seen, and its source is not forged.
"""

from __future__ import annotations

from acme_client.dns.addresses import ServerAddress
from acme_client.dns.credentials import Credentials, Secrets
from acme_client.dns.extras import MissingExtra
from acme_client.dns.lookup import Lookup
from acme_client.dns.provider import in_thread
from acme_client.errors import NotPresented, RequestError

try:
    import dns.asyncquery
    import dns.exception
    import dns.name
    import dns.rcode
    import dns.tsig
    import dns.update
except ModuleNotFoundError as error:
    raise MissingExtra("the provider rfc2136", "dnspython", "dns") from error

UPDATE_SECONDS = 10.0
TTL_SECONDS = 60
"""Short: the record lives for one validation."""

ALGORITHMS = (
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
    "hmac-sha224",
    "hmac-sha1",
    "hmac-md5",
)
DEFAULT_ALGORITHM = "hmac-sha256"


class Rfc2136Provider:
    """Updates one server's zones. Credentials: ``key_name``, ``key_secret`` (base64); or none."""

    def __init__(
        self,
        server: ServerAddress,
        credentials: Credentials | None = None,
        *,
        algorithm: str = DEFAULT_ALGORITHM,
        zone: str | None = None,
        ttl: int = TTL_SECONDS,
        seconds: float = UPDATE_SECONDS,
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise RequestError(f"TSIG algorithm {algorithm!r}: allowed are {', '.join(ALGORITHMS)}")
        if not 0 < ttl <= 86_400:
            raise RequestError(f"ttl {ttl}: allowed are 1 to 86400 seconds")
        self._server = server
        self._credentials = credentials
        self._algorithm = algorithm
        self._zone = zone
        self._ttl = ttl
        self._seconds = seconds
        # The server itself knows best which zones it has.
        self._lookup = Lookup([server], query_seconds=seconds)

    def __repr__(self) -> str:
        return f"<rfc2136 at {self._server}>"

    async def present(self, name: str, value: str) -> None:
        update = await self._update(name)
        update.add(dns.name.from_text(name), self._ttl, "TXT", _quoted(value))
        await self._send(update, name)

    async def clean_up(self, name: str, value: str) -> None:
        update = await self._update(name)
        # RFC 2136 §2.5.4: this record of the set, not the set.
        update.delete(dns.name.from_text(name), "TXT", _quoted(value))
        await self._send(update, name)

    async def _update(self, name: str) -> dns.update.UpdateMessage:
        zone = self._zone or await self._lookup.zone_of(name)
        apex = dns.name.from_text(zone)
        if not dns.name.from_text(name).is_subdomain(apex):
            raise RequestError(f"{name} is not in the zone {zone}")
        update = dns.update.UpdateMessage(apex)
        if self._credentials is not None:
            key = self._key(await in_thread(self._credentials.load))
            if key is not None:
                update.use_tsig(key)
        return update

    def _key(self, secrets: Secrets) -> dns.tsig.Key | None:
        if not secrets:
            return None
        what = "the provider rfc2136"
        name, secret = secrets.require("key_name", what), secrets.require("key_secret", what)
        try:
            return dns.tsig.Key(name, secret, self._algorithm)
        except (ValueError, dns.exception.DNSException):
            # The cause is not chained: it may quote the secret.
            raise RequestError(
                "credentials key_name and key_secret are no TSIG key (a name, base64)"
            ) from None

    async def _send(self, update: dns.update.UpdateMessage, name: str) -> None:
        try:
            answer = await dns.asyncquery.tcp(
                update, self._server.address, timeout=self._seconds, port=self._server.port
            )
        except dns.tsig.PeerError as error:
            # RFC 8945 §5.2: the key's name, its secret, or a clock is wrong.
            raise NotPresented(
                f"{self._server} refused the TSIG key: {_TSIG_REASONS.get(type(error), error)}"
            ) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise NotPresented(f"{self._server} did not take the update: {reason}") from error
        code = answer.rcode()
        if code != dns.rcode.NOERROR:
            hint = _HINTS.get(code, "")
            raise NotPresented(
                f"{self._server} refused the update of {name}: {dns.rcode.to_text(code)}{hint}"
            )


_TSIG_REASONS: dict[type[Exception], str] = {
    dns.tsig.PeerBadKey: "it does not know a key of that name and algorithm (BADKEY)",
    dns.tsig.PeerBadSignature: "the secret is another (BADSIG)",
    dns.tsig.PeerBadTime: "its clock and ours are too far apart (BADTIME)",
    dns.tsig.PeerBadTruncation: "it wants longer signatures (BADTRUNC)",
}

_HINTS = {
    dns.rcode.REFUSED: " (its update policy does not let this key do it)",
    dns.rcode.NOTAUTH: " (it is not authoritative for that zone, or wants a signature)",
    dns.rcode.NOTZONE: " (the name is not in that zone)",
}


def _quoted(value: str) -> str:
    """As in a master file; challenge values need no escapes, but other callers may."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
