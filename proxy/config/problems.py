"""Faults in the words of the person who wrote the configuration.

pydantic finds the faults; its own texts speak of inputs and instances. Here each becomes one
line: the key, the value, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.schema import Key, annotation_at, keys_of, written

_SHOWN = 80

_CLOSE = 0.75
"""How like each other (by difflib's ratio) two names are of which one may be meant for the other:
a slip or two, a missing ending. Below that a guess is as likely to mislead."""


def problems_of(error: ValidationError, origin: Callable[[Key], str | None]) -> list[str]:
    """One line per fault; ``origin`` tells which variable or flag a key's value came from."""
    details = error.errors(include_url=False)
    keys = [detail["loc"] for detail in details]
    problems = []
    for detail in details:
        key = detail["loc"]
        # A list whose items are wrong is reported as too short as well: that says nothing.
        if detail["type"] == "too_short" and any(_is_inside(other, key) for other in keys):
            continue
        source = origin(key)
        where = f"{written(key)} (from {source})" if source else written(key)
        problems.append(f"{where}: {_in_words(detail)}")
    return problems


def unknown(word: str, known: Iterable[str], what: str = "key") -> str:
    """What to say about a name that is not known."""
    known = sorted(known)
    if (meant := closest(word, known)) is not None:
        return f"unknown {what}; did you mean {meant!r}?"
    return f"unknown {what}; known are {', '.join(known)}" if known else f"unknown {what}"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that was surely meant, if there is one."""
    return next(iter(get_close_matches(word, known, n=1, cutoff=_CLOSE)), None)


def _is_inside(key: Key, outer: Key) -> bool:
    return len(key) > len(outer) and key[: len(outer)] == outer


def _in_words(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    match kind:
        case "refused":
            return detail["msg"]
        case "extra_forbidden":
            *table, name = detail["loc"]
            return unknown(str(name), keys_of(annotation_at(tuple(table))))
        case "missing" if detail["loc"] == ("sites",):
            return (
                "none is configured; write a [[sites]] table into vestibule.toml, "
                "or give `vestibule run` a --name, and an app or --to (other commands: "
                "VESTIBULE_NAME, and VESTIBULE_APP or VESTIBULE_TO)"
            )
        case "missing":
            return "is missing"
        case "literal_error":
            return f"{_shown(value)} is not allowed; allowed are {context['expected']}"
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return f"{_shown(value)} is no whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return f"{_shown(value)} is no number"
        case "bool_parsing" | "bool_type":
            return f"{_shown(value)} is not allowed; allowed are true and false"
        case "greater_than_equal":
            return f"{_shown(value)} is too small; allowed is {context['ge']} or more"
        case "greater_than":
            return f"{_shown(value)} is too small; it must be more than {context['gt']:g}"
        case "less_than_equal":
            return f"{_shown(value)} is too large; allowed is {context['le']} or less"
        case "too_short":
            return "is empty; at least one is needed"
        case "tuple_type":
            return f"{_shown(value)} is no list; write it in brackets: [ ... ]"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{_shown(value)} is no table; write it as key = value pairs"
        case "string_type":
            return f"{_shown(value)} is not text; write it in quotes"
        case "string_too_short":
            return "is empty"
    return f"{_shown(value)}: {detail['msg']}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
