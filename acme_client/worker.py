"""Blocking calls (disk, CA) from the event loop, in threads, each with a limit.

The two kinds end differently. A disk operation is short and is always waited for. A request to a
CA may hang for as long as its socket's limits allow; a cancelled or overdue one is left behind, in
a thread that also does not hold up the end of the process. So a request that changes something at
the CA and the saving of its answer belong into one call: they then happen together, or, if the
process ends before the answer comes, not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from acme_client.errors import IssuerUnreachable

T = TypeVar("T")

REQUEST_SECONDS = 60.0
"""One request to a CA, all in all; its connect and read limits are shorter."""


async def on_disk(call: Callable[[], T]) -> T:
    """Run a store operation; it is finished before a cancellation takes effect."""
    return await anyio.to_thread.run_sync(call)


async def at_the_ca(call: Callable[[], T]) -> T:
    """Run one request to a CA; see the module's docstring."""
    try:
        with anyio.fail_after(REQUEST_SECONDS):
            return await in_daemon_thread(call)
    except TimeoutError as error:
        raise IssuerUnreachable(f"the CA did not finish within {REQUEST_SECONDS:.0f} s") from error


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """Run a call in a thread of its own, which nobody waits for once this is cancelled.

    (The threads of ``anyio.to_thread`` are joined when the interpreter ends.)
    """
    token = anyio.lowlevel.current_token()
    done = anyio.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            # Carried over to the task that waits, whatever it is.
            errors.append(error)
        try:
            anyio.from_thread.run_sync(done.set, token=token)
        except anyio.RunFinishedError:
            return  # the event loop has ended, and with it whoever waited

    threading.Thread(target=run, name="request to a CA", daemon=True).start()
    await done.wait()
    if errors:
        raise errors[0]
    return results[0]
