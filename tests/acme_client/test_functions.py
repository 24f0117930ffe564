"""Functions that a configuration names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acme_client.errors import RequestError
from acme_client.functions import load_function


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_functions.py").write_text(
        "class Shop:\n    @staticmethod\n    def ask(name):\n        return name\nnumber = 7\n"
    )
    (tmp_path / "broken_functions.py").write_text("raise ValueError('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "named_functions", raising=False)


def test_it_is_imported(module: None) -> None:
    assert load_function("named_functions:Shop.ask")("x") == "x"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("named_functions", "write module:function"),
        ("no_such_module:f", "cannot be imported: ModuleNotFoundError"),
        ("broken_functions:f", "cannot be imported: ValueError.*not today"),
        ("named_functions:Shop.tell", "has no 'Shop.tell'"),
        ("named_functions:number", "is no function but 7"),
    ],
)
def test_what_is_wrong_is_told(module: None, text: str, fault: str) -> None:
    with pytest.raises(RequestError, match=fault):
        load_function(text)
