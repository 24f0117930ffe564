"""docs/threats.md: what it names is there."""

from __future__ import annotations

import dataclasses
import re

import pytest

from proxy.limits import Limits
from tests.e2e.programs import ROOT

TABLE = (ROOT / "docs" / "threats.md").read_text("utf-8")

SHOWN_BY = sorted(set(re.findall(r"`((?:corpus|e2e|fuzz|proxy|acme_client)/[^`*]+)`", TABLE)))


def test_it_names_tests() -> None:
    assert len(SHOWN_BY) > 40


@pytest.mark.parametrize("reference", SHOWN_BY)
def test_what_shows_it_exists(reference: str) -> None:
    path, _, name = reference.partition("::")
    text = (ROOT / "tests" / path).read_text("utf-8")
    assert not name or re.search(rf"^\s*(?:async )?def {name}\(", text, re.MULTILINE)


def test_limits_have_their_keys() -> None:
    keys = {field.name for field in dataclasses.fields(Limits)}
    named = set(re.findall(r"`limits\.(\w+)`", TABLE))
    assert named <= keys
    assert keys == named
