"""The Autobahn fuzzing client's cases: through the proxy as straight to the same backend.

The backend is real Uvicorn (``websockets`` inside), straight over ``ws``, through the proxy over
``wss``. What the suite holds against Uvicorn it may hold against Uvicorn behind the proxy, and
nothing else. ``make autobahn`` runs all cases; ``make test`` leaves out the long ones: large
messages and compression by the hundred.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.autobahn_suite import FuzzingClient, program
from tests.e2e.conftest import Figure, StartVestibule
from tests.e2e.pki import Pki
from tests.e2e.programs import ReservedPort
from tests.e2e.uvicorn_process import Uvicorn

SHORT = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "10.*", "12.1.1")
ALL = ("*",)
EVERYTHING = bool(os.environ.get("AUTOBAHN_ALL"))
SECONDS = 3600 if EVERYTHING else 100


@pytest.fixture
def wstest() -> Path:
    found = program()
    if found is None:
        pytest.skip(
            "the Autobahn test suite is not installed (python -m tests.e2e.autobahn_suite does it, "
            "where there is a Python 2.7)"
        )
    return found


@pytest.mark.timeout(SECONDS + 60)
def test_the_verdicts_are_those_of_the_backend(
    wstest: Path, tmp_path: Path, start_vestibule: StartVestibule, pki: Pki, figure: Figure
) -> None:
    with ExitStack() as stack:
        port = ReservedPort()
        stack.callback(port.close)
        backend = Uvicorn(tmp_path / "uvicorn.log", "--port", str(port.number))
        stack.enter_context(backend).until_ready()
        chain, key = pki.issue("localhost")
        proxy = start_vestibule(
            {
                # Twisted of that age sends no server name.
                "default_site": "localhost",
                "log": {"access": False},
                "sites": [
                    {
                        "names": ["localhost"],
                        "certificate": {"chain": str(chain), "key": str(key)},
                        "upstreams": [str(port)],
                    }
                ],
            }
        ).until_ready()
        cases = ALL if EVERYTHING else SHORT
        straight_url = f"ws://localhost:{port.number}/ws"
        through_url = f"wss://localhost:{proxy.https}/ws"
        straight_run = FuzzingClient(wstest, tmp_path, "straight", straight_url, cases)
        through_run = FuzzingClient(wstest, tmp_path, "through", through_url, cases)
        try:
            straight = straight_run.verdicts(SECONDS)
        finally:
            through = through_run.verdicts(SECONDS)
        assert "Traceback" not in proxy.log, proxy.told("the proxy was surprised")
        # A case that breaks the protocol breaks its own connection; that is no fault of anybody.
        assert "is failing" not in proxy.log, proxy.told("a client made the backend look broken")
    assert straight.keys() == through.keys()
    assert len(straight) >= 200
    different = {
        number: (verdict, through[number])
        for number, verdict in straight.items()
        if verdict.outline != through[number].outline
    }
    assert different == {}
    counts = Counter(verdict.behavior for verdict in through.values())
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    figure(f"Autobahn: {len(through)} cases through the proxy as straight: {told}")
