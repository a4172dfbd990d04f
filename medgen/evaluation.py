"""A folder of predictions and the truth become a table of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError, UsageError
from medgen.files import write_json
from medgen.metrics.image import SETTINGS, UNITS, image_scores
from medgen.metrics.statistics import Summary, summarise
from medgen.metrics.tissue import BODY_ABOVE, body_mask
from medgen.references import Reference, Split, find_predictions, find_references, listed
from medgen.volume import Volume, read_header, read_label, read_volume, require_same_grid

Progress = Callable[[int, int, str], None]

_DIGITS = {"HU": 1, "dB": 2, "": 3}
_BODY = f"the filled largest piece above {BODY_ABOVE:g} HU of the true CT"


@dataclass(frozen=True)
class Scores:
    """What an evaluation found.

    Args:
        task: what was scored.
        cases: one row a case, ``{"case": name, metric: number}``; NaN where it failed or the class is absent.
        summary: metric to its mean, sd, interval and counts over the cases.
        failed: one row a case without a usable prediction, ``{"case": name, "reason": text}``.
        notes: what the evaluation had to decide.
        settings: ranges, thresholds, split and seeds that the numbers depend on.
    """

    task: str
    cases: tuple[dict[str, Any], ...]
    summary: dict[str, Summary]
    failed: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

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
        write_json(path, content)
        return Path(path)

    def table(self) -> list[tuple[str, ...]]:
        """Rows of text, the heading first: metric with its unit, mean, sd, 95 % interval, n, failed."""
        rows: list[tuple[str, ...]] = [("metric", "mean", "sd", "95 % interval", "n", "failed")]
        for metric, values in self.summary.items():
            unit = UNITS.get(metric, "")
            digits = _DIGITS[unit]
            mean, sd, low, high = (f"{x:.{digits}f}" for x in (values["mean"], values["sd"], *values["ci95"]))
            name = f"{metric} ({unit})" if unit else metric
            rows.append((name, mean, sd, f"{low} to {high}", str(values["n"]), str(values["n_failed"])))
        return rows


class Options(TypedDict, total=False):
    """Keyword arguments of :func:`evaluate_synthesis`."""

    role: str
    mask_role: str
    split: Split | None
    seed: int
    draws: int
    progress: Progress | None


def evaluate(
    task: Literal["synthesis"], predictions: str | Path, references: str | Path, **options: Unpack[Options]
) -> Scores:
    """Score predictions; ``task`` names what they are.

    Args:
        task: ``"synthesis"``: :func:`evaluate_synthesis`, where the other arguments are described.
        predictions: folder of predictions.
        references: the truth.
        **options: keyword arguments of the task's function.

    Returns:
        The scores.

    Raises:
        UsageError: there is no such task.
    """
    if task not in _TASKS:
        raise UsageError(f"there is no evaluation of '{task}'", fix=f"choose one of: {', '.join(_TASKS)}")
    return _TASKS[task](predictions, references, **options)


def evaluate_synthesis(
    predictions: str | Path,
    references: str | Path,
    *,
    role: str = "ct",
    mask_role: str = "mask",
    split: Split | None = None,
    seed: int = 0,
    draws: int = 2000,
    progress: Progress | None = None,
) -> Scores:
    """Score synthetic CTs against the true ones with every metric of :mod:`medgen.metrics.image`.

    Args:
        predictions: folder with ``<case>/<case>_<role>.nii.gz`` (as ``predict`` writes), ``<case>_<role>.nii.gz`` or
            ``<case>.nii.gz``; or one volume where the reference is one. HU.
        references: ``cases.csv`` (or a folder that holds it), a folder laid out as above, or one volume. HU.
        role: column or name of the true CT.
        mask_role: column or name of the region that is scored. A case without one is scored in its body: the filled
            largest piece above -300 HU of the true CT.
        split: which cases of the table; by default ``test`` if there is one, else all.
        seed: of the bootstrap.
        draws: bootstrap samples.
        progress: told the number of cases done, of cases, and the name of the case.

    Returns:
        The scores, cases in the order of the table or by name. A case whose prediction is missing, damaged or not
        finite in the mask has failed: its metrics are NaN, ``n_failed`` counts it and ``failed`` names it.

    Raises:
        InputError: no case has a prediction, a prediction or a mask lies on another grid than its reference, or a
            reference cannot be used.
        UsageError: a split is asked of references that have none.
    """
    found, settings, notes = find_references(Path(references), role, mask_role, split)
    paths = find_predictions(Path(predictions), found, role)
    broken = _unusable(found, paths)
    cases: list[dict[str, Any]] = []
    for number, item in enumerate(found):
        if progress:
            progress(number, len(found), item.case)
        if item.case not in broken:
            values, reason = _score(item, paths[item.case])
            broken.update({item.case: reason} if reason else {})
        cases.append({"case": item.case, **(dict.fromkeys(UNITS, math.nan) if item.case in broken else values)})
    if progress:
        progress(len(found), len(found), "scores")
    if without := [item.case for item in found if item.mask is None]:
        notes.append(f"no {mask_role} for {listed(without)}: scored in the body, {_BODY}")
    return Scores(
        task="synthesis",
        cases=tuple(cases),
        summary={name: summarise([row[name] for row in cases], seed=seed, draws=draws) for name in UNITS},
        failed=tuple({"case": item.case, "reason": broken[item.case]} for item in found if item.case in broken),
        notes=tuple(notes),
        settings={"role": role, **settings, **SETTINGS, "bootstrap": {"seed": seed, "draws": draws}},
    )


_TASKS: dict[str, Callable[..., Scores]] = {"synthesis": evaluate_synthesis}


def _unusable(found: Sequence[Reference], paths: dict[str, Path]) -> dict[str, str]:
    """Cases without a readable prediction, with the reason; all grids are compared before anything is computed."""
    broken: dict[str, str] = {}
    for item in found:
        truth = read_header(item.truth)
        if item.mask is not None:
            require_same_grid(read_header(item.mask), truth)
        if item.case not in paths:
            broken[item.case] = "there is no prediction"
            continue
        try:
            header = read_header(paths[item.case])
        except InputError as error:
            broken[item.case] = error.what
            continue
        require_same_grid(header, truth)
    return broken


def _score(item: Reference, path: Path) -> tuple[dict[str, float], str]:
    """The metrics of one case, and why it failed if it did."""
    truth = read_volume(item.truth)
    true = _voxels(truth)
    mask = body_mask(true) if item.mask is None else _voxels(read_label(item.mask)) > 0
    if not mask.any():
        return {}, "the mask is empty"
    if not np.isfinite(true[mask]).all():
        raise InputError("the true CT is not finite inside the mask", where=item.truth, fix="mend it or leave it out")
    try:
        predicted = _voxels(read_volume(path))
    except InputError as error:
        return {}, error.what
    if count := int((~np.isfinite(predicted[mask])).sum()):
        return {}, f"the prediction is not finite in {count} voxels of the mask"
    return image_scores(predicted, true, mask, spacing=truth.spacing), ""


def _voxels(volume: Volume) -> NDArray[Any]:
    return np.ascontiguousarray(volume.data[0])
