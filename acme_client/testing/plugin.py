"""The pytest plugin: a CA as a fixture.

Enable it in the top ``conftest.py``::

    pytest_plugins = ["acme_client.testing.plugin"]

It is not an entry point on purpose: whoever has Vestibule installed to run it would pay for its
import at the start of every test run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from acme_client.testing.ca import AcmeCA


@pytest.fixture
def make_acme_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., AcmeCA]]:
    """Start CAs with arguments of one's own: ``make_acme_ca(Settings(...), host="::1")``."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> AcmeCA:
            options.setdefault("directory", tmp_path_factory.mktemp("acme-ca"))
            return stack.enter_context(AcmeCA(*arguments, **options))

        yield make


@pytest.fixture
def acme_ca(make_acme_ca: Callable[..., AcmeCA]) -> AcmeCA:
    """A running CA with the default settings, stopped after the test."""
    return make_acme_ca()
