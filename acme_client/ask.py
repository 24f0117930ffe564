"""Asking whether a name is ours, before a certificate is ordered for it.

Whoever runs the server knows its customers; we do not. So a URL or a Python function is asked, and
only a plain yes counts: a name that nobody vouches for would let strangers spend the CA's limits.

An answer is yes, no, or :class:`AskFailed` when there is none (the application is being
restarted). The last is no answer at all and is not to be remembered as one.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import anyio
import anyio.to_thread
import requests

from acme_client.errors import AcmeClientError, innermost
from acme_client.functions import load_function

Ask = Callable[[str], Awaitable[bool]]

PARAMETER = "domain"


class AskFailed(AcmeClientError):
    """There was no answer."""

    kind = "ask"


def make_ask(source: str, *, seconds: float) -> Ask:
    """From a configuration's value: an http(s) URL, or ``module:function``."""
    if "://" in source:
        return ask_url(source, seconds=seconds)
    return ask_function(load_function(source), seconds=seconds)


def ask_url(url: str, *, seconds: float) -> Ask:
    """GET the URL with ``?domain=NAME``: 200 is yes, 5xx is no answer, all else is no."""

    async def ask(name: str) -> bool:
        with _limit(url, seconds):
            return await anyio.to_thread.run_sync(
                partial(_get, url, name, seconds), abandon_on_cancel=True
            )

    return ask


def ask_function(function: Callable[[str], object], *, seconds: float) -> Ask:
    """Call a function, sync (in a thread) or async, with the name; anything true is yes."""

    async def ask(name: str) -> bool:
        with _limit(getattr(function, "__qualname__", repr(function)), seconds):
            try:
                if inspect.iscoroutinefunction(function):
                    return bool(await function(name))
                found = await anyio.to_thread.run_sync(function, name, abandon_on_cancel=True)
                return bool(await found) if inspect.isawaitable(found) else bool(found)
            except TimeoutError:
                raise
            except Exception as error:
                # Other people's code: that it fails is no answer.
                raise AskFailed(f"{name}: {error!r}") from error

    return ask


@contextmanager
def _limit(what: str, seconds: float) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise AskFailed(f"{what} did not answer within {seconds:g} s") from None


def _get(url: str, name: str, seconds: float) -> bool:
    try:
        with requests.Session() as session:
            # The application is beside us: no proxy of the environment's lies between.
            session.trust_env = False
            with session.get(
                url,
                params={PARAMETER: name},
                timeout=seconds,
                allow_redirects=False,
                stream=True,  # nobody reads the body
            ) as response:
                status = response.status_code
    except requests.RequestException as error:
        raise AskFailed(f"{url} does not answer: {_reason(error)}") from error
    if status >= 500:
        raise AskFailed(f"{url} answers {status}")
    return status == 200


def _reason(error: requests.RequestException) -> str:
    cause = error.args[0] if error.args else error
    return innermost(getattr(cause, "reason", None) or cause)
