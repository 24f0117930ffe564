"""The run as measures see it: backends, proxies, cores, rounds; and what a measure is."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.backend import start_echo_backend, start_http_backend
from benchmarks.certificates import Authority
from benchmarks.clients import ClientFailure
from benchmarks.generators import UPLOAD_SCRIPT, LoadFailure
from benchmarks.grpc_load import start_server
from benchmarks.peers import HOST, Peer, PeerFailure, Running, Site, start
from benchmarks.processes import Cores, Program, settled_cpu

Samples = dict[str, list[float]]
"""Figure by peer's name, one per round."""


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached: at most ``limit`` times a peer's figure, or at most ``limit``."""

    limit: float
    peer: str | None = None

    def __str__(self) -> str:
        return f"≤ {self.limit:.2f}" + (f" x {self.peer}" if self.peer else "")


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table (or several, when ``run`` reports more than one figure)."""

    key: str
    title: str
    unit: str
    run: Callable[[Bench], dict[str, Samples]]
    """Samples by the row's suffix; the suffix "" is the measure's own row."""
    targets: tuple[Target, ...] = ()
    rows: dict[str, str] = field(default_factory=dict)
    """Titles of further rows, by suffix."""


@dataclass(slots=True)
class Bench:
    """Everything a measure needs."""

    folder: Path
    cores: Cores
    peers: Sequence[Peer]
    rounds: int
    seconds: float
    """How long one load lasts."""
    quick: bool
    authority: Authority = field(default_factory=Authority)
    problems: list[str] = field(default_factory=list)
    _http: tuple[Program, int] | None = None
    _echo: tuple[Program, int] | None = None
    _grpc: tuple[Program, int] | None = None
    _site: Site | None = None
    _started: int = 0

    @property
    def site(self) -> Site:
        """The name and certificate that all measures share."""
        if self._site is None:
            self._site = Site(HOST, self.authority.issue(self.folder, "site", HOST))
        return self._site

    @property
    def http_backend(self) -> int:
        """The port of the HTTP backend, started when first asked for."""
        if self._http is None:
            self._http = _accepting(start_http_backend(self.folder / "backend", self.cores.rest))
        return self._http[1]

    @property
    def echo_backend(self) -> int:
        """The port of the WebSocket backend, started when first asked for."""
        if self._echo is None:
            self._echo = _accepting(start_echo_backend(self.folder, self.cores.rest))
        return self._echo[1]

    @property
    def grpc_backend(self) -> int:
        """The port of the gRPC backend, started when first asked for."""
        if self._grpc is None:
            self._grpc = _accepting(start_server(self.folder, self.cores.rest))
        return self._grpc[1]

    @property
    def ca_file(self) -> Path:
        """The CA of all certificates, as a file."""
        path = self.folder / "ca.pem"
        if not path.exists():
            path.write_bytes(self.authority.pem)
        return path

    @property
    def upload_script(self) -> Path:
        path = self.folder / "upload.lua"
        if not path.exists():
            path.write_text(UPLOAD_SCRIPT)
        return path

    def stop(self) -> None:
        """End the backends."""
        for backend in (self._http, self._echo, self._grpc):
            if backend is not None:
                backend[0].stop()

    def start(
        self,
        peer: Peer,
        *,
        backend: int | None = None,
        sites: Sequence[Site] | None = None,
        access_log: bool = False,
        grpc: bool = False,
    ) -> Running:
        """A freshly started proxy; the caller stops it."""
        self._started += 1
        return start(
            peer,
            self.folder / f"{self._started:03d}-{peer.name.lower()}",
            self.cores.proxy,
            self.http_backend if backend is None else backend,
            sites or [self.site],
            access_log=access_log,
            grpc=grpc,
        )

    @contextmanager
    def all_started(
        self,
        *,
        backend: int | None = None,
        access_log: bool = False,
        grpc: bool = False,
        without: Collection[str] = (),
    ) -> Iterator[list[Running]]:
        """Every peer but some, each that cannot be started reported and left out."""
        running: list[Running] = []
        try:
            for peer in self.peers:
                if peer.name in without:
                    continue
                try:
                    running.append(
                        self.start(peer, backend=backend, access_log=access_log, grpc=grpc)
                    )
                except PeerFailure as failure:
                    self.report(peer, failure)
            yield running
        finally:
            for one in running:
                one.stop()

    def each_alone(self, measure: Callable[[Running], float]) -> Samples:
        """One figure of each proxy, freshly started and alone on its core."""
        samples: Samples = {}
        for peer in self.peers:
            try:
                one = self.start(peer)
                try:
                    samples[peer.name] = [measure(one)]
                finally:
                    one.stop()
            except (PeerFailure, LoadFailure, ClientFailure, OSError) as failure:
                self.report(peer, failure)
        return samples

    def report(self, peer: Peer, failure: Exception) -> None:
        """A peer that cannot be measured is said so, and the others go on."""
        self.problems.append(f"{peer.name}: {failure}")
        print(f"  ! {peer.name}: {failure}", flush=True)

    def alternate(self, running: list[Running], once: Callable[[Running], float]) -> Samples:
        """One figure of each proxy per round, beginning with another one each time."""
        samples: Samples = {}
        broken: set[str] = set()
        for number in range(self.rounds):
            self._round(number, running, once, samples, broken)
        return samples

    def alternate_anew(
        self,
        warm_up: Callable[[Running], object],
        once: Callable[[Running], float],
        *,
        backend: int | None = None,
        access_log: bool = False,
        grpc: bool = False,
        rounds: int | None = None,
    ) -> Samples:
        """As ``alternate``, with proxies that are started for each round.

        Where its memory lies makes a process some percent faster or slower for all its life.
        """
        samples: Samples = {}
        broken: set[str] = set()
        for number in range(rounds or self.rounds):
            with self.all_started(
                backend=backend, access_log=access_log, grpc=grpc, without=broken
            ) as running:
                broken |= {peer.name for peer in self.peers} - {one.peer.name for one in running}
                for one in running:
                    # What fails here fails again below, where it is reported.
                    with contextlib.suppress(LoadFailure, ClientFailure, OSError):
                        warm_up(one)
                self._round(number, running, once, samples, broken)
        return samples

    def _round(
        self,
        number: int,
        running: list[Running],
        once: Callable[[Running], float],
        samples: Samples,
        broken: set[str],
    ) -> None:
        shift = number % max(1, len(running))
        for one in running[shift:] + running[:shift]:
            if one.peer.name in broken:
                continue
            try:
                samples.setdefault(one.peer.name, []).append(once(one))
            except (LoadFailure, ClientFailure, OSError) as failure:
                broken.add(one.peer.name)
                samples.pop(one.peer.name, None)
                self.report(one.peer, failure)

    def cpu_per(self, one: Running, load: Callable[[], int]) -> float:
        """CPU microseconds of the proxy per thing that ``load`` did."""
        before = settled_cpu(one.program)
        count = load()
        if not count:
            raise LoadFailure("nothing was done")
        return (settled_cpu(one.program) - before) / count * 1e6


def median(samples: Sequence[float]) -> float:
    """The middle of the rounds."""
    return statistics.median(samples)


def _accepting(backend: tuple[Program, int]) -> tuple[Program, int]:
    """The same backend, once it accepts connections."""
    program, port = backend
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if not program.running:
                break
            time.sleep(0.02)
        else:
            return backend
    program.stop()
    raise PeerFailure(f"a backend did not start:\n{program.tail()}")
