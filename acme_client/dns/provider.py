"""What writes TXT records: two methods, so that a provider of one's own is ten lines.

A provider knows one DNS service and nothing of ACME: it is told the full name of the record and
its value. Aliases, propagation, time limits and clean-up after failures are the business of
:class:`acme_client.dns.solver.Dns01Solver`, which is the same for all of them.

Both methods are coroutines. A provider that blocks (most API clients do) runs its calls with
:func:`in_thread`; a coroutine that is cancelled then no longer waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from acme_client.challenges.solver import DnsSolver

__all__ = ["DnsProvider", "DnsSolver", "in_thread"]

T = TypeVar("T")


class DnsProvider(Protocol):
    """Writes TXT records at one DNS service.

    Other TXT records of the same name stay as they are: a certificate for ``example.com`` and
    ``*.example.com`` needs two at once. Failures are raised as ``NotPresented``, or whatever else
    the service's own library raises; the text must hold no credentials.
    """

    async def present(self, name: str, value: str) -> None:
        """Add a TXT record. ``name`` is absolute, without a final dot. There already: no error."""

    async def clean_up(self, name: str, value: str) -> None:
        """Remove exactly that record. Gone already: no error."""


async def in_thread(call: Callable[[], T], limiter: anyio.CapacityLimiter | None = None) -> T:
    """Run a blocking call in a thread, left behind when the caller is cancelled."""
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
