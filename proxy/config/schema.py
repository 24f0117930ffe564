"""What keys exist, read from the model itself, so that nothing has to list them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from types import UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

from proxy.config.fields import Section
from proxy.config.model import Config
from proxy.limits import Limits

Annotation = object
Key = tuple[str | int, ...]


def keys_of(annotation: Annotation) -> dict[str, Annotation]:
    """The keys of a table, or of the tables in a list; nothing for a plain value."""
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, Section):
            return {name: field.annotation for name, field in part.model_fields.items()}
        if part is Limits:
            hints = get_type_hints(Limits)
            return {field.name: hints[field.name] for field in fields(Limits)}
    return {}


def annotation_at(key: Key) -> Annotation | None:
    """What stands at a key; None when there is no such key. Numbers are places in a list."""
    annotation: Annotation = Config
    for part in key:
        if isinstance(part, int):
            continue
        keys = keys_of(annotation)
        if part not in keys:
            return None
        annotation = keys[part]
    return annotation


def is_list(annotation: Annotation) -> bool:
    return get_origin(annotation) is tuple


def is_table_of_any(annotation: Annotation) -> bool:
    """Whether it is a table whose keys are the user's own."""
    return get_origin(annotation) is dict


def leaves(annotation: Annotation = Config, key: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that holds a plain value or a list, depth first; lists are not entered."""
    for name, inner in keys_of(annotation).items():
        if keys_of(inner) and not is_list(inner):
            yield from leaves(inner, (*key, name))
        else:
            yield (*key, name)


def written(key: Sequence[str | int]) -> str:
    """A key as messages write it: ``sites[0].names[1]``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _parts(annotation: Annotation) -> Iterator[Annotation]:
    """An annotation without the layers that say nothing about keys."""
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        for inner in get_args(annotation):
            yield from _parts(inner)
    else:
        yield annotation
