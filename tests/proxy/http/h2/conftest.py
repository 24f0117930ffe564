"""Figures: what the flood tests measured, shown at the end of the run; nothing asserts on time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Figures = Callable[[str], None]

_measured: list[str] = []


@pytest.fixture
def figures() -> Figures:
    """Call it with a line for the summary."""
    return _measured.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the lines."""
    if _measured:
        terminalreporter.section("HTTP/2 figures")
        for line in sorted(_measured):
            terminalreporter.line(line)
