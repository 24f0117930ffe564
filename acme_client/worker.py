"""Blocking calls (disk, CA) from the event loop, in worker threads, each with a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from acme_client.errors import IssuerUnreachable

T = TypeVar("T")

REQUEST_SECONDS = 60.0
"""One request to a CA, all in all; its connect and read limits are shorter."""


async def on_disk(call: Callable[[], T]) -> T:
    """Run a store operation; it is finished before a cancellation takes effect."""
    return await anyio.to_thread.run_sync(call)


async def at_the_ca(call: Callable[[], T]) -> T:
    """Run one request to a CA.

    A cancelled or overdue call is abandoned and not waited for: its thread ends at the limits of
    its socket. So a request that changes something at the CA and the saving of its answer belong
    into the same call, which then still happen together.
    """
    try:
        with anyio.fail_after(REQUEST_SECONDS):
            return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
    except TimeoutError as error:
        raise IssuerUnreachable(f"the CA did not finish within {REQUEST_SECONDS:.0f} s") from error
