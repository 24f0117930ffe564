"""What an object of a slotted class holds, whether the class is compiled or not."""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType


def attributes(thing: object) -> dict[str, object]:
    """Its attributes by name."""
    kinds = MemberDescriptorType | GetSetDescriptorType
    names = {
        name
        for kind in type(thing).__mro__
        for name, at in vars(kind).items()
        if isinstance(at, kinds)
    }
    return {name: getattr(thing, name) for name in sorted(names) if not name.startswith("__")}
