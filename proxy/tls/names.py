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

from typing import Final

WILDCARD: Final = "*."

NAME_BYTES: Final = 253
"""The longest name that fits into the 255 octets of RFC 1035 §2.3.4 without its root label."""

_LABEL_BYTES: Final = 63  # RFC 1035 §2.3.4

_DOT: Final = 0x2E
_HYPHEN: Final = 0x2D
_UNDERSCORE: Final = 0x5F


def is_host_name(name: str) -> bool:
    """Whether ``name`` is a host name in normal form; neither wildcards nor addresses are."""
    return is_ascii_host_name(name.encode("ascii", "replace"))  # by "?", which is in no name


def is_ascii_host_name(name: bytes) -> bool:
    """As :func:`is_host_name`, of bytes.

    Labels are of letters, digits, underscores and, neither first nor last, hyphens (RFC 1123
    §2.1). With a last label of digits only it is an IPv4 address, or a slip of one, by the URL
    standard too, and never a host name.
    """
    # Byte by byte: compiled, a tenth of what the regular expression for it takes, which was here.
    size = len(name)
    if size > NAME_BYTES:
        return False
    length = 0  # of the label so far
    before = _DOT
    digits_only = True
    for at in range(size):
        byte = name[at]
        if 0x61 <= byte <= 0x7A or byte == _UNDERSCORE:
            digits_only = False
        elif byte == _DOT:
            if not length or length > _LABEL_BYTES or before == _HYPHEN:
                return False
            length = -1
            digits_only = True
        elif byte == _HYPHEN:
            if not length:
                return False
            digits_only = False
        elif not 0x30 <= byte <= 0x39:
            return False
        before = byte
        length += 1
    return 0 < length <= _LABEL_BYTES and before != _HYPHEN and not digits_only


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
