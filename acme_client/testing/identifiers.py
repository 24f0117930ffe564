"""Identifiers (RFC 8555 §9.7.7, RFC 8738) and what the CA accepts as one. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from acme_client.testing.problems import Problem, malformed

MAX_IDENTIFIERS = 100

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    type: str
    value: str

    def document(self) -> dict[str, str]:
        return {"type": self.type, "value": self.value}

    @property
    def wildcard(self) -> bool:
        return self.value.startswith("*.")

    @property
    def base(self) -> Identifier:
        """What an authorization names: a wildcard without its first label (RFC 8555 §7.1.4)."""
        return Identifier(self.type, self.value[2:]) if self.wildcard else self


def parse_identifiers(raw: Any) -> tuple[Identifier, ...]:
    """The identifiers of a new order, checked; doubles are dropped, the order is kept."""
    if not isinstance(raw, list) or not raw:
        raise malformed("the order needs a list of at least one identifier")
    if len(raw) > MAX_IDENTIFIERS:
        raise malformed(f"an order may hold {MAX_IDENTIFIERS} identifiers, not {len(raw)}")
    parsed: dict[Identifier, None] = {}
    faults: list[Problem] = []
    for item in raw:
        if not isinstance(item, dict) or not all(
            isinstance(item.get(key), str) for key in ("type", "value")
        ):
            raise malformed("an identifier is an object with the strings type and value")
        try:
            parsed[parse_identifier(item["type"], item["value"])] = None
        except Problem as problem:
            problem.identifier = {"type": item["type"], "value": item["value"]}
            faults.append(problem)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        # RFC 8555 §6.7.1: several faults go out as one document with subproblems.
        kinds = {problem.kind for problem in faults}
        kind = kinds.pop() if len(kinds) == 1 else "compound"
        raise Problem(kind, f"{len(faults)} identifiers were refused", subproblems=faults)
    return tuple(parsed)


def parse_identifier(kind: str, value: str) -> Identifier:
    if kind == "dns":
        return Identifier("dns", _dns_name(value))
    if kind == "ip":
        return Identifier("ip", _address(value))
    raise Problem("unsupportedIdentifier", f"identifiers are dns or ip, not {kind!r}")


def _dns_name(value: str) -> str:
    name = value.lower()
    rest = name.removeprefix("*.")
    labels = rest.split(".")
    if len(rest) > 253 or not all(_LABEL.match(label) for label in labels):
        raise Problem("rejectedIdentifier", f"{value!r} is no domain name")
    if len(labels) < 2:
        raise Problem("rejectedIdentifier", f"{value!r} needs at least one dot")
    if labels[-1].isdigit():
        raise Problem("rejectedIdentifier", f"{value!r} is an address, not a domain name")
    return name


def _address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise Problem("rejectedIdentifier", f"{value!r} is no IP address") from None
    # RFC 8738 §3: the textual form of RFC 1123 or RFC 5952, so exactly one is right.
    if str(address) != value:
        raise Problem("rejectedIdentifier", f"write {address}, not {value!r}")
    return value


def last_two_labels(name: str) -> str:
    """A registered domain without the Public Suffix List: right for ``.com`` and ``.example``."""
    return ".".join(name.removeprefix("*.").split(".")[-2:])
