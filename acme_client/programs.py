"""Running other people's programs: hooks, and commands that change DNS.

A program runs in a session of its own, so that all of it, children in the background too, can be
ended: when it has ended itself, and when its caller's time is over (the caller's limit is a
cancellation here). It gets no input, and what it prints is read as it comes, so that it never
blocks; the end of it is kept, for when it has to be told why something failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import anyio
import anyio.abc

KEPT_OUTPUT_BYTES = 4096
SHOWN_OUTPUT_CHARS = 2048
"""Less than is kept: a secret that was cut at the beginning could not be blotted out."""
LAST_OUTPUT_SECONDS = 1.0
"""How long what is left of the output is waited for after the program has ended."""


async def run_program(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str]:
    """Run it to its end, without a shell; its status, and the end of what it printed.

    Only the last ``SHOWN_OUTPUT_CHARS`` of that are to be shown, after secrets were blotted out.

    Raises OSError when it cannot be started.
    """
    # Cancelled half-way, nobody would know its session, and what it has started would stay.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    output = bytearray()
    try:
        async with anyio.create_task_group() as group:
            ended = anyio.Event()
            group.start_soon(_keep_end, process, output, ended)
            status = await process.wait()
            # A child in the background may hold the pipe open for ever; it gets no more time.
            with anyio.move_on_after(LAST_OUTPUT_SECONDS):
                await ended.wait()
            group.cancel_scope.cancel()
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing of it is left
        with anyio.CancelScope(shield=True):
            await process.aclose()
    return status, output.decode("utf-8", "replace").strip()


async def _keep_end(process: anyio.abc.Process, output: bytearray, ended: anyio.Event) -> None:
    assert process.stdout is not None
    async for piece in process.stdout:
        output += piece
        del output[:-KEPT_OUTPUT_BYTES]
    ended.set()
