"""Who listens on a port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proxy.port_holders import holder_of


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_this_process_is_found(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        try:
            listening.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listening.listen()
        found = holder_of(listening.getsockname()[1])
    assert found is not None
    assert found.endswith(f"(PID {os.getpid()})")


def test_a_port_that_is_bound_but_not_listened_on_has_no_holder() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert holder_of(bound.getsockname()[1]) is None


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert holder_of(443, tmp_path) is None


def test_a_process_that_cannot_be_looked_into_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "header\n 0: 00000000:01BB 00000000:0000 0A 0:0 0:0 0 0 0 4242 1\n"
    )
    (tmp_path / "1").mkdir()
    assert holder_of(443, tmp_path) is None
    (tmp_path / "1" / "fd").mkdir()
    (tmp_path / "1" / "fd" / "3").symlink_to("socket:[4242]")
    assert holder_of(443, tmp_path) == "a process (PID 1)"
    (tmp_path / "1" / "comm").write_text("nginx\n")
    assert holder_of(443, tmp_path) == "nginx (PID 1)"
