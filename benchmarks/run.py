"""``python -m benchmarks.run``: measure, print the table, keep the figures.

A run without ``--only`` and ``--quick`` takes half an hour. The proxies share one core, all
else has the others; close whatever else is running.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from benchmarks.bench import Bench
from benchmarks.install import install, versions
from benchmarks.measures import MEASURES
from benchmarks.peers import PEERS
from benchmarks.processes import Cores
from proxy import __version__

_ROOT = Path(__file__).resolve().parent.parent
_RESULTS = _ROOT / "benchmarks" / "results"
_PAGE = _ROOT / "docs" / "performance.md"
_OPEN_FILES = 19_000


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when everything was measured."""
    options = _parser().parse_args(arguments)
    keys = options.only.split(",") if options.only else [measure.key for measure in MEASURES]
    unknown = set(keys) - {measure.key for measure in MEASURES}
    if unknown:
        known = ", ".join(measure.key for measure in MEASURES)
        print(f"unknown measure {', '.join(sorted(unknown))}; known: {known}", file=sys.stderr)
        return 2
    absent = install()
    if absent:
        print(f"not installed: {', '.join(absent)}", flush=True)
    wanted = options.peers.lower().split(",") if options.peers else None
    peers = [p for p in PEERS if p.available and (wanted is None or p.name.lower() in wanted)]
    _raise_open_files()
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    cores = Cores.split(not options.no_pin)
    os.sched_setaffinity(0, cores.rest)
    begin = time.monotonic()
    load = os.getloadavg()[0]
    results: report.Results = {}
    with tempfile.TemporaryDirectory(prefix="vestibule-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers may run as another user
        bench = Bench(
            folder=folder,
            cores=cores,
            peers=peers,
            rounds=options.rounds or (1 if options.quick else 5),
            seconds=options.seconds or (1.0 if options.quick else 2.0),
            quick=options.quick,
        )
        try:
            for measure in MEASURES:
                if measure.key in keys:
                    print(f"{measure.key}: {measure.title}", flush=True)
                    results[measure.key] = measure.run(bench)
                    _show(results, [measure.key], [p.name for p in peers])
        finally:
            bench.stop()
    print(f"\nall: {time.monotonic() - begin:.0f} s\n")
    names = [peer.name for peer in PEERS if peer.name != report.OURS]
    print(report.as_text(report.rows(MEASURES, results, names), names))
    path = _RESULTS / ("quick.json.tmp" if options.quick else "latest.json")
    environment = _environment(cores, bench.rounds, bench.seconds, load)
    report.save(path, environment, results)
    if options.publish:
        table = report.as_markdown(report.rows(MEASURES, report.load(path), names), names)
        report.render(_PAGE, table, environment)
    for problem in bench.problems:
        print(f"! {problem}", file=sys.stderr)
    return 1 if bench.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", metavar="KEY,KEY", help="only these measures")
    parser.add_argument("--peers", metavar="NAME,NAME", help="only these proxies")
    parser.add_argument("--rounds", type=int, help="rounds of each (5)")
    parser.add_argument("--seconds", type=float, help="how long one load lasts (2)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work?")
    parser.add_argument("--no-pin", action="store_true", help="leave the cores to the kernel")
    parser.add_argument("--nice", type=int, help="priority of all that runs, as of nice(1)")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md too")
    return parser


def _show(results: report.Results, keys: list[str], peers: list[str]) -> None:
    for key in keys:
        for suffix, samples in results[key].items():
            for name in peers:
                if name in samples:
                    values = " ".join(f"{value:.2f}" for value in samples[name])
                    print(f"  {suffix or key:12} {name:10} {values}", flush=True)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _build() -> str:
    """Whether the command that is measured runs a compiled data plane."""
    program = "import proxy.exchange as m; print(m.__file__)"
    # Not here: this folder's sources would be found before what is installed.
    done = subprocess.run(
        [sys.executable, "-c", program], cwd="/", capture_output=True, text=True, check=True
    )
    return "compiled" if done.stdout.strip().endswith(".so") else "not compiled (see make bench)"


def _environment(cores: Cores, rounds: int, seconds: float, load: float) -> dict[str, str]:
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{processor}, {os.cpu_count()} cores; proxies on {sorted(cores.proxy)},"
        f" clients and backend on {sorted(cores.rest)}",
        "kernel": platform.release(),
        "Vestibule": f"{__version__}, {_build()}",
        "Python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "rounds": f"{rounds} of {seconds:g} s; {2 * rounds + 1} for handshakes",
        "load average at the start": f"{load:.1f} (whatever else the machine was doing)",
        "priority": f"nice {os.getpriority(os.PRIO_PROCESS, 0)}",
        **versions(),
    }


if __name__ == "__main__":
    sys.exit(main())
