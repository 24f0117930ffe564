"""TXT look-ups of the CA at a real DNS server. Needs the extra ``dns`` (dnspython).

::

    ca.settings.lookup_txt = ask_server("127.0.0.1", 5353)
"""

from __future__ import annotations

from collections.abc import Callable

MAX_ALIASES = 8


def ask_server(address: str, port: int = 53, timeout: float = 5.0) -> Callable[[str], list[str]]:
    """A ``lookup_txt`` that asks this server for everything, and follows CNAMEs there."""
    import dns.exception
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdatatype

    def lookup(name: str) -> list[str]:
        wanted = dns.name.from_text(name)
        for _ in range(MAX_ALIASES):
            query = dns.message.make_query(wanted, dns.rdatatype.TXT)
            try:
                response, _tcp = dns.query.udp_with_fallback(query, address, timeout, port)
            except (dns.exception.DNSException, OSError) as error:
                raise LookupError(f"{address}:{port} did not answer: {error!r}") from None
            if response.rcode() == dns.rcode.NXDOMAIN:
                return []
            if response.rcode() != dns.rcode.NOERROR:
                raise LookupError(dns.rcode.to_text(response.rcode()))
            records = {(rrset.name, rrset.rdtype): rrset for rrset in response.answer}
            while alias := records.pop((wanted, dns.rdatatype.CNAME), None):
                wanted = alias[0].target
            texts = records.get((wanted, dns.rdatatype.TXT))
            if texts is not None:
                return [b"".join(record.strings).decode("utf-8", "replace") for record in texts]
            if not response.answer:
                return []
        raise LookupError(f"more than {MAX_ALIASES} aliases")

    return lookup
