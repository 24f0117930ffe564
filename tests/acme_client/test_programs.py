"""Other people's programs: run to the end, ended with all they started, never waited for long."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import anyio
import pytest

from acme_client.programs import KEPT_OUTPUT_BYTES, run_program

pytestmark = pytest.mark.anyio


async def test_its_status_and_what_it_printed() -> None:
    script = "echo out; echo err >&2; exit 3"
    assert await run_program(("sh", "-c", script), os.environ) == (3, "out\nerr")


async def test_it_gets_this_environment_and_no_input() -> None:
    script = "import os; print(os.environ['A']); input()"
    status, output = await run_program((sys.executable, "-c", script), {"A": "b"})
    assert status == 1
    assert output.startswith("b\n")
    assert output.endswith("EOFError: EOF when reading a line")


async def test_what_does_not_exist_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        await run_program(("/nonexistent/program",), {})


async def test_much_output_never_blocks_and_its_end_is_kept() -> None:
    script = "import sys; sys.stdout.write('x' * 10**6 + 'the end'); sys.exit(1)"
    status, output = await run_program((sys.executable, "-c", script), {})
    assert status == 1
    assert output.endswith("the end")
    assert len(output) == KEPT_OUTPUT_BYTES


async def test_a_child_in_the_background_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the pipe open, which nobody waits for."""
    monkeypatch.setattr("acme_client.programs.LAST_OUTPUT_SECONDS", 0.01)
    pid = tmp_path / "pid"
    script = f'sleep 1000 & echo $! > "{pid}"; exit 0'
    with anyio.fail_after(20):
        assert await run_program(("sh", "-c", script), os.environ) == (0, "")
    assert ends(int(pid.read_text()))


async def test_all_of_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    script = f'sleep 1000 & echo "$! $$" > "{pids}"; wait'
    async with anyio.create_task_group() as group:
        group.start_soon(run_program, ("sh", "-c", script), dict(os.environ))
        found = await anyio.Path(pids).read_text()
        group.cancel_scope.cancel()
    assert all(ends(int(pid)) for pid in found.split())


def ends(pid: int) -> bool:
    """Whether a process, which need not be our child, ends, or has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)
