"""All targets, by name."""

from __future__ import annotations

import logging
from typing import Final

from tests.fuzz import exchanges, first_bytes, heads, http2, http2_talks, talks
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for module in (heads, exchanges, first_bytes, http2, talks, http2_talks)
    for target in module.TARGETS
}


def be_quiet() -> None:
    """Refusals are logged, and a fuzzer has thousands of them a second."""
    logging.disable(logging.CRITICAL)
