"""Vestibule as its user starts it: a configuration file, and ``python -m proxy run --config``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from tests.e2e.programs import Program, ReservedPort, children_of
from tests.e2e.waiting import wait_until

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"

COMMAND: Final = (sys.executable, "-m", "proxy")
SCRIPT: Final = str(Path(sys.executable).with_name("vestibule"))
"""The console script that the package installs."""

STARTING: Final = 60.0
"""Seconds for several Python processes to start on a loaded machine."""

ENGINES: Final = ("h11", "httptools")


def to_toml(tree: Mapping[str, Value]) -> str:
    """A configuration file with these keys."""
    return "".join(f"{key} = {_inline(value)}\n" for key, value in tree.items())


def _inline(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str | int | float):
        # A JSON string without control characters is a TOML string; numbers and booleans are too.
        return json.dumps(value, ensure_ascii=False)
    return "[" + ", ".join(map(_inline, value)) + "]"


class Vestibule(Program):
    """A running ``vestibule run``.

    ``https`` and ``http`` are the ports, reserved for as long as this object is used: a second
    process may be started on them when the first one has ended.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Value],
        *,
        ports: tuple[ReservedPort, ReservedPort] | None = None,
        command: Sequence[str] = COMMAND,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ports = ports or (ReservedPort(), ReservedPort())
        self.https, self.http = (port.number for port in self.ports)
        self.config_file = folder / "vestibule.toml"
        listen: Value = {"https": [str(self.ports[0])], "http": [str(self.ports[1])]}
        self.config_file.write_text(to_toml({"workers": 1, "listen": listen, **config}), "utf-8")
        number = len(list(folder.glob("vestibule-*.log"))) + 1
        super().__init__(
            [*command, "run", "--config", str(self.config_file)],
            folder / f"vestibule-{number}.log",
            environ=environ,
        )

    def __enter__(self) -> Vestibule:
        return self

    def until_ready(self) -> Vestibule:
        """Wait until all its children serve; returns itself."""
        try:
            self.wait_for(r"Vestibule running on ", STARTING)
        except AssertionError:
            self.end()
            raise
        return self

    def end(self) -> None:
        super().end()
        for port in self.ports:
            port.close()

    @property
    def state(self) -> Path:
        """The folder of the store, where the configuration does not say otherwise."""
        return self.folder / "state"

    @property
    def children(self) -> list[int]:
        """The PIDs of workers, certificate manager and apps."""
        return children_of(self.pid)

    @property
    def worker(self) -> int:
        """The PID of the first worker; it is started before the certificate manager."""
        return self.children[0]

    def kill_all(self) -> None:
        """As if the machine lost its power: no process of it does anything more."""
        children = self.children
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        self.kill()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),
            "the end of the killed children",
        )
