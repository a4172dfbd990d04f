"""The contents of a report, read from the files that other commands wrote: curves, scores, manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.scoring import TITLES
from medgen.baselines.verdict import Versus
from medgen.errors import InputError, content_errors
from medgen.metrics.resampling import FEWEST
from medgen.report.details import DETAILS, number, require_details, require_settings

Series = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps and values of one curve."""
_AGAIN = "write the scores again with 'medgen evaluate'"

_NAMES = {
    "adabn": "AdaBN",
    "gan": "GAN",
    "fcn": "FCN",
    "mse": "MSE",
    "unet": "U-Net",
    "vae": "VAE",
    "cvae": "CVAE",
    "dcgan": "DCGAN",
    "cyclegan": "CycleGAN",
    "realnvp": "RealNVP",
    "ct": "CT",
    "mr": "MR",
    "voxelwise": "voxel-wise",
}


def readable_name(name: str) -> str:
    """The name of a method for people.

    >>> readable_name("context_aware_gan")
    'context aware GAN'
    """
    return " ".join(_NAMES.get(word, word) for word in name.split("_"))


class Summary(NamedTuple):
    """One metric of one method over all cases.

    Attributes:
        mean: over the cases that have a number.
        sd: over the same.
        interval: of the mean, 95 %; None below six cases, also of a file that has one.
        n: cases that have a number.
        failed: cases that have none.
        missed: of the ``n``, those where the structure was not predicted at all.
        not_applicable: cases to which the metric does not apply.
        infinite: cases whose value is infinite, which has no place in a mean.
    """

    mean: float | None
    sd: float | None
    interval: tuple[float, float] | None
    n: int
    failed: int
    missed: int = 0
    not_applicable: int = 0
    infinite: int = 0


@dataclass(frozen=True)
class MethodScores:
    """The scores of one method, as ``medgen evaluate`` wrote them.

    Args:
        name: of the method.
        cases: by case, its value of each metric; NaN where there is none.
        summary: by metric, over all cases.
        failed: by case without scores, the reason.
        notes: of the evaluation.
        settings: what the numbers depend on.
        details: of a detection its curves and findings, of standard deviations and probabilities their curves.
        written: when the file was written, in seconds since 1970.
        task: ``synthesis``, ``segmentation`` or ``detection``.
        beside: whether it is a baseline that was scored beside the predictions.
        difference: of such a baseline, by metric, the predictions less it.
    """

    name: str
    cases: Mapping[str, Mapping[str, float]]
    summary: Mapping[str, Summary]
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    written: float | None = None
    task: str = ""
    beside: bool = False
    difference: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name for people."""
        return TITLES.get(self.name) or readable_name(self.name)

    def few(self, metric: str) -> list[float]:
        """The values of all cases, where they are too few for an interval."""
        known = [value for row in self.cases.values() if math.isfinite(value := row.get(metric, math.nan))]
        return known if len(known) < FEWEST else []

    @property
    def of_lesions(self) -> bool:
        """Whether detected lesions were scored."""
        return "curves" in self.details or "findings" in self.details

    @property
    def of_labels(self) -> bool:
        """Whether label maps were scored: no other scores are of classes."""
        return "classes" in self.settings

    @property
    def metrics_of_cases(self) -> set[str]:
        """Names of the metrics that single cases have; the AUROC is none of them."""
        return {metric for row in self.cases.values() for metric in row}

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order of the file."""
        return list(self.summary)


@dataclass
class Curves:
    """Losses and validation scores of one part of a run, over its steps."""

    losses: dict[str, Series] = field(default_factory=dict)
    validation: dict[str, Series] = field(default_factory=dict)

    @cached_property
    def optimizers(self) -> list[str]:
        """The optimisers, in the order of their first step; a loss is called ``optimizer/term``."""
        return list(dict.fromkeys(name.split("/")[0] for name in self.losses))


def read_scores(path: Path, *, name: str | None = None) -> MethodScores:
    """Read a file that ``medgen evaluate`` wrote.

    Args:
        path: the JSON file.
        name: of the method; by default that of the file.

    Raises:
        InputError: the file is not one of scores, or a part of it that a report shows is damaged.
    """
    content = read_json(path)
    with content_errors("the scores are damaged", where=path, fix=_AGAIN):
        return _method_scores(content, name or path.stem, path)


