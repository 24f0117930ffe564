"""What is measured: each function is one row of the table, or a few that belong together."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks import grpc_load
from benchmarks.backend import MIB
from benchmarks.bench import Bench, Measure, Samples, Target, median
from benchmarks.clients import (
    full_handshakes,
    idle_connections,
    resumed_handshakes,
    slow_download,
)
from benchmarks.floods import FLOODS, SERVED, flooded
from benchmarks.generators import LoadFailure, h2load, h2load_at_rate, wrk
from benchmarks.peers import Running
from benchmarks.sites import many_sites
from benchmarks.streams import http2_changing, http2_percentile, websocket_echo

KIB = 1024

_CONNECTIONS = 64
_HANDSHAKES = 800
"""A second, about: one after the other, so that a proxy is busy for a third of the time. For that
these measures have more rounds than others."""
_LATENCY_CONNECTIONS = 256
_BESIDE_CONNECTIONS = 50
_BESIDE_RATE = 1000.0
_BUT_SERVED = " at once (served, so not judged)"


def _loaded(
    bench: Bench,
    load: Callable[[Running, float], int],
    *,
    backend: int | None = None,
    access_log: bool = False,
    grpc: bool = False,
    rounds: int | None = None,
) -> dict[str, Samples]:
    """CPU per thing done, of all peers in turn, after a warm-up."""
    return {
        "": bench.alternate_anew(
            lambda one: load(one, min(1.0, bench.seconds)),
            lambda one: bench.cpu_per(one, lambda: load(one, bench.seconds)),
            backend=backend,
            access_log=access_log,
            grpc=grpc,
            rounds=rounds,
        )
    }


def _get(bench: Bench) -> dict[str, Samples]:
    rates: Samples = {}

    def load(one: Running, seconds: float) -> int:
        done = wrk(one.port, "/", connections=_CONNECTIONS, seconds=seconds)
        rates.setdefault(one.peer.name, []).append(done.rate)
        return done.requests

    samples = _loaded(bench, load)
    # Every other load is a warm-up.
    return {**samples, "rate": {name: found[1::2] for name, found in rates.items()}}


def _get_logged(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: wrk(one.port, "/", connections=_CONNECTIONS, seconds=seconds).requests,
        access_log=True,
    )


def _download(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: wrk(one.port, "/1m", connections=16, seconds=seconds).requests,
    )


def _upload(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: (
            wrk(
                one.port, "/upload", connections=16, seconds=seconds, script=bench.upload_script
            ).requests
        ),
    )


def _full_handshakes(bench: Bench) -> dict[str, Samples]:
    def load(one: Running, seconds: float) -> int:
        count = int(seconds * _HANDSHAKES)
        full_handshakes(one.port, count)
        return count

    return _loaded(bench, load, rounds=2 * bench.rounds + 1)


def _resumed_handshakes(bench: Bench) -> dict[str, Samples]:
    def load(one: Running, seconds: float) -> int:
        count = int(seconds * _HANDSHAKES)
        resumed_handshakes(one.port, count)
        return count

    return _loaded(bench, load, rounds=2 * bench.rounds + 1)


def _idle(protocol: str) -> Callable[[Bench], dict[str, Samples]]:
    def measure(bench: Bench) -> dict[str, Samples]:
        count = 500 if bench.quick else 5000

        def once(one: Running) -> float:
            before = one.program.memory_bytes()
            with idle_connections(one.port, count, protocol):
                return (one.program.memory_bytes() - before) / count / KIB

        return {"": bench.each_alone(once)}

    return measure


def _websocket(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: websocket_echo(one.port, connections=32, seconds=seconds),
        backend=bench.echo_backend,
    )


def _slow_download(bench: Bench) -> dict[str, Samples]:
    path, size, speed = ("/1m", MIB, MIB) if bench.quick else ("/1g", 1024 * MIB, 100.0 * MIB)

    def once(one: Running) -> float:
        # Once through, so that what a first large response allocates for good is there.
        for _ in slow_download(one.port, "/1m", MIB, 1e12):
            pass
        before = one.program.memory_bytes()
        seen = [one.program.memory_bytes() for _ in slow_download(one.port, path, size, speed)]
        return (max(seen) - before) / MIB

    return {"": bench.each_alone(once)}


def _latency(bench: Bench) -> dict[str, Samples]:
    """One rate for all: half of what the slowest of Vestibule, nginx and HAProxy can do."""
    halves: Samples = {}
    typical: Samples = {}
    with bench.all_started() as running:
        capacity = {}
        for one in running:
            try:
                load = wrk(one.port, "/", connections=_LATENCY_CONNECTIONS, seconds=bench.seconds)
            except LoadFailure as failure:
                bench.report(one.peer, failure)
            else:
                capacity[one.peer.name] = load.rate
        if not capacity:
            return {"": {}}
        comparable = [rate for name, rate in capacity.items() if name != "Caddy"]
        rate = min(comparable or capacity.values()) / 2

        def once(one: Running) -> float:
            if capacity.get(one.peer.name, 0.0) < rate * 1.1:
                raise LoadFailure(f"cannot do {rate:.0f} requests a second")
            seen = h2load_at_rate(
                one.port,
                "/",
                connections=_LATENCY_CONNECTIONS,
                rate=rate,
                seconds=bench.seconds * 2,
                log=bench.folder / "latency.log",
            )
            typical.setdefault(one.peer.name, []).append(seen.percentile(0.5) * 1e3)
            halves.setdefault(one.peer.name, []).append(seen.rate)
            # Requests that could not be sent in time are in no percentile: they were endless.
            return seen.percentile(0.99) * 1e3 if seen.rate > rate * 0.9 else math.inf

        slowest = bench.alternate(running, once)
        return {"": slowest, "p50": typical, "rate": halves}


def _http2_same(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: (
            h2load(one.port, "/", connections=10, streams=10, seconds=seconds).requests
        ),
    )


def _http2_changing(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: http2_changing(one.port, connections=10, streams=10, seconds=seconds),
    )


def _http2_download(bench: Bench) -> dict[str, Samples]:
    return _loaded(
        bench,
        lambda one, seconds: (
            h2load(one.port, "/1m", connections=4, streams=4, seconds=seconds).requests
        ),
    )


def _http2_stalled(bench: Bench) -> dict[str, Samples]:
    """p99 of 99 busy streams with a hundredth that takes nothing of its 1 MiB, and without it."""
    quiet: Samples = {}
    with bench.all_started() as running:

        def once(one: Running) -> float:
            without = http2_percentile(one.port, 0.99, seconds=bench.seconds / 2, stalled=False)
            beside = http2_percentile(one.port, 0.99, seconds=bench.seconds / 2, stalled=True)
            quiet.setdefault(one.peer.name, []).append(without * 1e3)
            return beside / without

        return {"": bench.alternate(running, once), "quiet": quiet}


def _floods(bench: Bench) -> dict[str, Samples]:
    """p99 of a client beside each kind of flood, and the worst of them against none."""
    times: dict[str, Samples] = {name: {} for name in ("quiet", *FLOODS)}
    with bench.all_started() as running:

        def p99(one: Running, beside: str) -> None:
            seen = h2load_at_rate(
                one.port,
                "/",
                connections=_BESIDE_CONNECTIONS,
                rate=_BESIDE_RATE,
                seconds=bench.seconds,
                log=bench.folder / "floods.log",
            )
            times[beside].setdefault(one.peer.name, []).append(seen.percentile(0.99) * 1e3)

        def once(one: Running) -> float:
            p99(one, "quiet")
            for name in FLOODS:
                with flooded(one.port, name):
                    p99(one, name)
            return 0.0

        measured = bench.alternate(running, once)
    worst = {
        peer: [
            max(median(times[name][peer]) for name in FLOODS if name not in SERVED)
            / median(times["quiet"][peer])
        ]
        for peer in measured
    }
    return {"": worst, **times}


def _grpc(bench: Bench) -> dict[str, Samples]:
    if not grpc_load.available():
        bench.problems.append("grpcio is not installed: gRPC was not measured")
        return {"": {}}
    return _loaded(
        bench,
        lambda one, seconds: grpc_load.unary_calls(one.port, seconds, bench.ca_file),
        backend=bench.grpc_backend,
        grpc=True,
    )


MEASURES: tuple[Measure, ...] = (
    Measure(
        "get",
        "GET over kept connections, 12-byte body: CPU per request",
        "µs",
        _get,
        (Target(1.0, "nginx"), Target(0.35, "Caddy")),
        {"rate": "… requests per second on the one core"},
    ),
    Measure("get-log", "the same with access log", "µs", _get_logged, (Target(1.2, "nginx"),)),
    Measure("download", "1 MiB responses: CPU per MiB", "µs", _download, (Target(0.9, "nginx"),)),
    Measure("upload", "1 MiB uploads: CPU per MiB", "µs", _upload, (Target(1.0, "nginx"),)),
    Measure(
        "handshake",
        "full TLS 1.3 handshake: CPU",
        "µs",
        _full_handshakes,
        (Target(1.15, "nginx"),),
    ),
    Measure(
        "resumed",
        "resumed TLS 1.3 handshake: CPU",
        "µs",
        _resumed_handshakes,
        (Target(1.15, "nginx"),),
    ),
    Measure("idle", "idle TLS connection: memory", "KiB", _idle("http/1.1"), (Target(24),)),
    Measure(
        "websocket",
        "WebSocket echo of 64 bytes: CPU per message",
        "µs",
        _websocket,
        (Target(1.2, "nginx"),),
    ),
    Measure(
        "slow-download",
        "memory growth over 1 GiB to a slow client",
        "MiB",
        _slow_download,
        (Target(5),),
    ),
    Measure(
        "sites",
        "10,000 sites: time to start serving",
        "s",
        many_sites,
        (Target(3),),
        {
            "memory": "… memory per site in use, KiB (must be ≤ 40)",
            "lookup": "… full handshake with one of 10,000 names, against one of one: ratio",
        },
    ),
    Measure(
        "latency",
        "p99 at half of capacity, 256 connections",
        "ms",
        _latency,
        (Target(1.5, "nginx"),),
        {"p50": "… p50, ms", "rate": "… at requests per second"},
    ),
    Measure(
        "h2-same",
        "HTTP/2, the same request, 10 streams a connection: CPU per request",
        "µs",
        _http2_same,
        (Target(1.0, "nginx"),),
    ),
    Measure(
        "h2-changing",
        "HTTP/2, 1,000 paths and a changing cookie: CPU per request",
        "µs",
        _http2_changing,
        (Target(2.0, "nginx"), Target(0.4, "Caddy")),
    ),
    Measure(
        "h2-download",
        "HTTP/2, 1 MiB responses: CPU per MiB",
        "µs",
        _http2_download,
        (Target(1.0, "nginx"),),
    ),
    Measure("h2-idle", "idle HTTP/2 connection: memory", "KiB", _idle("h2"), (Target(32),)),
    Measure(
        "h2-stalled",
        "HTTP/2, p99 of 99 streams beside a stalled one, against without it",
        "ratio",
        _http2_stalled,
        (Target(1.1),),
        {"quiet": "… p99 without it, ms"},
    ),
    Measure(
        "floods",
        "HTTP/2 floods, p99 of another client beside the worst of four, against without",
        "ratio",
        _floods,
        (Target(2.0),),
        {
            "quiet": "… p99 without a flood, ms",
            **{
                name: f"… beside {name.replace('-', ' ')}{_BUT_SERVED * (name in SERVED)}, ms"
                for name in FLOODS
            },
        },
    ),
    Measure(
        "grpc",
        "gRPC unary call to an h2c backend: CPU per call",
        "µs",
        _grpc,
        (Target(0.6, "Caddy"),),
    ),
)
