"""Commands configure the logging of their process, which here is the tests' own."""

from __future__ import annotations

import pytest

from proxy import logs


@pytest.fixture(autouse=True)
def no_logging_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)
