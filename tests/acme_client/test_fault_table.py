"""The table "Fault by fault" of docs/certificates.md: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "certificates.md").read_text("utf-8")
TABLE = PAGE.partition("## Fault by fault")[2].partition("\n## ")[0]
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]


def test_every_fault_has_its_line() -> None:
    assert len(ROWS) == 21


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_what_shows_it_exists(row: str) -> None:
    references = re.findall(r"`((?:e2e|acme_client)/[^`]+)`", row)
    assert references
    for reference in references:
        path, _, name = reference.partition("::")
        text = (TESTS / path).read_text("utf-8")
        assert not name or re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), reference
