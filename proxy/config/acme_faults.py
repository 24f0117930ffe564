"""What is wrong between the keys that certificates are obtained by (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from proxy.config.acme import AcmeTable, ForSite, KeyType, OnDemandTable, SiteAcme
from proxy.config.fields import ANY_NAME, DIRECTORIES, is_ip

Fault = tuple[tuple[str | int, ...], str, object]

FOR_ADDRESSES = frozenset({"letsencrypt", "letsencrypt-staging"})
"""The named CAs that certify IP addresses (under a profile of six days)."""
SHORT_LIVED = "shortlived"


def faults_of_acme(acme: AcmeTable) -> Iterator[Fault]:
    """What is wrong in ``[acme]`` itself."""
    yield from _faults_of_key_types(acme.key_types, ("acme", "key_types"))
    names: dict[str, str] = {}
    directories: dict[str, str] = {}
    for place, issuer in enumerate(acme.issuers):
        here = ("acme",) if place == 0 else ("acme", "fallbacks", place - 1)
        url = DIRECTORIES.get(issuer.directory, issuer.directory)
        if url in directories:
            # An account, a ledger and kept orders belong to a directory.
            message = f"{issuer.directory!r} is already the CA of {directories[url]}"
            yield (*here, "directory"), message, issuer.directory
        elif issuer.name in names:
            message = f"{issuer.name!r} is already the name of {names[issuer.name]}"
            yield (*here, "name"), message, issuer.name
        directories.setdefault(url, issuer.key)
        names.setdefault(issuer.name, issuer.key)
        if issuer.is_internal and issuer.eab is not None:
            yield (*here, "eab"), "the internal CA has no accounts", issuer.eab
    for place, hook in enumerate(acme.hooks):
        if (hook.command is None) == (hook.call is None):
            message = "needs command = [...] or call = 'module:function', one of them"
            yield ("acme", "hooks", place), message, hook
    if acme.dns is not None and "dns-01" not in acme.challenges:
        message = "dns-01 is not among acme.challenges; add it, or take this table out"
        yield ("acme", "dns"), message, acme.dns


def faults_of_site(
    acme: AcmeTable,
    own: SiteAcme | None,
    found: ForSite,
    names: Sequence[str],
    here: tuple[str | int, ...],
    *,
    on_demand: bool,
) -> Iterator[Fault]:
    """What is wrong about obtaining certificates for a site that brings none of its own."""
    known = [issuer.name for issuer in acme.issuers]
    for place, name in enumerate((own and own.issuers) or ()):
        if name not in known:
            message = f"{name!r} is no CA of [acme]; allowed are {', '.join(known)}"
            yield (*here, "acme", "issuers", place), message, name
    if own is not None and own.key_types is not None:
        yield from _faults_of_key_types(own.key_types, (*here, "acme", "key_types"))
    if not found.issuers or all(issuer.is_internal for issuer in found.issuers):
        return
    wanted = (own and own.challenges) or acme.challenges
    if not found.challenges:
        if "http-01" in wanted:
            message = "must not be empty: the CA asks for http-01 challenges on port 80"
            yield ("listen", "http"), message, ()
        else:
            table = (*here, "acme") if own is not None and own.challenges else ("acme",)
            message = (
                "dns-01 needs to know how: set acme.dns, such as { provider = 'rfc2136', ... }"
            )
            yield (*table, "challenges"), message, wanted
        return
    for place, name in enumerate(names):
        if reason := _why_no_certificate(name, found, wanted, on_demand=on_demand):
            yield (*here, "names", place), reason, name


def faults_of_on_demand(
    table: OnDemandTable | None, sites: Sequence[tuple[Sequence[str], bool]]
) -> Iterator[Fault]:
    """``sites``: the names of each, and whether it is on demand."""
    if table is not None and not any(on_demand for _, on_demand in sites):
        message = "no site has on_demand = true, so no name would be asked for"
        yield ("on_demand",), message, table
    for i, (names, on_demand) in enumerate(sites):
        here = ("sites", i)
        if on_demand and table is None:
            message = "needs the table on_demand = { ask = ... } at the top"
            yield (*here, "on_demand"), message, on_demand
        for j, name in enumerate(names):
            if name == ANY_NAME and not on_demand:
                message = "'*' is any name at all: that needs on_demand = true"
                yield (*here, "names", j), message, name
            elif on_demand and name != ANY_NAME and not name.startswith("*."):
                message = (
                    f"{name!r}: with on_demand = true a name stands for many, such as "
                    "*.example.com; this one belongs into a site of its own"
                )
                yield (*here, "names", j), message, name


def _faults_of_key_types(
    key_types: Sequence[KeyType], here: tuple[str | int, ...]
) -> Iterator[Fault]:
    families: dict[str, str] = {}
    for place, key_type in enumerate(key_types):
        family = "RSA" if key_type.startswith("rsa") else "ECDSA"
        if family in families:
            # OpenSSL keeps one chain for each of the two.
            message = f"{key_type!r} stands beside {families[family]!r}; one {family} key is served"
            yield (*here, place), message, key_type
        families.setdefault(family, key_type)


def _why_no_certificate(
    name: str, found: ForSite, wanted: Sequence[str], *, on_demand: bool
) -> str | None:
    directories = [issuer.directory for issuer in found.issuers]
    public = [directory for directory in directories if directory in DIRECTORIES]
    all_public = len(public) == len(directories)
    if is_ip(name):
        return _why_not_for_address(name, found, directories)
    if name.startswith("*.") and not on_demand and "dns-01" not in found.challenges:
        needs = (
            "set acme.dns, so that dns-01 can"
            if "dns-01" in wanted
            else "add dns-01 to the challenges and set acme.dns"
        )
        others = " or ".join(kind for kind in wanted if kind != "dns-01") or "no challenge"
        return (
            f"{name!r}: a wildcard cannot be proved over {others} "
            "(RFC 8555 §8.3, RFC 8737 §3), because a star is no host that the CA could ask; "
            f"{needs}, list the names one by one, "
            "or give the site a certificate = { chain, key }"
        )
    # Private CAs may well issue for a bare name.
    if "." not in name and name != ANY_NAME and all_public:
        return (
            f"{name!r} is no public name, so {public[0]} issues no certificate for it; "
            "use directory = 'internal', or give the site a certificate = { chain, key }"
        )
    return None


def _why_not_for_address(name: str, found: ForSite, directories: Sequence[str]) -> str | None:
    other = "give the site a certificate = { chain, key }, or use directory = 'internal'"
    able = [d for d in directories if d not in DIRECTORIES or d in FOR_ADDRESSES]
    if not able:
        return f"{name!r}: {directories[0]} issues no certificate for an IP address; {other}"
    if not {"http-01", "tls-alpn-01"} & set(found.challenges):
        return f"{name!r}: an IP address cannot be proved over dns-01 (RFC 8738 §7); {other}"
    if all(directory in FOR_ADDRESSES for directory in able):
        if not ip_address(name).is_global:
            return f"{name!r} is no public address, so {able[0]} does not certify it; {other}"
        profiles = {found.profile or issuer.profile for issuer in found.issuers}
        if not profiles & {None, SHORT_LIVED}:
            return (
                f"{name!r}: {able[0]} certifies addresses under the profile 'shortlived' only; "
                "set profile = 'shortlived' or none"
            )
    return None
