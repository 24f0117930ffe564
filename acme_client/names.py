"""Names as certificates carry them: checked, in one canonical spelling (pure).

A name is a DNS name in A-label form (RFC 5890), in lower case and without the final dot; such a
name behind one ``*.`` (RFC 6125 §6.4.3); or an IP address in its canonical text form (RFC 5952,
RFC 8738 §3). Underscores are refused: no public CA may certify them, and so they are free to mark
what is not a name in a certificate's id.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re

import idna

from acme_client.errors import RequestError

MAX_NAME_LENGTH = 253
"""RFC 1035 §2.3.4, without the final dot."""

MAX_ID_LENGTH = 200
"""File names end at 255 bytes, and an id gets a suffix for its key type."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def ip_address(name: str) -> IPAddress | None:
    """The address that this name is, or None for a DNS name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def is_wildcard(name: str) -> bool:
    return name.startswith("*.")


def normalise(name: str) -> str:
    """The canonical spelling of a name, or RequestError saying what is wrong with it."""
    text = name.strip()
    if (address := ip_address(text.removeprefix("[").removesuffix("]"))) is not None:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise RequestError(f"name {name!r}: an address with a zone cannot be certified")
        return str(address)
    star, base = ("*.", text[2:]) if is_wildcard(text) else ("", text)
    base = base.removesuffix(".")
    if not base.isascii():
        try:
            # UTS 46 maps what people type (upper case, full-width dots) before RFC 5891 judges it.
            base = idna.encode(base, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise RequestError(f"name {name!r} is no valid international name: {error}") from error
    base = base.lower()
    labels = base.split(".")
    if len(base) > MAX_NAME_LENGTH:
        raise RequestError(f"name {name!r} is longer than {MAX_NAME_LENGTH} characters")
    if not all(map(_LABEL.match, labels)):
        raise RequestError(
            f"name {name!r}: each label must be 1 to 63 of a-z, 0-9 and '-', "
            "with no '-' at either end; '*' may only be the whole first label"
        )
    if labels[-1].isdigit():
        # WHATWG URL: a host whose last label is a number is parsed as an IPv4 address.
        raise RequestError(f"name {name!r} ends in a number but is no IP address")
    return star + base


def reverse_name(address: IPAddress) -> str:
    """The DNS name that stands for an address in SNI during TLS-ALPN-01 (RFC 8738 §6)."""
    return address.reverse_pointer


def certificate_id(first_name: str) -> str:
    """A file-system-safe name for the certificate of a (normalised) first name.

    ``*.example.com`` becomes ``_.example.com`` and ``2001:db8::1`` becomes
    ``ip6_2001-db8--1``: both hold an underscore, so no name of another certificate is the same.
    """
    if is_wildcard(first_name):
        text = "_" + first_name[1:]
    elif ":" in first_name:
        text = "ip6_" + first_name.replace(":", "-")
    else:
        text = first_name
    if len(text) <= MAX_ID_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{text[: MAX_ID_LENGTH - len(digest) - 1]}_{digest}"
