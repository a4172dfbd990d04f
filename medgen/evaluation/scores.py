"""Result of every evaluation: scores of each case, their summary, and the settings they depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgen.errors import UsageError
from medgen.evaluation.foreign_scores import columns_of, require_task
from medgen.files import require_result, write_json
from medgen.metrics import image, intervals, segmentation, uncertainty
from medgen.metrics.resampling import FEWEST
from medgen.metrics.statistics import Summary, summarise
from medgen.volume.notebook import table as html_table

_UNITS = {**image.UNITS, **uncertainty.SCORE, **uncertainty.UNITS, **intervals.UNITS, **segmentation.UNITS}
_DIGITS = {"HU": 1, "dB": 2, "mm": 2, "ml": 2, "": 3}
_COUNTS = (("missed", "n_missed"), ("not applicable", "n_not_applicable"), ("lesions", "n_lesions"))
_INFINITE = ("infinite", "n_infinite")

NOTHING = "–"
"""Text in a table for an undefined number."""


@dataclass(frozen=True)
class Scores:
    """Result of an evaluation.

    Args:
        task: ``synthesis``, ``segmentation`` or ``detection``.
        cases: one row per case, ``{"case": name, metric: number}``; NaN if the case failed or the class is absent.
        summary: by metric the mean, standard deviation, interval and counts over the cases.
        failed: one row per case without a usable prediction, ``{"case": name, "reason": text}``.
        notes: choices that the evaluation made, and anything unusual in the data.
        settings: ranges, thresholds, policies, split and seeds that the numbers depend on.
        details: further results of a task; the file has these keys at its top level.
    """

    task: str
    cases: tuple[dict[str, Any], ...]
    summary: dict[str, Summary]
    failed: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> Path:
        """Write ``scores.json``; NaN and infinity become null.

        Args:
            path: the file to write.

        Returns:
            The path.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        content = {name: getattr(self, name) for name in ("task", "cases", "summary", "failed", "notes", "settings")}
        write_json(path, content | self.details)
        return Path(path)

    def table(self) -> list[tuple[str, ...]]:
        """Rows of text, the heading first: metric with its unit, mean, sd, 95 % interval, n, failed.

        Of fewer than six cases there is no interval; their values stand in its place.

        Where a case has an infinite value, such as the PSNR of two equal images, a column counts those, which are in
        neither mean nor ``n``. Tables of segmentation and detection also have the number of cases with a missed
        structure, the number of cases to which the metric does not apply, and the number of lesions. An undefined
        number is :data:`NOTHING`.
        """
        summaries = self.summary.values()
        counts = [_INFINITE] if any(values.get("n_infinite") for values in summaries) else []
        counts += [(title, key) for title, key in _COUNTS if any(key in values for values in summaries)]
        rows: list[tuple[str, ...]] = [
            (
                "metric",
                "mean",
                "sd",
                "95 % interval" + (" or the cases" if self._few else ""),
                "n",
                "failed",
                *(title for title, _ in counts),
            )
        ]
        for metric, values in self.summary.items():
            name, digits = titled(metric)
            mean, sd, low, high = (number_text(x, digits) for x in (values["mean"], values["sd"], *values["ci95"]))
            between = f"{low} to {high}" if NOTHING not in (low, high) else self._cases_of(metric, digits)
            numbers = [values["n"], values["n_failed"], *(values.get(key, NOTHING) for _, key in counts)]
            rows.append((name, mean, sd, between, *(str(number) for number in numbers)))
        return rows

    def to_pandas(self) -> Any:
        """The cases as a pandas DataFrame: one row a case by name, one column a metric; a failed case is a row of NaN.

        Raises:
            UsageError: pandas is not installed.
        """
        frame = _pandas().DataFrame(list(self.cases), columns=["case", *self.summary])
        return frame.set_index("case")

    @classmethod
    def from_pandas(cls, frame: Any, task: str) -> Scores:
        """Scores of another program as medgen's, so that they have the same summary, table and file.

        Args:
            frame: a DataFrame with one row a case, whose index is the case or which has a column ``case``; its columns
                of numbers are the metrics, by the names that medgen has for them. NaN is a case that failed. A note
                names columns of texts, truth values or dates, which are left out.
            task: ``synthesis``, ``segmentation`` or ``detection``.

        Raises:
            UsageError: pandas is not installed, this is no DataFrame, or there are no scores of such a task.
            InputError: a case without a name, two cases or columns of one name, numbers that are complex, durations or
                mixed with something else, or no numbers at all.
        """
        pandas = _pandas()
        require_task(task)
        cases, columns, others = columns_of(frame, pandas)
        rows = [
            {"case": name, **dict(zip(columns, values, strict=True))}
            for name, values in zip(cases, zip(*columns.values(), strict=True), strict=True)
        ]
        summary = {metric: summarise(values) for metric, values in columns.items()}
        left_out = (f"columns without numbers were left out: {', '.join(others)}",) if others else ()
        return cls(task, tuple(rows), summary, notes=("computed by another program", *left_out))

    def _repr_html_(self) -> str:
        """For a notebook: the table, and what there is to say of it."""
        heading, *rows = self.table()
        failed = [f"{each['case']} has no score: {each['reason']}" for each in self.failed]
        told = html_table([(note,) for note in (*self.notes, *failed)]) if self.notes or failed else ""
        return html_table(rows, heading) + told

    @property
    def _few(self) -> bool:
        """Whether some metric has cases, but too few for an interval."""
        return any(0 < values["n"] < FEWEST for values in self.summary.values())

    def _cases_of(self, metric: str, digits: int) -> str:
        """The values of all cases, where they are too few for an interval."""
        known = [value for row in self.cases if math.isfinite(value := row.get(metric, math.nan))]
        return "  ".join(number_text(value, digits) for value in known) if 0 < len(known) < FEWEST else NOTHING


def _pandas() -> Any:
    """Pandas, or what to install."""
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "tables of pandas need pandas, which is not installed", fix="pip install 'medgen[pandas]'"
        ) from None
    return pandas


def require_scores(path: str | Path) -> None:
    """Refuse a file that scores could not be written to, or must not: anything there but earlier scores.

    Raises:
        UsageError: another file is there.
        StorageError: it is a folder, or its folder could not be written.
    """
    require_result(path, ("task", "summary"))


def number_text(value: float, digits: int = 3) -> str:
    """A number as text for a table.

    >>> number_text(0.12345), number_text(float("nan"))
    ('0.123', '–')
    """
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def titled(metric: str) -> tuple[str, int]:
    """The name of a metric with its unit, and the digits that it is shown with.

    >>> titled("mae"), titled("dice_core")
    (('mae (HU)', 1), ('dice_core', 3))
    """
    unit = _unit(metric)
    return (f"{metric} ({unit})" if unit and unit not in metric.split("_") else metric), _DIGITS[unit]


def _unit(metric: str) -> str:
    """The unit of a metric, including metrics of one class (``hd95_tumour``: mm)."""
    if metric in _UNITS:
        return _UNITS[metric]
    known = [name for name in segmentation.UNITS if metric.startswith(f"{name}_")]
    return _UNITS[max(known, key=len)] if known else ""
