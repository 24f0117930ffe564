"""What is logged of a million odd inputs is of use to nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.fuzz.all_targets import be_quiet


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    be_quiet()
    yield
    logging.disable(logging.NOTSET)
