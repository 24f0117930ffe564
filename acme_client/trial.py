"""A new certificate is tried before it takes the place of a working one.

``checks`` reads a chain and key as the standards do; this asks the library that will serve them.
The pair is loaded into a throw-away context (a ``load_cert_chain`` that fails half-way spoils the
context it was called on, for every later handshake), and a client in the same memory shakes hands
with it: so the key can sign, and the bytes that arrive are the leaf.

``ssl`` loads keys from files only. The file used here is anonymous memory (memfd), where there is
such a thing; the key touches no disk.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from acme_client.checks import parse_chain
from acme_client.errors import BadCertificate

ROUNDS = 10
"""A TLS 1.3 handshake takes two; more means that it will not end."""


def try_certificate(chain_pem: str, key_pem: str) -> None:
    """Serve the pair to ourselves once; BadCertificate if that fails."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with secret_file(key_pem) as key_file, secret_file(chain_pem) as chain_file:
            server_context.load_cert_chain(chain_file, key_file)
        served = _handshake(server_context)
    except ssl.SSLError as error:
        raise BadCertificate(f"OpenSSL cannot serve the certificate: {error}") from error
    if served != parse_chain(chain_pem)[0].public_bytes(Encoding.DER):
        raise BadCertificate("a handshake with itself brought another certificate")


@contextmanager
def secret_file(text: str) -> Iterator[str]:
    """The path of a private file with this text, while the block runs."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pem", os.MFD_CLOEXEC)
        try:
            with open(fd, "w", closefd=False) as file:
                file.write(text)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.TemporaryDirectory() as folder:  # a 0700 folder
        path = Path(folder, "pem")
        path.write_text(text)
        yield str(path)


def _handshake(server_context: ssl.SSLContext) -> bytes | None:
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Names, dates and chain are judged in checks, where the clock is an argument.
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = {client, server}
    for _ in range(ROUNDS):
        for side in (client, server):
            if side in waiting:
                try:
                    side.do_handshake()
                    waiting.discard(side)
                except ssl.SSLWantReadError:
                    continue
        if not waiting:
            return client.getpeercert(binary_form=True)
    raise BadCertificate("a handshake with itself does not end")
