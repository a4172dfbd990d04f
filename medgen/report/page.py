"""The HTML page: everything inside one file, readable on light and dark screens."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

import medgen
from medgen.metrics.resampling import FEWEST
from medgen.report.cohort import ordering_column, worst_first
from medgen.report.columns import Column
from medgen.report.comparison import verdict
from medgen.report.content import MethodScores, Summary, readable_name
from medgen.report.detection import lesion_rows, read_patients
from medgen.report.drawing import Picture
from medgen.report.figures import case_columns, compared_columns
from medgen.report.health import health_panel
from medgen.report.patients import Patients
from medgen.report.sources import Sources
from medgen.report.uncertainty import interval_columns, measures, regions
from medgen.report.viewer import content_security_policy, licences, niivue

_DETECTION = ("auroc", "ap", "score", "sensitivity_at_1")
_SEGMENTATION = ("dice", "hd95", "nsd", "lesion_f1")

MARK = " · medgen report</title>"
"""In the head of every report."""
KINDS = ("case", "scores", "uncertainty", "health", "training")


class Cell(NamedTuple):
    """One number of the table: mean, spread, interval or few cases, and whether it is the best of its column."""

    mean: str
    spread: str
    interval: str
    best: bool
    remark: str


class Tile(NamedTuple):
    """One of the numbers at the top of the page."""

    heading: str
    value: str
    unit: str
    detail: str


_WORST = {"lower": "high", "higher": "low", "zero": "far", "": ""}
_WORST_FIRST = {"lower": "descending", "higher": "ascending", "zero": "descending", "": ""}


def render_page(sources: Sources, figures: Sequence[Picture], patients: Patients | None = None) -> str:
    """The page as text.

    Args:
        sources: scores, recipe and manifest.
        figures: the pictures, which are embedded.
        patients: the overview of the cohort, and the volumes of the viewer.
    """
    patients = patients or Patients()
    environment = Environment(
        loader=PackageLoader("medgen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = embedded
    columns = compared_columns(sources)
    all_columns = case_columns(sources)
    return environment.get_template("report.html.j2").render(
        title=_title(sources),
        mark=MARK.removesuffix("</title>"),
        phantom=sources.phantom,
        segments=sources.segments,
        detects=sources.detects,
        lesions=lesion_rows(read_patients(sources)),
        tiles=_tiles(sources),
        verdict=verdict(sources),
        columns=columns,
        all_columns=all_columns,
        rows=[(method.label, method is sources.main, _cells(method, sources, columns)) for method in sources.methods],
        counts=_counts(sources),
        definitions=_definitions(sources),
        notes=list(dict.fromkeys(note for method in sources.methods for note in method.notes)),
        failures=[(method.label, method.failed) for method in sources.methods if method.failed],
        few=any(0 < summary.n < FEWEST for method in sources.methods for summary in method.summary.values()),
        details=[_case_rows(method, method is sources.main, all_columns) for method in reversed(sources.methods)],
        worst=_WORST,
        sorted_as=_WORST_FIRST,
        **_of_patients(patients, figures, live=bool(sources.every)),
        figures={kind: [figure for figure in figures if figure.kind == kind] for kind in KINDS},
        all_figures=figures,
        regions=[(row, _cells(row.method, sources, row.columns)) for row in regions(sources.methods)],
        measures=measures(sources.methods),
        intervals=bool(interval_columns(sources.methods)),
        samples=sources.samples,
        judgements=sources.judgements,
        health=health_panel(sources.validations, sources.keep, sources.stop),
        missing=sources.missing,
        warnings=sources.warnings,
        warned=sources.warned,
        doubts=sources.doubts,
        status=sources.status,
        every=f"{sources.every:g}" if sources.every else "",
        run=sources.run,
        recipe=sources.recipe,
        manifest=sources.manifest,
        version=medgen.__version__,
    )


def embedded(picture: bytes) -> str:
    """A picture as the page holds it."""
    return b64encode(picture).decode("ascii")


def _title(sources: Sources) -> str:
    data = sources.settings.get("data") or {}
    inputs = data.get("inputs") or []
    classes = ", ".join(sources.classes) or str(data.get("labels"))
    target = classes if sources.segments else str(data.get("target") or "").upper()
    task = (
        f"{' + '.join(str(role).removesuffix('?').upper() for role in inputs)} to {target}" if inputs and target else ""
    )
    method = readable_name(str(sources.settings.get("method", "")))
    return ": ".join(part for part in (task, method) if part) or "Report"


def _tiles(sources: Sources) -> list[Tile]:
    """The headline numbers of the main method."""
    method = sources.main
    if method is None:
        return []
    usual = ("mae", "mae_soft", "mae_bone", "psnr", *_DETECTION, *_SEGMENTATION)
    wanted = [metric for metric in usual if metric in method.summary]
    tiles = []
    for metric in wanted[:4]:
        column, summary = Column.of(metric), method.summary[metric]
        interval, cases = column.interval(summary.interval), column.listed(method.few(metric))
        detail = f"95 % interval {interval}, n = {summary.n}" if interval else f"n = {summary.n}"
        detail += f": {cases}" if cases and summary.n > 1 else ""
        tiles.append(Tile(column.heading, column.text(summary.mean), column.unit, detail))
    return tiles


def _cells(method: MethodScores, sources: Sources, columns: Sequence[Column]) -> list[Cell]:
    cells = []
    for column in columns:
        summary = method.summary.get(column.key)
        if summary is None:
            cells.append(Cell("–", "", "", False, ""))
            continue
        spread = f"± {column.text(summary.sd)}" if summary.sd is not None else ""
        interval, few = column.interval(summary.interval), method.few(column.key)
        shown = f"[{interval}]" if interval else column.listed(few) if len(few) > 1 else ""
        best = method.name in _best(sources, column)
        cells.append(Cell(column.text(summary.mean), spread, shown, best, _remark(column, summary)))
    return cells


def _remark(column: Column, summary: Summary) -> str:
    """Counts of cases without a number, or to which none applies; missed structures are named at the Dice alone."""
    missed = (summary.missed, "missed") if column.key.startswith("dice") else (0, "")
    beyond = ((summary.infinite, "infinite"), (summary.not_applicable, "not applicable"))
    counts = ((summary.failed, "without a value"), missed, *beyond)
    return ", ".join(f"{count} {what}" for count, what in counts if count)


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
    """The number of cases of the table."""
    counts = sorted({summary.n for method in sources.methods for summary in method.summary.values()})
    if not counts:
        return ""
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}, see the marks"


def _definitions(sources: Sources) -> dict[str, str]:
    """The definitions of the scores of a segmentation or a detection, from the file of scores."""
    if sources.detection:
        return dict(sources.detection.settings.get("definitions", {}))
    settings = sources.main.settings if sources.main and sources.segments else {}
    known = {"hd95": "HD95", "nsd": "NSD", "volume_error": "volume error", "lesions": "lesions"}
    tolerance = str(settings.get("tolerance"))
    return {
        heading: str(settings[key]).replace("'tolerance'", tolerance)
        for key, heading in known.items()
        if key in settings
    }


def _of_patients(patients: Patients, figures: Sequence[Picture], *, live: bool) -> dict[str, Any]:
    """The overview, the viewer, where a name of a patient leads to, and the scripts with their policy."""
    viewer = patients.viewer
    targets = {card.case: f"patient-{card.case}" for card in patients.cards}
    targets |= {figure.case: f"picture-{figure.name}" for figure in reversed(figures) if figure.case}
    names = [*(["live.js"] if live else []), "tables.js", *(["viewer.js"] if viewer else [])]
    scripts = [(files("medgen.report") / "templates" / name).read_text(encoding="utf-8") for name in names]
    return {
        "cards": patients.cards,
        "all_patients": patients.total,
        "targets": targets,
        "viewer": viewer,
        "viewed": {patient.name for patient in viewer.patients} if viewer else set(),
        "niivue": niivue() if viewer else "",
        "licences": licences() if viewer else "",
        "scripts": scripts,
        "policy": content_security_policy(scripts, viewer=viewer is not None, live=live),
    }


def _case_rows(
    method: MethodScores, main: bool, columns: Sequence[Column]
) -> tuple[str, bool, str, list[tuple[str, list[Any]]]]:
    """The name of a method, whether it is the main one, the metric that orders its cases, and a row for each."""
    column = ordering_column(method)
    rows = [
        (name, [column.text(method.cases[name].get(column.key)) for column in columns]) for name in worst_first(method)
    ]
    return method.label, main, column.key if column else "", rows
