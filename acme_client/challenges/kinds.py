"""The challenge kinds, and which of them a name can use (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from acme_client.names import ip_address, is_wildcard

TLS_ALPN_01 = "tls-alpn-01"
"""RFC 8737: a special certificate on port 443."""
HTTP_01 = "http-01"
"""RFC 8555 §8.3: a file on port 80."""
DNS_01 = "dns-01"
"""RFC 8555 §8.4: a TXT record."""

CHALLENGE_KINDS = (TLS_ALPN_01, HTTP_01, DNS_01)


def usable_kinds(name: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Those of the allowed kinds that can prove control of ``name``, in their order."""
    if is_wildcard(name):
        # RFC 8555 §8.3, RFC 8737 §3: a star has no host to connect to.
        return tuple(kind for kind in allowed if kind == DNS_01)
    if ip_address(name) is not None:
        # RFC 8738 §7: DNS-01 must not be used for addresses.
        return tuple(kind for kind in allowed if kind != DNS_01)
    return tuple(allowed)


def choose_kind(
    offered: Iterable[str], usable: Sequence[str], worked: str | None, failed: Iterable[str]
) -> str | None:
    """The kind to try now, or None when the CA offers none that can be used.

    1. the one that worked last,
    2. else the most preferred that has not failed since the last success,
    3. else (all have failed) the one whose failure is longest ago.

    ``failed`` lists failures since the last success, oldest first.
    """
    candidates = [kind for kind in usable if kind in set(offered)]
    failures = list(failed)
    untried = [kind for kind in candidates if kind not in failures]
    if worked in untried:
        return worked
    if untried:
        return untried[0]
    # The last entry of a kind counts; the kind whose last entry comes first is the oldest.
    latest = {kind: at for at, kind in enumerate(failures)}
    return min(candidates, key=latest.__getitem__, default=None)
