from __future__ import annotations

import subprocess
import sys

import pytest

from acme_client.dns import MissingExtra
from acme_client.errors import RequestError


def test_the_error_says_what_to_install() -> None:
    error = MissingExtra("this", "dnspython", "dns")
    assert str(error) == (
        "this needs the package dnspython: install it with pip install 'vestibule[dns]'"
    )
    assert isinstance(error, RequestError)
    assert isinstance(error, ImportError)


def test_the_package_alone_imports_no_extra() -> None:
    code = (
        "import sys, acme_client.dns as d; d.Dns01Solver(d.CommandProvider(['true']));"
        "print([m for m in ('dns', 'lexicon') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "blocked", "extra"),
    [
        ("acme_client.dns.lookup", "dns.message", "dns"),
        ("acme_client.dns.rfc2136", "dns.update", "dns"),
        ("acme_client.dns.lexicon", "lexicon.client", "lexicon"),
    ],
)
def test_modules_that_need_one_say_so(
    monkeypatch: pytest.MonkeyPatch, module: str, blocked: str, extra: str
) -> None:
    import importlib

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(MissingExtra, match=rf"vestibule\[{extra}\]"):
        importlib.import_module(module)
