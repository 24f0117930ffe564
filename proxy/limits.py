"""Every limit of the data plane: its default, its unit, its reason.

Those a user may want to move are fields of :class:`Limits` (the ``[limits]`` table of the
configuration); the rest are constants, because a value that nobody should change is no option.
"""

from __future__ import annotations

from dataclasses import dataclass

SECONDS = 1.0
MINUTES = 60 * SECONDS
KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may cost. Times in seconds, sizes in bytes."""

    header_bytes: int = 32 * KIB
    header_line_bytes: int = 8 * KIB
    header_count: int = 100
    header_timeout: float = 10 * SECONDS
    """From the first wait for a request to its complete head, absolute: dripping does not help."""
    keep_alive_timeout: float = 60 * SECONDS
    stall_timeout: float = 30 * SECONDS
    """No byte of a body accepted or delivered for so long ends the exchange."""
    body_bytes: int = 0
    """Largest request body; 0 is unlimited (bodies are streamed, so they cost no memory)."""
    handshake_timeout: float = 10 * SECONDS
    upstream_connect_timeout: float = 3 * SECONDS
    upstream_response_timeout: float = 60 * SECONDS
    """To the first byte of the response head; streams are not limited after it."""
    upstream_idle_timeout: float = 4 * SECONDS
    """Below Uvicorn's keep-alive of 5 s, so that it never closes under a request of ours."""
    tunnel_idle_timeout: float = 10 * MINUTES
    """WebSocket without a byte in either direction; Uvicorn pings every 20 s."""
    connection_age: float = 60 * MINUTES
    """A connection older than this is asked to end after its current requests; 0 is no limit."""
    connections: int = 10_000
    """Per worker; lowered at start when the file descriptor limit allows fewer."""
    connections_per_address: int = 256
    """Per worker; an IPv6 client counts by its /64."""
    http2_streams: int = 100
    shutdown_timeout: float = 10 * SECONDS
    """How long a stop waits for requests in flight."""


BUFFER_BYTES = 64 * KIB
"""High-water mark per direction: above it the faster side is paused."""

READ_BYTES = 64 * KIB
"""The read buffer that all connections of a worker share."""

TLS_RECORD_BYTES = 16 * KIB
"""Largest plaintext of a TLS record (RFC 8446 §5.1)."""

CLIENT_HELLO_BYTES = 64 * KIB
"""A post-quantum ClientHello is under 2 KiB; this only bounds an attacker."""

PEM_FILE_BYTES = 1 * MIB
"""Largest certificate chain or key file that is read; real ones are under 100 KiB."""

PEM_POLL_SECONDS = 2 * SECONDS
"""How often followed certificate files are looked at; a change must stay for one more look."""

CHUNK_OVERHEAD_BYTES = 16 * KIB
"""Framing overhead a chunked body may have beyond twice its data (tiny-chunk floods)."""

DRAIN_BYTES = 64 * KIB
"""How much of an unread request body is read and dropped to save the connection..."""

DRAIN_SECONDS = 5 * SECONDS
"""...and for how long; past either the connection closes."""

STOP_SECONDS = 1 * SECONDS
"""How long a stop waits for clients to notice the end of their idle connections."""

INFORMATIONAL_RESPONSES = 10
"""How many 1xx responses an upstream may send before the final one."""

SWEEP_SECONDS = 0.5
"""How often a worker looks at all deadlines; every limit in time is late by at most this."""
SWEPT_AT_ONCE = 32
"""Connections whose deadlines are looked at in one turn: many may end in the same moment, as those
of a flood do, and requests shall not wait for all of them."""
