"""How a command tells a running manager that it changed something in the store.

The command leaves a note there, under the certificate's id; the manager looks for notes every
other second, reads what is new, tells the workers, and removes the note. Without a manager the
notes lie there and do no harm: the next one reads everything anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import anyio
import anyio.to_thread

from acme_client import CertificateManager, RequestError, Store, StoreError
from proxy.limits import SECONDS

logger = logging.getLogger(__name__)

FOLDER = "changes"
LOOK_SECONDS = 2 * SECONDS


def note_change(store: Store, certificate_id: str, now: datetime) -> None:
    store.save_document(f"{FOLDER}/{certificate_id}", {"at": now.isoformat()})


async def follow_changes(
    manager: CertificateManager,
    store: Store,
    unknown: Callable[[], Awaitable[None]],
    *,
    every: float = LOOK_SECONDS,
) -> None:
    """Read what others changed, until cancelled; ``unknown`` is for what is not in care."""
    while True:
        try:
            names = await anyio.to_thread.run_sync(store.document_names, FOLDER)
            for name in names:
                await anyio.to_thread.run_sync(store.delete_document, name)
                await _refresh(manager, name.removeprefix(f"{FOLDER}/"), unknown)
        except StoreError as error:
            logger.error("the notes of commands cannot be read: %s", error)
        await anyio.sleep(every)


async def _refresh(
    manager: CertificateManager, certificate_id: str, unknown: Callable[[], Awaitable[None]]
) -> None:
    try:
        await manager.refresh(certificate_id)
    except RequestError as error:
        # A name on demand that a command was given; or of another configuration on this store.
        logger.debug("%s", error)
        await unknown()
