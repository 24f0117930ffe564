"""The wheel: the data plane in it is compiled, and all that is compiled is tested.

In ``make test`` this looks at the sources; in ``make test-wheel`` (TESTED_WHEEL=1) at the wheel.
"""

from __future__ import annotations

import importlib
import os
import tomllib
from pathlib import Path
from typing import cast

import pytest

import proxy

SETTINGS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
HOOK = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
MODULES = cast("list[str]", HOOK["modules"])


def test_the_modules_to_compile_are_there() -> None:
    root = Path(proxy.__file__).parent.parent
    assert MODULES == sorted(MODULES)
    assert [path for path in MODULES if not (root / path).is_file()] == []


@pytest.mark.skipif("TESTED_WHEEL" not in os.environ, reason="make test-wheel looks at that")
def test_the_modules_of_the_wheel_are_compiled() -> None:
    for path in MODULES:
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        assert module.__file__ is not None
        assert module.__file__.endswith(".so"), path
