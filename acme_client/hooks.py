"""Telling others: commands and Python functions that run when something happened.

A hook runs after the fact (the certificate is stored and in use), has a time limit, and whatever
it does wrong is logged and changes nothing. A command gets its facts in environment variables.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import anyio
import anyio.to_thread

from acme_client.errors import RequestError
from acme_client.programs import SHOWN_OUTPUT_CHARS, run_program
from acme_client.store.interface import StoredCertificate

logger = logging.getLogger(__name__)

EVENTS = ("issued", "renewed", "failed", "expiring")
DEFAULT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEvent:
    """What happened to a certificate."""

    kind: str
    """One of ``EVENTS``."""
    certificate_id: str
    names: tuple[str, ...]
    message: str
    certificate: StoredCertificate | None = field(default=None, repr=False)
    """The certificate in use now."""
    retry_at: datetime | None = None

    def environment(self) -> dict[str, str]:
        """What a command is told."""
        values = {
            "VESTIBULE_EVENT": self.kind,
            "VESTIBULE_CERTIFICATE_ID": self.certificate_id,
            "VESTIBULE_NAMES": " ".join(self.names),
            "VESTIBULE_MESSAGE": self.message,
        }
        if self.retry_at is not None:
            values["VESTIBULE_RETRY_AT"] = self.retry_at.isoformat()
        if self.certificate is not None:
            values["VESTIBULE_NOT_AFTER"] = self.certificate.not_after.isoformat()
            values["VESTIBULE_SERIAL"] = self.certificate.serial
            if self.certificate.location is not None:
                values["VESTIBULE_CHAIN"] = str(self.certificate.location / "chain.pem")
                values["VESTIBULE_KEY"] = str(self.certificate.location / "key.pem")
        return values


HookFunction = Callable[[CertificateEvent], object | Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A command (no shell; give ``("sh", "-c", ...)`` for one) or a function, sync or async."""

    run: tuple[str, ...] | HookFunction
    events: tuple[str, ...] = ("issued", "renewed")
    timeout: float = DEFAULT_SECONDS

    def __post_init__(self) -> None:
        for event in self.events:
            if event not in EVENTS:
                raise RequestError(f"hook event {event!r}: allowed are {', '.join(EVENTS)}")
        if self.run == ():
            raise RequestError("a hook needs a command or a function")

    def __str__(self) -> str:
        if callable(self.run):
            return getattr(self.run, "__qualname__", repr(self.run))
        return " ".join(self.run)


async def run_hooks(hooks: tuple[Hook, ...], event: CertificateEvent) -> None:
    """Run the hooks that want this event, one after another."""
    for hook in hooks:
        if event.kind in hook.events:
            await _run_hook(hook, event)


async def _run_hook(hook: Hook, event: CertificateEvent) -> None:
    try:
        with anyio.fail_after(hook.timeout):
            if callable(hook.run):
                await _call(hook.run, event)
            else:
                await _execute(hook.run, event)
    except TimeoutError:
        logger.warning("hook %s did not end within %g s and was stopped", hook, hook.timeout)
    except Exception:
        # Other people's code: whatever it raises is their failure, told and survived.
        logger.exception("hook %s failed at event %s", hook, event.kind)


async def _call(function: HookFunction, event: CertificateEvent) -> None:
    if inspect.iscoroutinefunction(function):
        await function(event)
        return
    result = await anyio.to_thread.run_sync(function, event, abandon_on_cancel=True)
    if inspect.isawaitable(result):
        await result


async def _execute(command: tuple[str, ...], event: CertificateEvent) -> None:
    status, text = await run_program(command, {**os.environ, **event.environment()})
    if status != 0:
        shown = text[-SHOWN_OUTPUT_CHARS:] or "no output"
        logger.warning("hook %s ended with status %d: %s", command[0], status, shown)
