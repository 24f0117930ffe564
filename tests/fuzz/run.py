"""``make fuzz``: each target for some seconds, with a table of what was done.

    python -m tests.fuzz.run [--seconds 60] [target ...]

Every target runs in a process of its own (``tests.fuzz.one``). Where Atheris is installed it is
guided by the coverage of our Python code; where it is not (it needs a wheel for this Python), the
same targets run on random edits of their seeds, and the table says so. Inputs that found something
are kept in ``build/fuzz/<target>/``; the exit status is 1 when there are any.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.all_targets import TARGETS

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "build" / "fuzz"

_START_SECONDS: Final = 120
"""A process may need so long beyond its time: instrumented imports, and the first seeds."""


def main(arguments: list[str] | None = None) -> int:
    """Run the targets; the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.targets if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    say(f"{'target':<18}{'guided by':<12}{'executions':>12}{'per second':>12}  result")
    total = findings = 0
    for name in chosen.targets or TARGETS:
        executions, fine = run_target(name, chosen.seconds)
        total += executions
        findings += not fine
    say(f"{'in all':<30}{total:>12,}{'':>12}  {findings} with findings")
    return 1 if findings else 0


def run_target(name: str, seconds: int) -> tuple[int, bool]:
    """Executions, and whether nothing was found."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(seconds), str(folder)]
    log = folder / "log.txt"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + _START_SECONDS,
                check=False,
            )
            ended_well = done.returncode == 0
        except subprocess.TimeoutExpired as error:
            # What hangs is found, and the other targets have their time all the same.
            output.write(f"{error}\n".encode())
            ended_well = False
    report = folder / "report.json"
    fine = ended_well and report.is_file()
    told = json.loads(report.read_text("utf-8")) if report.is_file() else {}
    executions = int(told.get("executions", 0))
    rate = executions / max(float(told.get("seconds", 0)), 0.001)
    result = "nothing found" if fine else f"FOUND SOMETHING: see {log}"
    guide = told.get("guide", "?")
    say(f"{name:<18}{guide:<12}{executions:>12,}{rate:>12,.0f}  {result}")
    return executions, fine


def say(line: str) -> None:
    """A line of the table, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
