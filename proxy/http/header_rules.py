"""Header rules of a route: what is set, what is removed, in requests and in responses (pure).

They work on end-to-end headers. What frames a message, what belongs to one hop, and what tells the
backend about the client is not theirs to touch: those names are refused when the rules are made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from proxy.http.head import FORWARDED_FAMILY, ResponseHead
from proxy.http.headers import HOP_BY_HOP, field_lines, with_fields

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_VALUE: Final = re.compile(r"[\t -~]*")
_PROTECTED: Final = HOP_BY_HOP | {b"content-length", b"expect", b"forwarded", b"host", b"x-real-ip"}


class HeaderRules:
    """What one direction of a route changes.

    Attributes:
        fields: what is set.
        lines: the same as header lines.
        dropped: lower-case names whose fields do not go on: those removed and those set anew.
    """

    __slots__ = ("dropped", "fields", "lines")

    def __init__(self, set_: Mapping[str, str], remove: Iterable[str]) -> None:
        """Make rules. Raises ValueError naming a header that is not allowed."""
        for name in (*set_, *remove):
            _check_name(name)
        for name, value in set_.items():
            if _VALUE.fullmatch(value) is None or value != value.strip():
                raise ValueError(f"header {name!r}: {value!r} is no header value")
        self.fields = [(name.encode(), value.encode()) for name, value in set_.items()]
        self.lines = field_lines(self.fields)
        self.dropped = frozenset(name.lower().encode() for name in (*set_, *remove))

    def __bool__(self) -> bool:
        return bool(self.dropped)

    def apply(self, head: ResponseHead) -> ResponseHead:
        """The head with its fields changed."""
        old = head.fields
        kept = [
            field
            for lowered, field in zip(old.lowered, old.fields, strict=True)
            if lowered not in self.dropped
        ]
        return with_fields(head, [*kept, *self.fields], self.dropped)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no header name")
    lowered = name.lower().encode()
    if lowered in _PROTECTED or lowered.startswith(FORWARDED_FAMILY):
        raise ValueError(f"header {name!r} is made by the proxy and cannot be set or removed")


NO_RULES: Final = HeaderRules({}, ())


def header_rules(set_: Mapping[str, str], remove: Sequence[str]) -> HeaderRules:
    """The rules; the same object for all routes that have none."""
    return HeaderRules(set_, remove) if set_ or remove else NO_RULES
