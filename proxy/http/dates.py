"""The Date of our own answers (RFC 9110 §5.6.7, §6.6.1), made once per second."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache


@lru_cache(maxsize=2)
def http_date(seconds: int) -> bytes:
    """The IMF-fixdate of whole seconds since the epoch."""
    return formatdate(seconds, usegmt=True).encode("ascii")
