"""``ssl.SSLContext`` making: what is spoken, and how a site's certificate gets in.

**When contexts are made.** A context draws its session ticket keys when it is made, and Python
has no call to set them. So the parent makes the contexts, empty, before it forks; every worker
inherits the same ticket keys and later loads chain and key into its own copy. A session of one
worker resumes at another, the parent never holds a private key, and since every site has a context
of its own, no session resumes across sites (CVE-2025-23419) and none gets around a site's rule for
client certificates.

**How a certificate is renewed.** Into the live context: handshakes from then on get the new chain,
open connections keep what they have, and the ticket keys stay, so sessions go on resuming. A load
that fails half-way would break every later handshake of that context, so each pair is tried in a
context that is thrown away first.

OpenSSL keeps one chain for each key type. A new ECDSA pair replaces the old one, and ECDSA and RSA
side by side is just two loads; but nothing can take a chain out. When a key type goes away, the
site gets a new context, and the sessions of the old one fall back to a full handshake.

**What is spoken.** TLS 1.2 and 1.3; with 1.2 only ECDHE and AEAD. All these suites are strong, so
the cheapest for both ends is chosen: AES-128 before AES-256, and ChaCha20 with a client that puts
it first, because it has no AES in hardware. (The order for TLS 1.3 is ``openssl_settings``' or the
machine's own.) The groups are OpenSSL's (X25519 first; with OpenSSL 3.5 the
hybrid X25519MLKEM768 before it): ``set_ecdh_curve`` would leave just one of them.

**What it costs** (Python 3.11, OpenSSL 3.0): an empty context 0.13 ms and 12.5 KiB, so 10,000 of
them 1.4 s; with an ECDSA chain of two loaded 24 KiB, and the load 0.7 to 1.1 ms. A worker that
starts with thousands of sites leaves the load of each to its first handshake.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from proxy.errors import CertificateFileError
from proxy.tls.pem_pair import PemPair

# Level 2 refuses keys and signatures below 112 bits (RSA under 2048, SHA-1), wherever OpenSSL's
# own default lies.
_TLS_1_2_SUITES: Final = "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"

_PRIORITIZE_CHACHA: Final = 1 << 21
"""``SSL_OP_PRIORITIZE_CHACHA``, since OpenSSL 1.1.1; Python has no name for it."""

# RFC 8446 §4.6.1: one ticket a connection, and one more with each resumption, is what a client
# that keeps its connections open needs; OpenSSL's two cost 9 % of a full handshake.
_TICKETS: Final = 1

# OpenSSL has it since 3.0.
_IGNORE_UNEXPECTED_EOF: Final[int] = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)

_SHARED_MEMORY: Final = "/dev/shm"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """What a site's contexts are made of."""

    alpn: tuple[str, ...] = ("h2", "http/1.1")
    """In order of preference; may be empty."""
    client_certificate: Literal["none", "optional", "required"] = "none"
    client_ca: Path | None = None
    """The CAs whose client certificates are taken (PEM)."""


def make_context(options: TlsOptions) -> ssl.SSLContext:
    """A server context, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # OpenSSL is told of an end only after our close_notify, by TlsSession.close, which saves an
    # exception; the end of the TCP connection is told to HTTP, and never taken for close_notify.
    context.options |= _IGNORE_UNEXPECTED_EOF
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | _PRIORITIZE_CHACHA
    context.num_tickets = _TICKETS
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    if options.client_certificate != "none":
        if options.client_ca is None:
            raise CertificateFileError("client certificates are asked for, but no CA is given")
        _load_client_ca(context, options.client_ca)
        context.verify_mode = (
            ssl.CERT_REQUIRED if options.client_certificate == "required" else ssl.CERT_OPTIONAL
        )
    return context


def _load_client_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise CertificateFileError(f"the client CA {path} holds no certificate in PEM form") from (
            error
        )
    except OSError as error:
        raise CertificateFileError(
            f"the client CA {path} cannot be read: {error.strerror}"
        ) from error


class SiteContext:
    """The context of one site, from before it has a certificate to its last renewal."""

    __slots__ = ("_options", "_context", "_key_types", "current")

    def __init__(self, options: TlsOptions, *, lazily: bool = False) -> None:
        """Make the context; in the parent, before the fork.

        Lazily made, it comes with its first certificate: thousands of sites then cost nothing at
        the start, but each worker draws ticket keys of its own for the site.
        """
        self._options = options
        self._context = None if lazily else make_context(options)
        self._key_types: frozenset[str] = frozenset()
        self.current: ssl.SSLContext | None = None
        """The context for the next handshake, or None while there is no certificate."""

    def __repr__(self) -> str:
        state = " and ".join(sorted(self._key_types)) or "no certificate"
        return f"<SiteContext {state}>"

    @property
    def alpn(self) -> tuple[str, ...]:
        """The protocols spoken, in order of preference."""
        return self._options.alpn

    def install(self, pairs: Sequence[PemPair]) -> None:
        """Serve these from now on, at most one for each key type; all of them or, on
        :class:`CertificateFileError`, what was served before.
        """
        key_types = frozenset(pair.key_type for pair in pairs)
        if not pairs or len(key_types) != len(pairs):
            raise CertificateFileError(
                "a site needs one certificate, or one of each key type, not "
                + (" and ".join(pair.key_type for pair in pairs) or "none")
            )
        fresh = make_context(self._options)
        for pair in pairs:
            load_pair_into(fresh, pair)
        if self._context is None or not self._key_types <= key_types:
            self._context = fresh
        else:
            for pair in pairs:
                load_pair_into(self._context, pair)
        self._key_types = key_types
        self.current = self._context


def load_pair_into(context: ssl.SSLContext, pair: PemPair) -> None:
    """Load a pair; when that fails the context is not to be used any more."""
    try:
        with ExitStack() as files:
            context.load_cert_chain(
                _as_file(files, pair.chain_pem),
                _as_file(files, pair.key_pem),
                password=_no_passphrase,
            )
    except ssl.SSLError as error:
        names = ", ".join(pair.names[:3]) or pair.fingerprint
        reason = error.reason.replace("_", " ").lower() if error.reason else str(error)
        raise CertificateFileError(f"OpenSSL refuses the certificate of {names}: {reason}") from (
            error
        )
    except OSError as error:
        raise CertificateFileError(f"the certificate cannot be handed to OpenSSL: {error}") from (
            error
        )


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise CertificateFileError("the key is encrypted; a server needs it without a passphrase")


def _as_file(stack: ExitStack, pem: bytes) -> str:
    """A path from which OpenSSL can read ``pem``, until the stack is closed.

    ``ssl`` loads keys from files only. This one is in memory and has no name but in /proc; where
    that cannot be (no /proc in the container, memfd_create forbidden), it is a file with mode 0600
    in a folder with mode 0700.
    """
    return _memory_file(stack, pem) or _private_file(stack, pem)


def _memory_file(stack: ExitStack, pem: bytes) -> str | None:
    try:
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # not Linux; forbidden
        return None
    file = stack.enter_context(open(descriptor, "wb", buffering=0))
    file.write(pem)
    path = f"/proc/self/fd/{descriptor}"
    return path if os.path.exists(path) else None


def _private_file(stack: ExitStack, pem: bytes) -> str:
    in_memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vestibule-", dir=in_memory))
    path = os.path.join(folder, "pem")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        file.write(pem)
    return path
