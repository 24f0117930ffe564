"""Load from wrk and h2load, and what they say about it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backend import MIB
from benchmarks.peers import HOST

UPLOAD_SCRIPT = f"""\
wrk.method = "POST"
wrk.body = string.rep("x", {MIB})
wrk.headers["Content-Type"] = "application/octet-stream"
"""


_CONNECT_EVERY = "2ms"


class LoadFailure(Exception):
    """A load generator failed, or got other answers than it should have."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was done."""

    requests: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def wrk(
    port: int, path: str, *, connections: int, seconds: float, script: Path | None = None
) -> Load:
    """Keep-alive HTTP/1.1 requests, one after the other on each connection."""
    arguments = [
        shutil.which("wrk") or "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
    ]
    if script is not None:
        arguments += ["-s", str(script)]
    output = _run([*arguments, f"https://{HOST}:{port}{path}"], seconds)
    if "Non-2xx" in output or "Socket errors" in output:
        raise LoadFailure(f"wrk saw errors:\n{output}")
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", output)
    if found is None:
        raise LoadFailure(f"wrk said:\n{output}")
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]
    return Load(int(found[1]), float(found[2]) * unit)


def h2load(port: int, path: str, *, connections: int, streams: int, seconds: float) -> Load:
    """HTTP/2 requests, so many streams at a time on each connection."""
    arguments = [
        *(shutil.which("h2load") or "h2load", "-t1", f"-c{connections}", f"-m{streams}"),
        *(f"-D{max(1, round(seconds))}", f"https://{HOST}:{port}{path}"),
    ]
    output = _run(arguments, seconds)
    done = _succeeded(output)
    return Load(done, max(1.0, float(round(seconds))))


@dataclass(frozen=True, slots=True)
class Latencies:
    """Times from the sending of requests to the end of their responses, in seconds, sorted."""

    times: tuple[float, ...]
    rate: float

    def percentile(self, share: float) -> float:
        return self.times[min(len(self.times) - 1, int(len(self.times) * share))]


def h2load_at_rate(
    port: int, path: str, *, connections: int, rate: float, seconds: float, log: Path
) -> Latencies:
    """HTTP/1.1 requests at a fixed rate, each connection in its own rhythm.

    The connections are opened one after the other: opened at once, they would send at once, too,
    and the figure would be that of bursts. The first and the last quarter of the time, when not
    all connections are there, are left out.
    """
    each = max(1, round(rate / connections))
    total = int(each * connections * seconds)
    log.unlink(missing_ok=True)
    arguments = [
        *(shutil.which("h2load") or "h2load", "--h1", "-t1", f"-c{connections}", f"--rps={each}"),
        *(f"-n{total}", "-r1", f"--rate-period={_CONNECT_EVERY}", f"--log-file={log}"),
        f"https://{HOST}:{port}{path}",
    ]
    _succeeded(_run(arguments, seconds * 3), total)
    rows = [line.split("\t") for line in log.read_text("ascii").splitlines()]
    begin = min(int(row[0]) for row in rows)
    end = max(int(row[0]) for row in rows)
    first, last = begin + (end - begin) // 4, end - (end - begin) // 4
    times = sorted(int(row[2]) / 1e6 for row in rows if first <= int(row[0]) < last)
    return Latencies(tuple(times), len(times) / ((last - first) / 1e6))


def _succeeded(output: str, expected: int | None = None) -> int:
    found = re.search(
        r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", output
    )
    if found is None or int(found[3]) or int(found[2]) < int(found[1]):
        raise LoadFailure(f"h2load saw errors:\n{output[-1500:]}")
    if expected is not None and int(found[2]) != expected:
        raise LoadFailure(f"h2load did {found[2]} of {expected} requests:\n{output[-1500:]}")
    return int(found[2])


def _run(arguments: list[str], seconds: float) -> str:
    try:
        result = subprocess.run(
            arguments, capture_output=True, text=True, timeout=seconds + 60, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailure(f"{arguments[0]} did not end in time") from error
    if result.returncode:
        raise LoadFailure(f"{' '.join(arguments)}:\n{result.stdout}{result.stderr}")
    return result.stdout
