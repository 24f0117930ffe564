"""The report of ``vestibule check``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.commands.check import check
from proxy.config.load import Loaded
from proxy.config.model import Config
from proxy.errors import ConfigError, StartupError
from tests.proxy.commands.own_files import write_files

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def report(**tree: Any) -> str:
    config = Config.model_validate({"acme": {"directory": "internal"}, **tree})
    return "\n".join(check(Loaded(config, Path("/etc/vestibule.toml")), NOW))


def test_what_would_be_served() -> None:
    text = report(
        listen={"https": ["[::]:443"], "http": []},
        sites=[
            {
                "names": ["a.example", "b.example"],
                "upstreams": ["127.0.0.1:8000", "10.0.0.5:8000"],
                "routes": [
                    {"path": "/v1", "strip_prefix": True, "upstreams": ["unix:/run/v1.sock"]},
                    {"path": "/v2", "body_bytes": 10},
                ],
            },
            {"names": ["c.example"], "app": "main:app", "app_dir": "/srv"},
        ],
    )
    assert text.splitlines() == [
        "/etc/vestibule.toml is right.",
        "HTTPS on [::]:443",
        "HTTP  is off",
        "",
        "a.example, b.example",
        "  / -> 127.0.0.1:8000, 10.0.0.5:8000",
        "  /v1 -> unix:/run/v1.sock (prefix stripped)",
        "  /v2 -> the site's",
        "  certificate from internal (p256)",
        "  hint: 10.0.0.5:8000 believes this proxy with "
        "uvicorn --forwarded-allow-ips <address of this machine>",
        "  hint: start its app with uvicorn --uds /run/v1.sock --forwarded-allow-ips '*'",
        "",
        "c.example",
        "  / -> app main:app in /srv",
        "  certificate from internal (p256)",
    ]


def test_own_files_are_looked_into(tmp_path: Path) -> None:
    files = write_files(tmp_path, "*.a.example", not_after=datetime(2029, 5, 1, tzinfo=UTC))
    site = {"names": ["x.a.example", "b.example", "10.0.0.1"], "upstreams": ["127.0.0.1:1"]}
    text = report(sites=[{**site, "certificate": files}])
    assert f"certificate {tmp_path}/chain.pem, until 2029-05-01 00:00 UTC" in text
    assert "warning: it expired on 2029-05-01 00:00 UTC" in text
    assert "warning: the certificate does not cover b.example" in text
    assert text.count("does not cover") == 1


def test_what_run_refuses_check_refuses(tmp_path: Path) -> None:
    site = {"names": ["a.example"], "upstreams": ["127.0.0.1:1"]}
    with pytest.raises(StartupError, match="cannot be read"):
        report(sites=[{**site, "certificate": {"chain": "/no", "key": "/no"}}])
    with pytest.raises(ConfigError, match="no user 'no-such-user'"):
        report(user="no-such-user", sites=[site])
    names = [f"n{number}.example" for number in range(101)]
    with pytest.raises(ConfigError, match="100"):
        report(sites=[{**site, "names": names}])
