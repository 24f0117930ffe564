"""What clients will refuse in a certificate that can be served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from proxy.commands.own_files import faults
from proxy.config.model import Config
from proxy.tls.pem_files import load_pair
from tests.proxy.commands.own_files import write_files


def test_dates_and_names(tmp_path: Path) -> None:
    files = write_files(tmp_path, "*.a.example", not_after=datetime(2029, 5, 1, tzinfo=UTC))
    names = ["x.a.example", "*.a.example", "b.example", "10.0.0.1"]
    tree = {"names": names, "upstreams": ["h:1"], "certificate": files}
    (site,) = Config.model_validate({"sites": [tree]}).sites
    pair = load_pair(Path(files["chain"]), Path(files["key"]))
    uncovered = "the certificate does not cover b.example"
    assert list(faults(site, pair, datetime(2029, 4, 1, tzinfo=UTC))) == [uncovered]
    assert list(faults(site, pair, datetime(2029, 6, 1, tzinfo=UTC))) == [
        "it expired on 2029-05-01 00:00 UTC",
        uncovered,
    ]
