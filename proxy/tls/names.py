"""Host names in normal form, and what a wildcard covers.

Every name is compared in one form: lower-case ASCII, international labels as A-labels (IDNA 2008,
RFC 5890), no trailing dot. The configuration brings what people write into that form, the
ClientHello parser and the certificate reader what arrives in bytes; after that, equality of
strings is equality of names.

A wildcard is ``*.`` and a name. It covers exactly one label in place of the star (RFC 9525 §6.3,
as RFC 6125 §6.4.3 before it): ``*.example.com`` covers ``a.example.com``, neither
``example.com`` nor ``a.b.example.com``. Partial stars (``a*.example.com``) do not exist here.

An underscore is let through. No host name has one by RFC 952, but names that contain it are
looked up and connected to, and refusing them here would only hide that no site has them.
"""

from __future__ import annotations

import re
from typing import Final

WILDCARD: Final = "*."

NAME_BYTES: Final = 253
"""The longest name that fits into the 255 octets of RFC 1035 §2.3.4 without its root label."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# RFC 1123 §2.1 and the URL standard: with a last label of digits only it is an IPv4 address, or
# a slip of one, and never a host name.
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}", re.ASCII)


def is_host_name(name: str) -> bool:
    """Whether ``name`` is a host name in normal form; neither wildcards nor addresses are."""
    return len(name) <= NAME_BYTES and _NAME.fullmatch(name) is not None


def is_wildcard(name: str) -> bool:
    """Whether ``name`` (in normal form) is a wildcard."""
    return name.startswith(WILDCARD)


def parent(name: str) -> str:
    """``name`` without its first label; empty for a single label."""
    return name.partition(".")[2]


def covers(pattern: str, name: str) -> bool:
    """Whether ``pattern``, a name or a wildcard, covers the host name; both in normal form."""
    if is_wildcard(pattern):
        return parent(name) == pattern[len(WILDCARD) :]
    return pattern == name
