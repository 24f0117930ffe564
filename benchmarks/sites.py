"""Ten thousand sites: how long until the first answer, what a site costs, is look-up flat?"""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench import Bench, Samples
from benchmarks.clients import ClientFailure, full_handshakes
from benchmarks.peers import Peer, PeerFailure, Site

_KIB = 1024


def many_sites(bench: Bench) -> dict[str, Samples]:
    """Start time, memory per site that is used, and the cost of a handshake among so many."""
    count, used = (500, 100) if bench.quick else (10_000, 1_000)
    folder = bench.folder / "sites"
    folder.mkdir()
    sites = [_site(bench, folder, number) for number in range(count)]
    rows: dict[str, Samples] = {"": {}, "memory": {}, "lookup": {}}
    for peer in bench.peers:
        if peer.name == "Caddy" and not bench.quick:
            continue  # loading 10,000 sites with their own files takes it minutes
        try:
            _measure(bench, peer, sites, used, rows)
        except (PeerFailure, ClientFailure, OSError) as failure:
            bench.report(peer, failure)
    return rows


def _site(bench: Bench, folder: Path, number: int) -> Site:
    name = f"site-{number}.test"
    return Site(name, bench.authority.issue(folder, name, name))


def _measure(
    bench: Bench, peer: Peer, sites: list[Site], used: int, rows: dict[str, Samples]
) -> None:
    alone = bench.start(peer, sites=sites[:1])
    try:
        empty = alone.program.memory_bytes()
        _handshakes(alone.port, sites[:1], used)
        single = bench.cpu_per(alone, lambda: _handshakes(alone.port, sites[:1], used))
    finally:
        alone.stop()
    one = bench.start(peer, sites=sites)
    try:
        before = one.program.memory_bytes()
        among = sites[1 : used + 1]
        _handshakes(one.port, among, used)
        # What every site costs, whether it is used or not, and what using it adds.
        cost = (before - empty) / len(sites) + (one.program.memory_bytes() - before) / used
        # The second time, nothing is loaded any more.
        many = bench.cpu_per(one, lambda: _handshakes(one.port, among, used))
        rows[""][peer.name] = [one.start_seconds]
        rows["memory"][peer.name] = [cost / _KIB]
        rows["lookup"][peer.name] = [many / single]
    finally:
        one.stop()


def _handshakes(port: int, sites: list[Site], count: int) -> int:
    full_handshakes(port, count, lambda number: sites[number % len(sites)].name)
    return count
