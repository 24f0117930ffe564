"""The proxies that most tests share, one per engine and kind, with all sites that they need.

Which name leads where::

    app.test     real Uvicorn on TCP
    unix.test    real Uvicorn (h11) on a unix socket
    api.test     /api/v1 with its prefix stripped: real Uvicorn with --root-path; else app.test's
    front.test   the recording backend, and so *.wild.test and exact.wild.test
    script.test  the scripted backend; /capped takes bodies up to 1,000 bytes
    pair.test    the scripted backend and another one, where one of them may be away
    turns.test   the same two, where both are there
    dead.test    nobody
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.pki import Pki
from tests.e2e.programs import ReservedPort
from tests.e2e.proxy_process import Value, Vestibule
from tests.e2e.uvicorn_process import Uvicorn

TIGHT_LIMITS: Mapping[str, Value] = {
    "header_timeout": 1.0,
    "keep_alive_timeout": 1.0,
    "stall_timeout": 1.0,
    "handshake_timeout": 1.0,
    "upstream_response_timeout": 1.0,
    "connections_per_address": 8,
    "tunnel_idle_timeout": 1.0,
    "connection_age": 4.0,
}
"""Small enough to be waited for."""


class Backends:
    """Where the sites lead: ports and sockets that are known before anybody listens there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = ReservedPort()
        self.rooted = ReservedPort()
        self.recording = ReservedPort()
        self.scripted = ReservedPort()
        self.second = ReservedPort()
        self.dead = ReservedPort()
        self.unix_path = folder / "app.sock"

    def start_app(self, stack: ExitStack) -> Uvicorn:
        """Real Uvicorn, three times; returns the first."""
        first = Uvicorn(self.folder / "uvicorn.log", "--port", str(self.app.number))
        rooted = Uvicorn(
            self.folder / "uvicorn-rooted.log",
            *("--port", str(self.rooted.number), "--root-path", "/api/v1"),
        )
        on_socket = Uvicorn(
            self.folder / "uvicorn-unix.log",
            *("--uds", str(self.unix_path), "--http", "h11", "--forwarded-allow-ips", "*"),
        )
        for program in (first, rooted, on_socket):
            stack.enter_context(program)
        for program in (first, rooted, on_socket):
            program.until_ready()
        return first

    def sites(self, pki: Pki) -> list[Value]:
        def own(*names: str) -> Value:
            chain, key = pki.issue(*names)
            return {"chain": str(chain), "key": str(key)}

        def site(name: str, *upstreams: str, **more: Value) -> Value:
            return {
                "names": [name],
                "certificate": own(name),
                "upstreams": list(upstreams),
                **more,
            }

        app, recording = str(self.app), str(self.recording)
        stripped: Value = {
            "path": "/api/v1",
            "strip_prefix": True,
            "upstreams": [str(self.rooted)],
        }
        capped: Value = {"path": "/capped", "body_bytes": 1000}
        return [
            site("app.test", app),
            site("unix.test", f"unix:{self.unix_path}"),
            site("api.test", app, routes=[stripped]),
            site("front.test", recording),
            site("*.wild.test", recording),
            site("exact.wild.test", recording),
            site("script.test", str(self.scripted), routes=[capped]),
            site("pair.test", str(self.scripted), str(self.second)),
            site("turns.test", str(self.scripted), str(self.second)),
            site("dead.test", str(self.dead)),
        ]

    def close(self) -> None:
        for port in (
            self.app,
            self.rooted,
            self.recording,
            self.scripted,
            self.second,
            self.dead,
        ):
            port.close()


@dataclass(frozen=True, slots=True)
class Front:
    """A running proxy before the shared backends."""

    proxy: Vestibule
    pki: Pki
    backends: Backends
    engine: str

    @property
    def port(self) -> int:
        return self.proxy.https

    @property
    def http_port(self) -> int:
        return self.proxy.http

    def url(self, site: str, path: str = "/") -> str:
        return f"https://{site}:{self.port}{path}"


class Fronts:
    """Starts each front when it is first asked for."""

    def __init__(self, folder: Path, pki: Pki, backends: Backends) -> None:
        self._folder = folder
        self._pki = pki
        self._backends = backends
        self._started: dict[tuple[str, str], Front] = {}

    def get(self, engine: str, kind: str = "plain") -> Front:
        """``kind`` is ``plain`` (default limits) or ``tight`` (TIGHT_LIMITS)."""
        key = engine, kind
        if key not in self._started:
            limits: Mapping[str, Value] = TIGHT_LIMITS if kind == "tight" else {}
            config: dict[str, Value] = {
                "http": engine,
                "limits": limits,
                "sites": self._backends.sites(self._pki),
            }
            proxy = Vestibule(self._folder / f"{kind}-{engine}", config).until_ready()
            self._started[key] = Front(proxy, self._pki, self._backends, engine)
        return self._started[key]

    def end(self) -> None:
        for front in self._started.values():
            front.proxy.end()

    def __iter__(self) -> Iterator[Front]:
        return iter(self._started.values())
