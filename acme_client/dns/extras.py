"""Optional dependencies, and the error that names what to install."""

from __future__ import annotations

from acme_client.errors import RequestError


class MissingExtra(RequestError, ImportError):
    """A package that only some installations need is not there."""

    kind = "missing-extra"

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package}: install it with pip install 'vestibule[{extra}]'"
        )
