"""What the tests of several commands need: a configuration, and an ear for what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acme_client.testing import AcmeCA
from proxy.config.model import Config

COMMAND = {"provider": "command", "options": {"command": ["/bin/true"]}, "propagation_seconds": 0}


class Said(list[str]):
    """What a command printed."""

    def __call__(self, line: str) -> None:
        self.append(line)


def make_config(folder: Path, acme: dict[str, Any], *sites: dict[str, Any], **more: Any) -> Config:
    site = {"names": ["a.localhost"], "upstreams": ["h:1"]}
    storage = f"file:{folder / 'state'}"
    return Config.model_validate(
        {"storage": storage, "acme": acme, "sites": list(sites or (site,)), **more}
    )


def closed(ca: AcmeCA, **more: Any) -> dict[str, Any]:
    """A CA to be proved to by DNS alone, so that no port is listened on."""
    return {
        "directory": ca.directory_url,
        "ca_certificates": str(ca.trust_file),
        "challenges": ["dns-01"],
        "dns": COMMAND,
        **more,
    }
