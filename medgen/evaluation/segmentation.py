"""Scores of label maps against the true label maps: overlap, surface distances and lesions of each class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError, PathError, UsageError
from medgen.evaluation.class_table import ClassTable, Found, names_of
from medgen.evaluation.classes import Classes, Grouping
from medgen.evaluation.grids import on_grid_of, recorded
from medgen.evaluation.probabilities import score_probabilities
from medgen.evaluation.provenance import provenance
from medgen.evaluation.references import Reference, compare_grids, copies, find_predictions, find_references
from medgen.evaluation.scores import Scores
from medgen.evaluation.strays import file_notes
from medgen.metrics.matching import OVERLAP
from medgen.metrics.segmentation import DEFINITIONS, segmentation_scores
from medgen.metrics.surface import TOLERANCE
from medgen.types import Domain, Progress, SplitOrAll
from medgen.volume import Volume, as_label, read_label, read_volume


class SegmentationOptions(TypedDict, total=False):
    """Keyword arguments of :func:`evaluate_segmentation`."""

    role: str
    mask_role: str | None
    classes: Classes | None
    group_predictions: bool
    split: SplitOrAll | None
    domain: Domain | None
    resample_to_reference: bool
    tolerance: float
    lesion_overlap: float
    lesion_minimum_ml: float
    seed: int
    draws: int
    progress: Progress | None


def evaluate_segmentation(
    predictions: str | Path,
    references: str | Path,
    *,
    role: str = "label",
    mask_role: str | None = None,
    classes: Classes | None = None,
    group_predictions: bool = False,
    split: SplitOrAll | None = None,
    domain: Domain | None = None,
    resample_to_reference: bool = False,
    tolerance: float = TOLERANCE,
    lesion_overlap: float = OVERLAP,
    lesion_minimum_ml: float = 0.0,
    seed: int = 0,
    draws: int = 2000,
    progress: Progress | None = None,
) -> Scores:
    """Score label maps against the true label maps with every metric of :mod:`medgen.metrics.segmentation`.

    Classes: ``classes={"tumour": [1, 2, 3, 4]}`` groups the label values of the *references*. The predictions are
    expected to hold class indices already (1 is the first class), as a medgen model writes them if its recipe has the
    same ``data.classes``. If ``prediction.json`` is beside the predictions, names and order are checked against the
    model. ``group_predictions`` also groups the values of the predictions, for predictions of another tool that hold
    the label values of the references. Without ``classes``, every value above 0 is a class of its own in both, named
    by its number.

    Args:
        predictions: folder with ``<case>/<case>_<role>.nii.gz`` (as ``predict`` writes), ``<case>_<role>.nii.gz`` or
            ``<case>.nii.gz``; or one label map if the reference is one.
        references: ``cases.csv`` (or a folder that holds it), a folder laid out as above, or one label map.
        role: role of the true label map: its column in the table, or its name in the files.
        mask_role: role of a mask; voxels outside it are ignored, for example because no expert labelled them. With
            None, and for a case without one, the whole image is scored.
        classes: by class name its label values in the references; all other values are background.
        group_predictions: whether the predictions hold label values of the references instead of class indices.
        split: split of the table to score; by default ``test`` if it has cases, else all.
        domain: score only this domain; by default both.
        resample_to_reference: resample a prediction that is on another grid than its reference, by nearest
            neighbour; the notes and settings of the scores list these cases. Outside its field of view it is
            background.
        tolerance: tolerance of the normalised surface Dice, in mm.
        lesion_overlap: least intersection over union, in (0, 1], at which a predicted lesion matches a true one; each
            matches one at most.
        lesion_minimum_ml: lesions smaller than this volume in ml are ignored.
        seed: random seed of the bootstrap.
        draws: number of bootstrap samples.
        progress: called with (cases done, number of cases, name of the case).

    Returns:
        The scores, cases in the order of the table or by name. With one class: ``dice``, ``hd95``, ... With several:
        ``dice_<class>``, ... and as ``dice``, ... the mean over the classes to which the metric applies.
        ``settings["empty_masks"]`` records how empty masks count; a missed structure is never left out of a mean.
        With probabilities beside the label maps (``<case>_probability_<class>.nii.gz``) there is ``ece``, too, the
        expected calibration error of each class, and the details have its ``reliability`` table. A case without a
        usable probability of a class counts as failed in the ``ece`` of that class and in the mean.
        A case fails if its prediction is missing, damaged or no label map of these classes (NaN, probabilities, another
        value): its metrics are then NaN and ``failed`` lists it.

    Raises:
        InputError: no case has a prediction; no prediction is a label map of these classes; one that is not resampled
            is on another grid than its reference; or a reference cannot be used.
        UsageError: a prediction is its own reference; the classes contradict each other or those of the model; an
            option is out of its range; or a split is given, but the references are not a case table.
    """
    measures = {"tolerance": tolerance, "lesion_overlap": lesion_overlap, "lesion_minimum_ml": lesion_minimum_ml}
    if not 0 < lesion_overlap <= 1:
        raise UsageError(f"lesion_overlap is {lesion_overlap:g}", fix="give a number above 0 and up to 1; 0.1 is usual")
    for name in ("tolerance", "lesion_minimum_ml"):
        if measures[name] < 0:
            raise UsageError(f"{name} is {measures[name]:g}", fix="give a number of at least 0")
    grouping = Grouping.for_predictions(classes or {}, group_predictions, Path(predictions))
    found, settings, notes = find_references(Path(references), role, mask_role, split, domain)
    paths = find_predictions(Path(predictions), found, role)
    broken, elsewhere = compare_grids(found, paths, resample=resample_to_reference)
    resampling, moved = recorded("nearest neighbour", resample_to_reference, elsewhere)
    scored = _score_all(found, paths, broken, elsewhere, grouping, measures, progress)
    table = ClassTable(found, scored, broken, names_of(grouping.classes, scored), {})
    usable = [item for item in found if item.case in scored]
    calibrated = score_probabilities(usable, paths, elsewhere, table.names, grouping, role)
    table.add("ece", calibrated.errors, calibrated.lacking)
    return Scores(
        task="segmentation",
        cases=table.rows(),
        summary=table.summary(seed=seed, draws=draws),
        failed=tuple({"case": item.case, "reason": broken[item.case]} for item in found if item.case in broken),
        notes=(
            *notes,
            *file_notes(Path(predictions), role, Path(references), found),
            *copies(found, paths),
            *moved,
            *table.remarks(mask_role, grouping),
            *calibrated.notes,
        ),
        settings={
            "role": role,
            **settings,
            **provenance(Path(predictions), {name: path for name, path in paths.items() if name not in broken}),
            "mask": mask_role,
            "classes": {name: sorted(values) for name, values in grouping.classes.items()}
            or list(table.names.values()),
            "group_predictions": grouping.group_predictions,
            **resampling,
            **measures,
            **DEFINITIONS,
            **calibrated.settings,
            **({"without_class": "mean over the classes to which a metric applies"} if len(table.names) > 1 else {}),
            "bootstrap": {"seed": seed, "draws": draws},
        },
        details=dict(calibrated.details),
    )


def _score_all(
    found: Sequence[Reference],
    paths: Mapping[str, Path],
    broken: dict[str, str],
    elsewhere: Collection[str],
    grouping: Grouping,
    measures: Mapping[str, float],
    progress: Progress | None,
) -> dict[str, Found]:
    """The metrics of each case; a case whose prediction proves damaged is added to ``broken``."""
    scored: dict[str, Found] = {}
    refused: list[InputError | PathError] = []
    for number, item in enumerate(found):
        if progress:
            progress(number, len(found), item.case)
        if item.case in broken:
            continue
        reference = read_label(item.truth)
        try:
            predicted = _predicted(reference, paths[item.case], grouping, elsewhere=item.case in elsewhere)
        except (InputError, PathError) as error:
            refused.append(error)
            broken[item.case] = error.what
            continue
        scored[item.case] = _score(item, reference, predicted, grouping, measures)
    if refused and not scored:
        raise refused[0]  # not the fault of one case
    if progress:
        progress(len(found), len(found), "scores")
    return scored


def _predicted(reference: Volume, path: Path, grouping: Grouping, *, elsewhere: bool) -> NDArray[Any]:
    """The class of each voxel in a prediction, on the grid of its reference."""
    label = as_label(read_volume(path, dtype=None))  # probabilities are refused here
    label = on_grid_of(reference, label, fill=0, nearest=True) if elsewhere else label
    return grouping.of_prediction(label.data[0], path)


def _score(
    item: Reference, reference: Volume, predicted: NDArray[Any], grouping: Grouping, measures: Mapping[str, float]
) -> Found:
    """The metrics of each class in the truth or the prediction of a case."""
    truth = grouping.of_reference(reference.data[0])
    if item.mask is not None:
        inside = read_label(item.mask).data[0] > 0
        truth, predicted = np.where(inside, truth, 0), np.where(inside, predicted, 0)
    indices = {int(index) for labels in (truth, predicted) for index in np.unique(labels[labels > 0])}
    return {
        index: segmentation_scores(predicted == index, truth == index, reference.spacing, **measures)
        for index in sorted(indices)
    }
