"""Real Uvicorn with the tests' app."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.programs import Program


class Uvicorn(Program):
    """A running Uvicorn; ``where`` is as on its command line: ``--port N`` or ``--uds PATH``."""

    def __init__(self, log_file: Path, *where: str, app: str = "tests.e2e.app:app") -> None:
        command = [sys.executable, "-m", "uvicorn", app, *where]
        super().__init__(command, log_file)

    def __enter__(self) -> Uvicorn:
        return self

    def until_ready(self) -> Uvicorn:
        try:
            self.wait_for("Uvicorn running on")
        except AssertionError:
            self.end()
            raise
        return self
