"""Fixtures of the end-to-end tests.

What is dear to start is started once per run and only when a test asks for it. Tests of HTTP run
under both engines by asking for ``front`` (or ``tight_front``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.fronts import Backends, Front, Fronts
from tests.e2e.pki import Pki
from tests.e2e.programs import Program, ReservedPort
from tests.e2e.proxy_process import ENGINES, Value, Vestibule
from tests.e2e.uvicorn_process import Uvicorn
from tests.e2e.wire import close_all
from tests.pebble import pebble

__all__ = ["pebble"]

WITH_A_CA = 400
"""Seconds for a test in which a real CA issues certificates."""

_figures: list[str] = []


@pytest.fixture(autouse=True)
def no_connection_left() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    made = Backends(tmp_path_factory.mktemp("backends"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def uvicorn(backends: Backends) -> Iterator[Uvicorn]:
    """Real Uvicorn with the tests' app, behind app.test, unix.test and api.test."""
    with ExitStack() as stack:
        yield backends.start_app(stack)


@pytest.fixture(scope="session")
def fronts(
    tmp_path_factory: pytest.TempPathFactory, pki: Pki, backends: Backends
) -> Iterator[Fronts]:
    made = Fronts(tmp_path_factory.mktemp("fronts"), pki, backends)
    yield made
    made.end()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def front(engine: str, fronts: Fronts, log_on_failure: list[Program]) -> Iterator[Front]:
    """A proxy with the default limits, before all the backends."""
    yield from watched(fronts.get(engine), log_on_failure)


@pytest.fixture
def tight_front(engine: str, fronts: Fronts, log_on_failure: list[Program]) -> Iterator[Front]:
    """A proxy with small limits."""
    yield from watched(fronts.get(engine, "tight"), log_on_failure)


def watched(front: Front, log_on_failure: list[Program]) -> Iterator[Front]:
    """Whatever a test does to it, the proxy must not be surprised."""
    log_on_failure.append(front.proxy)
    before = len(front.proxy.log)
    yield front
    log = front.proxy.log[before:]
    assert "Traceback" not in log, log
    assert front.proxy.exit_code is None, front.proxy.told("the proxy ended")


@pytest.fixture
def app_front(front: Front, uvicorn: Uvicorn, log_on_failure: list[Program]) -> Front:
    """A front whose Uvicorn runs."""
    log_on_failure.append(uvicorn)
    return front


@pytest.fixture
def ports() -> Iterator[Ports]:
    """HTTPS and HTTP of a proxy, known before it starts: a CA is told where it will be."""
    pair = ReservedPort(), ReservedPort()
    yield pair
    for port in pair:
        port.close()


@pytest.fixture
def backend_port() -> Iterator[int]:
    """Of a backend that the test may start, on 127.0.0.1."""
    port = ReservedPort()
    yield port.number
    port.close()


Ports = tuple[ReservedPort, ReservedPort]
StartVestibule = Callable[..., Vestibule]
Figure = Callable[[str], None]


@pytest.fixture
def start_vestibule(
    tmp_path: Path, log_on_failure: list[Program]
) -> Iterator[Callable[[dict[str, Value]], Vestibule]]:
    """Start a proxy of the test's own, and end it after the test."""
    with ExitStack() as stack:

        def start(config: dict[str, Value], **options: object) -> Vestibule:
            proxy = Vestibule(tmp_path / "vestibule", config, **options)  # type: ignore[arg-type]
            log_on_failure.append(proxy)
            stack.callback(proxy.end)
            return proxy

        yield start


@pytest.fixture
def log_on_failure(request: pytest.FixtureRequest) -> list[Program]:
    """Programs whose log, from here on, belongs into the report of a failure."""
    programs: list[Program] = []
    request.node.stash[_PROGRAMS] = programs
    return programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with a real CA may have to wait for a second try, and has several programs to start;
    each wait has its own limit."""
    for item in items:
        if item.get_closest_marker("pebble") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(WITH_A_CA))


_PROGRAMS = pytest.StashKey[list[Program]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when == "call":
        for program in item.stash.get(_PROGRAMS, []):
            # The end of it is what belongs to this test.
            report.sections.append((f"log of {program.command[-1]}", program.log[-6000:]))
    return report


@pytest.fixture
def figure() -> Figure:
    """Notes something measured; it is shown at the end of the run."""
    return _figures.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("measured")
        for line in _figures:
            terminalreporter.line(line)
