"""Real curl, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.e2e.clients import curl
from tests.e2e.fronts import Front

VERSIONS = {"--http1.1": "1.1", "--http2": "2"}


@pytest.fixture(params=list(VERSIONS))
def version(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


def test_it_gets_a_page_over_verified_tls(app_front: Front, version: str) -> None:
    written = "%{http_version} %{ssl_verify_result} %{http_code}"
    done = curl(
        app_front, version, "-w", written, "-o", "/dev/null", app_front.url("app.test", "/docs")
    )
    assert done.stdout.decode() == f"{VERSIONS[version]} 0 200", done.stderr


def test_it_does_not_trust_another_name(app_front: Front, version: str) -> None:
    done = curl(app_front, version, app_front.url("unknown.test"))
    assert done.returncode == 35
    assert b"unrecognized name" in done.stderr


def test_it_reads_a_head(app_front: Front, version: str) -> None:
    done = curl(app_front, version, "--head", app_front.url("app.test", "/head"))
    assert done.returncode == 0, done.stderr
    assert b"content-length: 1234" in done.stdout.lower()


@pytest.mark.parametrize(
    "options", [("--data-binary",), ("--header", "Transfer-Encoding: chunked", "--data-binary")]
)
def test_it_posts_and_waits_for_100(
    app_front: Front, version: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """With ``Expect: 100-continue`` curl waits for the 100 before it sends the body."""
    body = bytes(range(256)) * 8192
    file = tmp_path / "body"
    file.write_bytes(body)
    done = curl(
        app_front,
        version,
        *("--header", "Expect: 100-continue", "--expect100-timeout", "30", "-v"),
        *options,
        f"@{file}",
        app_front.url("app.test", "/upload"),
    )
    assert json.loads(done.stdout) == {
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    if version == "--http1.1":
        assert b"< HTTP/1.1 100 Continue" in done.stderr
        assert b"Done waiting for 100-continue" not in done.stderr


def test_it_uploads_and_downloads_what_it_uploaded(
    app_front: Front, version: str, tmp_path: Path
) -> None:
    file, back = tmp_path / "file", tmp_path / "back"
    file.write_bytes(bytes(range(255)) * 20_000)
    done = curl(
        app_front,
        version,
        "--data-binary",
        f"@{file}",
        "-o",
        str(back),
        app_front.url("app.test", "/bounce"),
    )
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == file.read_bytes()


def test_it_reuses_the_connection(app_front: Front, version: str) -> None:
    url = app_front.url("app.test", "/status/200")
    done = curl(
        app_front, version, "-w", "%{num_connects} ", "-o", "/dev/null", "-o", "/dev/null", url, url
    )
    assert done.stdout == b"1 0 "


def test_it_speaks_http_1_0(app_front: Front) -> None:
    """Without a length the end of the connection is the end of the body."""
    url = app_front.url("app.test", "/download?size=300000&length=false")
    done = curl(app_front, "--http1.0", "-i", url)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert len(body) == 300_000


def test_it_tries_no_upgrade_to_h2c(app_front: Front) -> None:
    """On the plain port ``--http2`` offers h2c, which is not for a front door to speak."""
    done = curl(app_front, "--http2", "-i", f"http://app.test:{app_front.http_port}/x")
    assert done.stdout.startswith(b"HTTP/1.1 308")


def test_it_follows_the_redirect_to_https(app_front: Front) -> None:
    """With its body, which 308 tells it to send again."""
    url = f"http://app.test:{app_front.http_port}/upload?a=b"
    done = curl(app_front, "--location", "--data", "x=1", url)
    assert b'"size":3' in done.stdout, done.stderr
