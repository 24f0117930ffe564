"""What is installed: the command, the version, type information, and that imports go one way."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

import acme_client
import proxy

ROOT = Path(__file__).parent.parent


def test_the_command_and_the_version() -> None:
    installed = distribution("vestibule")
    assert installed.version == proxy.__version__
    (command,) = installed.entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("vestibule", "proxy.cli:main")
    assert callable(command.load())


@pytest.mark.parametrize("package", [proxy, acme_client])
def test_types_are_told(package: object) -> None:
    file = getattr(package, "__file__", None)
    assert file is not None
    assert (Path(file).parent / "py.typed").is_file()


def test_running_the_package_is_running_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"vestibule {proxy.__version__} (")


def test_acme_client_is_of_use_alone() -> None:
    code = (
        "import sys, acme_client\n"
        "print([m for m in sys.modules if m == 'proxy' or m.startswith('proxy.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_documents_are_where_the_package_says() -> None:
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "docs/architecture.md"):
        assert (ROOT / name).is_file()
