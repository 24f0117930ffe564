"""All request cases, in one list."""

from __future__ import annotations

from typing import Final

from tests.corpus import chunks, exchanges, fields, framing, request_lines
from tests.corpus.model import RequestCase

REQUESTS: Final[tuple[RequestCase, ...]] = (
    *framing.cases(),
    *chunks.cases(),
    *request_lines.cases(),
    *fields.cases(),
    *exchanges.cases(),
)
