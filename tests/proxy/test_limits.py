"""The limits hang together: defaults that contradict each other would show only in production."""

from __future__ import annotations

import dataclasses

import pytest

from proxy import limits
from proxy.limits import Limits

LIMITS = Limits()


def test_the_defaults_are_those_of_the_threat_model() -> None:
    assert (LIMITS.header_bytes, LIMITS.header_line_bytes, LIMITS.header_count) == (
        32768,
        8192,
        100,
    )
    assert (LIMITS.header_timeout, LIMITS.keep_alive_timeout, LIMITS.stall_timeout) == (10, 60, 30)
    assert (LIMITS.upstream_connect_timeout, LIMITS.upstream_response_timeout) == (3, 60)
    assert LIMITS.handshake_timeout == 10
    assert LIMITS.http2_streams == 100
    assert (LIMITS.connections, LIMITS.connections_per_address) == (10_000, 256)
    assert LIMITS.body_bytes == 0


def test_they_fit_each_other() -> None:
    assert LIMITS.header_line_bytes <= LIMITS.header_bytes < limits.BUFFER_BYTES
    assert limits.DRAIN_BYTES <= limits.BUFFER_BYTES
    assert LIMITS.upstream_idle_timeout < 5, "Uvicorn closes at 5 s"
    assert LIMITS.tunnel_idle_timeout >= 5 * limits.MINUTES
    assert limits.SWEEP_SECONDS < LIMITS.upstream_connect_timeout
    assert LIMITS.upstream_idle_timeout + limits.SWEEP_SECONDS < 5
    assert limits.READ_BYTES >= limits.TLS_RECORD_BYTES + 512


def test_they_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIMITS.header_bytes = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg]
