"""Results: what is kept as JSON, and how it is shown as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import Measure, Samples, Target, median

OURS = "Vestibule"
_BEGIN = "<!-- figures: written by benchmarks/run.py -->"
_END = "<!-- end of figures -->"

Results = dict[str, dict[str, Samples]]
"""Samples by measure's key and row's suffix."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, as text."""

    title: str
    figures: tuple[str, ...]
    ratios: tuple[str, ...]
    target: str
    reached: str


def rows(measures: Iterable[Measure], results: Results, peers: list[str]) -> list[Row]:
    """The table's lines, in the measures' order."""
    lines = []
    for measure in measures:
        found = results.get(measure.key)
        if found is None:
            continue
        for suffix in ("", *measure.rows):
            medians = {name: median(values) for name, values in found.get(suffix, {}).items()}
            targets = () if suffix else measure.targets
            lines.append(
                Row(
                    measure.rows[suffix] if suffix else f"{measure.title}, {measure.unit}",
                    tuple(_number(medians.get(name)) for name in (OURS, *peers)),
                    tuple(_ratio(medians, name) for name in peers),
                    ", ".join(map(str, targets)),
                    _reached(medians, targets),
                )
            )
    return lines


def as_markdown(lines: list[Row], peers: list[str]) -> str:
    """The table for the documentation."""
    heads = ["Measure", OURS, *peers, *(f"÷ {name}" for name in peers), "Must reach", "Reached"]
    body = [[row.title, *row.figures, *row.ratios, row.target, row.reached] for row in lines]
    align = ["---", *("--:" for _ in heads[1:-2]), "---", "---"]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, align, *body))


def as_text(lines: list[Row], peers: list[str]) -> str:
    """The table for a terminal."""
    heads = ["", OURS, *peers, *(f"/{name}" for name in peers), "must", ""]
    body = [[row.title, *row.figures, *row.ratios, row.target, row.reached] for row in lines]
    widths = [max(len(cells[i]) for cells in (heads, *body)) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, len(heads) - 2) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in (heads, *body)
    )


def save(path: Path, environment: Mapping[str, Any], results: Results) -> None:
    """Write the results, over those of the same measures in an earlier run."""
    kept: dict[str, Any] = {}
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))["measures"]
    for key, found in results.items():
        kept[key] = {
            suffix or "main": {
                name: [_kept(value) for value in values] for name, values in s.items()
            }
            for suffix, s in found.items()
        }
    path.parent.mkdir(exist_ok=True)
    document = {"environment": dict(environment), "measures": kept}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load(path: Path) -> Results:
    """What :func:`save` wrote."""
    measures = json.loads(path.read_text("utf-8"))["measures"]
    return {
        key: {
            "" if suffix == "main" else suffix: {
                name: [math.inf if value is None else value for value in values]
                for name, values in samples.items()
            }
            for suffix, samples in found.items()
        }
        for key, found in measures.items()
    }


def render(page: Path, table: str, environment: Mapping[str, Any]) -> None:
    """Put the table between the page's markers."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the figures ({_BEGIN} … {_END})")
    facts = "\n".join(f"- {key}: {value}" for key, value in environment.items())
    page.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{facts}\n\n{_END}{after}", "utf-8")


def _kept(value: float) -> float | None:
    """A figure as JSON knows numbers; an endless one is null."""
    return round(value, 4) if math.isfinite(value) else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _ratio(medians: Mapping[str, float], name: str) -> str:
    if OURS not in medians or not medians.get(name):
        return "-"
    return f"{medians[OURS] / medians[name]:.2f}"


def _reached(medians: Mapping[str, float], targets: tuple[Target, ...]) -> str:
    if not targets or OURS not in medians:
        return ""
    verdicts = []
    for target in targets:
        allowed = target.limit
        if target.peer is not None:
            if target.peer not in medians:
                return "?"
            allowed *= medians[target.peer]
        verdicts.append(medians[OURS] <= allowed)
    return "yes" if all(verdicts) else "no"
