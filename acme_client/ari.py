"""How ARI names a certificate (RFC 9773 §4.1; pure)."""

from __future__ import annotations

import base64

from cryptography import x509

from acme_client.checks import parse_chain


def certificate_identifier(chain_pem: str) -> str | None:
    """base64url(authority key identifier) "." base64url(serial number), or None without the former.

    The serial number is the content of its DER integer: big-endian, and with a leading zero byte
    where its first bit is set.
    """
    leaf = parse_chain(chain_pem)[0]
    try:
        extension = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    key_identifier = extension.value.key_identifier
    if key_identifier is None:
        return None
    serial = leaf.serial_number
    return f"{_encode(key_identifier)}.{_encode(serial.to_bytes(serial.bit_length() // 8 + 1))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
