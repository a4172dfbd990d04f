"""The probabilities of classes beside label maps: whether they are those of the truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import listed
from medgen.errors import InputError, PathError, UsageError
from medgen.evaluation.classes import Grouping
from medgen.evaluation.grids import on_grid_of
from medgen.evaluation.references import Reference
from medgen.inference.writing import probability_file
from medgen.metrics.reliability import BINS, calibration_error, reliability, reliability_rows
from medgen.volume import Volume, read_header, read_label, read_volume, require_same_grid


@dataclass(frozen=True)
class Calibrated:
    """How well probabilities are calibrated.

    Attributes:
        errors: by case and class index the expected calibration error; of probabilities that can be used.
        lacking: by case, the indices of the classes without a probability that can be used, where any case has one.
        details: ``reliability`` for ``scores.json``: by class the mean table of the cases.
        notes: on cases without probabilities though others have them, and on those that cannot be used.
        settings: how they were scored.
    """

    errors: Mapping[str, Mapping[int, float]]
    lacking: Mapping[str, frozenset[int]]
    details: Mapping[str, Any]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]


def score_probabilities(
    found: Sequence[Reference],
    paths: Mapping[str, Path],
    elsewhere: Collection[str],
    names: Mapping[int, str],
    grouping: Grouping,
    role: str,
) -> Calibrated:
    """Score ``<case>_probability_<class>.nii.gz`` beside each label map, as ``predict --probabilities`` writes it.

    Args:
        found: the cases whose label map was scored.
        paths: their label maps, by case.
        elsewhere: cases that must be resampled to the grid of the truth.
        names: of the classes, by index.
        grouping: of label values into classes.
        role: of the label maps.
    """
    errors: dict[str, dict[int, float]] = {}
    tables: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    absent: dict[str, set[int]] = {}
    unusable = []
    for item in found:
        files = {index: file for index, name in names.items() if (file := _file(paths[item.case], role, name))}
        if not files:
            continue
        errors[item.case] = {}
        absent[item.case] = names.keys() - files.keys()
        truth = read_label(item.truth)
        values = grouping.of_reference(truth.data[0])
        inside = None if item.mask is None else read_label(item.mask).data[0] > 0
        for index, file in files.items():
            try:
                probability = _probability(file, paths[item.case], truth, elsewhere=item.case in elsewhere)
            except (InputError, PathError) as error:
                unusable.append(f"the probability of {names[index]} in {item.case} cannot be scored: {error.what}")
                continue
            table = reliability(probability, values == index, inside)
            errors[item.case][index] = calibration_error(table)
            if not np.isnan(table).any():
                tables[names[index]].append(table)
    if not errors:
        return Calibrated({}, {}, {}, (), {})
    missing = [item.case for item in found if item.case not in errors]
    without = [f"no probabilities beside the prediction of {listed(missing)}"] if missing else []
    for index, name in names.items():
        if cases := [case for case, each in absent.items() if index in each]:
            without.append(f"no probability of {name} beside the prediction of {listed(cases)}: no ece there")
    rows = {name: reliability_rows(np.mean(each, axis=0)) for name, each in tables.items()}
    return Calibrated(
        errors,
        {item.case: frozenset(names.keys() - errors.get(item.case, {}).keys()) for item in found},
        {"reliability": rows} if rows else {},
        (*unusable, *without),
        {"ece": f"expected calibration error of the probability of a class, {BINS} equal bins"},
    )


def _file(label: Path, role: str, name: str) -> Path | None:
    """The probability of a class beside a label map, if there is one."""
    try:
        file = probability_file(label, role, name)
    except UsageError:  # a class of another tool, whose name can be no file
        return None
    return file if file.is_file() else None


def _probability(file: Path, label: Path, truth: Volume, *, elsewhere: bool) -> NDArray[Any]:
    """A map on the grid of the truth; 0 where the prediction does not reach.

    Raises:
        InputError: it is damaged, on another grid than its label map, or holds no probabilities.
    """
    volume = read_volume(file)
    require_same_grid(volume, read_header(label))
    if not ((volume.data >= 0) & (volume.data <= 1)).all():
        raise InputError("values are not finite or not in [0, 1]", where=file)
    values: NDArray[Any] = (on_grid_of(truth, volume, fill=0) if elsewhere else volume).data[0]
    return values