def read_baselines(path: Path) -> list[MethodScores]:
    """The baselines in a file that ``medgen evaluate --baselines`` wrote; of another one none.

    Raises:
        InputError: as of :func:`read_scores`.
    """
    content = read_json(path)
    shared = {"task": content.get("task"), "settings": content.get("settings")}
    with content_errors("the scores of the baselines are damaged", where=path, fix=_AGAIN):
        return [
            replace(_method_scores({**shared, **each}, name, path), beside=True, difference=_differences(each))
            for name, each in (content.get("baselines") or {}).items()
        ]


def _differences(baseline: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The stored differences from a baseline, those that can be used."""
    found: dict[str, Mapping[str, Any]] = dict(baseline.get("difference") or {})
    for each in found.values():
        Versus.stored(0.0, 0.0, each)
    return found


def _method_scores(content: Mapping[str, Any], name: str, path: Path) -> MethodScores:
    """The content of a file of scores as values; an error of another kind than medgen's where it is damaged."""
    summary = {metric: _summary(values) for metric, values in content["summary"].items()}
    if not summary:
        raise ValueError("'summary' has no metric")
    settings = content.get("settings") or {}
    details = {key: content[key] for key in DETAILS if content.get(key) is not None}
    require_settings(settings)
    require_details(details)
    return MethodScores(
        name,
        {str(row["case"]): _numbers(row) for row in content["cases"]},
        summary,
        {str(row["case"]): str(row["reason"]) for row in content.get("failed") or ()},
        tuple(str(note) for note in content.get("notes") or ()),
        settings=settings,
        details=details,
        written=path.stat().st_mtime,
        task=str(content.get("task") or ""),
    )


def read_curves(path: Path) -> dict[str, list[Curves]]:
    """Read ``metrics.jsonl``: by stage its own curves, then those of the networks of its inner folds.

    Raises:
        InputError: it is damaged.
    """
    with content_errors("the log of the training is damaged", where=path, fix="remove it, or train again"):
        return _curves(path.read_text())


def _curves(log: str) -> dict[str, list[Curves]]:
    records: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = {}
    for line in log.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the last line of a run that was killed or still writes
            continue
        part = records.setdefault(str(record["part"]), {"losses": {}, "validation": {}})
        for group, series in part.items():
            for name, value in record.get(group, {}).items():
                series.setdefault(name, []).append((int(record["step"]), math.nan if value is None else float(value)))
    stages: dict[str, list[Curves]] = {name: [] for name in records if "-fold" not in name}
    for name in sorted(records, key=lambda name: "-fold" in name):
        curves = Curves(*({key: _series(points) for key, points in group.items()} for group in records[name].values()))
        stages.setdefault(name.split("-fold")[0], []).append(curves)
    return {name: curves for name, curves in stages.items() if curves[0].losses or curves[0].validation}


def _series(points: list[tuple[int, float]]) -> Series:
    ordered = sorted(points, key=lambda point: point[0])
    return np.array([step for step, _ in ordered], dtype=np.int64), np.array([value for _, value in ordered])


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        InputError: the file is not JSON, or holds something else.
    """
    with content_errors("the file is not JSON", where=path, fix="write it again"):
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise InputError("the file holds no JSON object", where=path, fix="write it again")
    return content


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a row; null is NaN."""
    return {
        key: number(value)
        for key, value in row.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def _summary(values: Mapping[str, Any]) -> Summary:
    low, high = values.get("ci95") or (None, None)
    return Summary(
        mean=_number(values["mean"]),
        sd=_number(values.get("sd")),
        interval=None if low is None or high is None or values["n"] < FEWEST else (number(low), number(high)),
        n=int(values["n"]),
        failed=int(values.get("n_failed") or 0),
        missed=int(values.get("n_missed") or 0),
        not_applicable=int(values.get("n_not_applicable") or 0),
        infinite=int(values.get("n_infinite") or 0),
    )


def _number(value: Any) -> float | None:
    return None if value is None else number(value)
