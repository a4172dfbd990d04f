"""The HTML page: everything inside one file, readable on light and dark screens."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

import medgen
from medgen.report.content import Column, MethodScores, readable_name
from medgen.report.figures import Picture, shared_columns
from medgen.report.sources import Sources

FEW = 5
"""Below this number of cases a bootstrap interval is too narrow to be believed."""


class Cell(NamedTuple):
    """One number of the table: mean, spread and interval, and whether it is the best of its column."""

    mean: str
    spread: str
    interval: str
    best: bool
    failed: int


class Tile(NamedTuple):
    """One of the numbers at the top of the page."""

    heading: str
    value: str
    unit: str
    detail: str


def render_page(sources: Sources, figures: Sequence[Picture]) -> str:
    """The page as text.

    Args:
        sources: scores, recipe and facts.
        figures: the pictures, which are embedded.
    """
    environment = Environment(
        loader=PackageLoader("medgen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: b64encode(data).decode("ascii")
    columns = shared_columns(sources)
    return environment.get_template("report.html.j2").render(
        title=_title(sources),
        phantom=sources.phantom,
        tiles=_tiles(sources),
        columns=columns,
        rows=[(method.label, method is sources.main, _cells(method, sources, columns)) for method in sources.methods],
        counts=_counts(sources),
        notes=list(dict.fromkeys(note for method in sources.methods for note in method.notes)),
        failures=[(method.label, method.failed) for method in sources.methods if method.failed],
        few=any(summary.n < FEW for method in sources.methods for summary in method.summary.values()),
        details=[(m.label, m is sources.main, _case_rows(m, columns)) for m in reversed(sources.methods)],
        figures={
            kind: [figure for figure in figures if figure.kind == kind] for kind in ("case", "scores", "training")
        },
        recipe=sources.recipe,
        facts=sources.facts,
        version=medgen.__version__,
    )


def _title(sources: Sources) -> str:
    data = sources.settings.get("data") or {}
    inputs, target = data.get("inputs") or [], data.get("target")
    task = f"{' + '.join(str(role).upper() for role in inputs)} to {str(target).upper()}" if inputs and target else ""
    method = readable_name(str(sources.settings.get("method", "")))
    return ": ".join(part for part in (task, method) if part) or "Report"


def _tiles(sources: Sources) -> list[Tile]:
    """The headline numbers of the main method."""
    method = sources.main
    if method is None:
        return []
    wanted = [metric for metric in ("mae", "mae_soft", "mae_bone", "psnr", "dice") if metric in method.summary]
    tiles = []
    for metric in wanted[:4]:
        column, summary = Column.of(metric), method.summary[metric]
        interval = _interval(column, method, metric)
        detail = f"95 % interval {interval}, n = {summary.n}" if interval else f"n = {summary.n}"
        tiles.append(Tile(column.heading, column.text(summary.mean), column.unit, detail))
    return tiles


def _cells(method: MethodScores, sources: Sources, columns: Sequence[Column]) -> list[Cell]:
    cells = []
    for column in columns:
        summary = method.summary.get(column.key)
        if summary is None:
            cells.append(Cell("–", "", "", False, 0))
            continue
        spread = f"± {column.text(summary.sd)}" if summary.sd is not None else ""
        interval = _interval(column, method, column.key)
        best = method.name in _best(sources, column)
        cells.append(Cell(column.text(summary.mean), spread, f"[{interval}]" if interval else "", best, summary.failed))
    return cells


def _interval(column: Column, method: MethodScores, metric: str) -> str:
    interval = method.summary[metric].interval
    return f"{column.text(interval[0])} to {column.text(interval[1])}" if interval else ""


def _best(sources: Sources, column: Column) -> set[str]:
    """Names of the methods with the best mean; none where there is nothing to compare."""
    ranked: dict[str, float] = {}
    for method in sources.methods:
        summary = method.summary.get(column.key)
        if summary is not None and summary.mean is not None and column.better:
            ranked[method.name] = column.badness(summary.mean)
    if len(sources.methods) < 2 or not ranked:
        return set()
    lowest = min(ranked.values())
    return {name for name, value in ranked.items() if value == lowest}


def _counts(sources: Sources) -> str:
    """How many cases the table is about."""
    counts = sorted({summary.n for method in sources.methods for summary in method.summary.values()})
    if not counts:
        return ""
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}, see the marks"


def _case_rows(method: MethodScores, columns: Sequence[Column]) -> list[tuple[str, list[Any]]]:
    return [
        (name, [column.text(scores.get(column.key)) for column in columns])
        for name, scores in sorted(method.cases.items())
    ]
