"""Python functions that a configuration names: ``module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from acme_client.errors import RequestError


def load_function(text: str) -> Callable[..., Any]:
    """Import it; RequestError says what is missing. The module is run by this."""
    module_name, colon, path = text.partition(":")
    if not colon or not module_name or not path:
        raise RequestError(f"{text!r} is no function; write module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        # Other people's code: whatever keeps it from being imported is told.
        raise RequestError(f"{text!r} cannot be imported: {error!r}") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise RequestError(f"{text!r}: {module_name} has no {path!r}") from None
    if not callable(found):
        raise RequestError(f"{text!r} is no function but {found!r}")
    function: Callable[..., Any] = found
    return function
