"""The one error tree of ``proxy``.

::

    VestibuleError
    ├── ConfigError            the configuration is wrong; exit code 2
    ├── StartupError           the machine refuses (port, key file); exit code 3
    ├── CertificateFileError   a PEM pair cannot be used; the one in use stays
    ├── ProtocolError          the peer broke a protocol
    │   ├── ClientHelloError   the first bytes are no usable ClientHello
    │   ├── TlsError           the handshake or a record failed; carries the alert to flush
    │   ├── BadRequest         the client's HTTP cannot be accepted (carries a status)
    │   └── BadResponse        the upstream's HTTP cannot be accepted (always a 502)
    └── UpstreamError          no response could be had from the upstream
        ├── UpstreamUnavailable   nothing to connect to (502, or 503 when all are full)
        │   └── UpstreamRefusal   it says that it has not processed the request
        └── UpstreamTimeout       it did not answer in time (504)

Where they are used: ``channel.ChannelError``, and below ProtocolError ``http.chunked.ChunkedError``
and the faults of HTTP/2 (``http.h2.faults``), which end a message, a stream or a connection;
``commands.by_hand.WrongUsage`` is a StartupError with exit code 2.

Foreign exceptions (``ssl``, ``OSError``, ``h11``, ``httptools``, ``pydantic``) are translated
into these where they occur, once.
"""

from __future__ import annotations

from pathlib import Path


class VestibuleError(Exception):
    """Base of all errors that ``proxy`` raises on purpose."""


class ConfigError(VestibuleError):
    """The configuration is wrong. ``problems`` holds one line per fault."""

    exit_code = 2

    def __init__(self, problems: str | list[str], source: str | None = None) -> None:
        self.problems = [problems] if isinstance(problems, str) else problems
        self.source = source
        where = f"{source}: " if source else ""
        super().__init__(where + "; ".join(self.problems))

    def about(self, file: Path | None) -> ConfigError:
        """The same, with the file of the configuration where none is named."""
        if self.source is not None or file is None:
            return self
        return ConfigError(self.problems, source=str(file))


class StartupError(VestibuleError):
    """The configuration is right, but the machine refuses it."""

    exit_code = 3

    def about(self, file: Path | None) -> StartupError:
        """The same, with the file in which the reader can change what is asked of the machine."""
        return self if file is None else type(self)(f"{self} (the configuration is {file})")


class CertificateFileError(VestibuleError):
    """A certificate chain and key on disk cannot be used."""


class ProtocolError(VestibuleError):
    """The peer broke a protocol."""


class ClientHelloError(ProtocolError):
    """The first bytes are no usable ClientHello. ``alert`` is the TLS alert to answer with."""

    def __init__(self, message: str, alert: int) -> None:
        super().__init__(message)
        self.alert = alert


class TlsError(ProtocolError):
    """The TLS session is over. ``to_send`` is what the peer should still get: the alert."""

    def __init__(self, message: str, to_send: bytes = b"") -> None:
        super().__init__(message)
        self.to_send = to_send


class BadRequest(ProtocolError):
    """The client's HTTP cannot be accepted; ``status`` says how to refuse it (RFC 9110 §15.5)."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BadResponse(ProtocolError):
    """The upstream's HTTP cannot be accepted; the client gets a 502."""


class UpstreamError(VestibuleError):
    """No response could be had from the upstream; ``status`` is what the client gets."""

    status = 502


class UpstreamUnavailable(UpstreamError):
    """No upstream could be reached (502), or none had room (503)."""

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class UpstreamRefusal(UpstreamUnavailable):
    """The upstream has not processed the request: sending it again is safe (RFC 9113 §8.7)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 503)


class UpstreamTimeout(UpstreamError):
    """The upstream did not connect or answer in time."""

    status = 504
