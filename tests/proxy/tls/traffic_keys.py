"""The client's half of a TLS 1.3 record layer, to send what no library can be told to send."""

from __future__ import annotations

import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HANDSHAKE = 22
APPLICATION_DATA = 23

KEY_UPDATE = b"\x18\x00\x00\x01\x01"
"""With update_requested (RFC 8446 §4.6.3)."""


class TrafficKeys:
    """For TLS_AES_256_GCM_SHA384, from the secret in a key log."""

    def __init__(self, key_log: Path) -> None:
        lines = [line.split() for line in key_log.read_text().splitlines()]
        self._set(bytes.fromhex({line[0]: line[-1] for line in lines}["CLIENT_TRAFFIC_SECRET_0"]))

    def _set(self, secret: bytes) -> None:
        # RFC 8446 §7.3
        self.secret = secret
        self.aead = AESGCM(self._expand("key", 32))
        self.iv = int.from_bytes(self._expand("iv", 12), "big")
        self.sequence = 0

    def _expand(self, label: str, length: int) -> bytes:
        # HKDF-Expand-Label of RFC 8446 §7.1, with an empty context
        name = b"tls13 " + label.encode()
        info = struct.pack("!HB", length, len(name)) + name + b"\0"
        return HKDFExpand(SHA384(), length, info).derive(self.secret)

    def seal(self, content: bytes, content_type: int = APPLICATION_DATA) -> bytes:
        """One record (RFC 8446 §5.2)."""
        header = b"\x17\x03\x03" + struct.pack("!H", len(content) + 17)
        nonce = (self.iv ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return header + self.aead.encrypt(nonce, content + bytes((content_type,)), header)

    def update(self) -> bytes:
        """A KeyUpdate record; what follows uses the next keys (RFC 8446 §7.2)."""
        record = self.seal(KEY_UPDATE, HANDSHAKE)
        self._set(self._expand("traffic upd", 48))
        return record
