from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from acme_client.testing import AcmeCA, Settings


def test_the_fixture_is_a_running_ca(acme_ca: AcmeCA) -> None:
    assert acme_ca.running
    assert acme_ca.settings == Settings()


def test_cas_with_settings_live_side_by_side(
    acme_ca: AcmeCA, make_acme_ca: Callable[..., AcmeCA]
) -> None:
    other = make_acme_ca(Settings(validate=False), host="localhost")
    assert other.base_url != acme_ca.base_url
    assert not other.settings.validate


def test_in_a_users_own_project(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["acme_client.testing.plugin"]\n')
    (tmp_path / "test_user.py").write_text(
        textwrap.dedent(
            """
            import requests

            def test_directory(acme_ca):
                answer = requests.get(acme_ca.directory_url, verify=str(acme_ca.trust_file))
                assert answer.json()["newOrder"].startswith(acme_ca.base_url)
            """
        )
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in result.stdout, result.stdout + result.stderr
