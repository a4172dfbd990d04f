"""The baselines beside a trained model: same cases, same preparation, same scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.classifiers import ConstantClass, fit_boosted_classes
from medgen.baselines.regressors import NEIGHBOURHOOD_TREES, BoostingConfig, ConstantBaseline, fit_boosting
from medgen.cases import Case
from medgen.errors import InputError
from medgen.evaluation import Scores, evaluate_synthesis
from medgen.inference.images import images_on_own_grid
from medgen.inference.labels import label_map
from medgen.inference.lesions import Detected
from medgen.preparation import Preparation, Prepared, StoredCase
from medgen.preparation.task import SYNTHESIS
from medgen.recipe.prediction import InferenceConfig
from medgen.types import Progress
from medgen.volume import write_volume

BASELINES = ("constant", "constant_mean", "voxelwise", "neighbourhood")
"""The median, the mean, and boosted trees on the intensities at a voxel and around it."""
OF_CLASSES = ("constant", "voxelwise", "neighbourhood")
"""The same of a segmentation; its constant is the most frequent class everywhere."""
OF_LESIONS = ("voxelwise", "neighbourhood")
"""The same of a detection: one class everywhere has no lesions to find."""
TITLES = {
    "constant": "constant",
    "constant_mean": "constant (mean)",
    "voxelwise": "voxel-wise boosting",
    "neighbourhood": "neighbourhood boosting",
}
TREES = {"voxelwise": BoostingConfig(), "neighbourhood": NEIGHBOURHOOD_TREES}


class Baseline(Protocol):
    """What is fitted and predicts without a network."""

    def predict(self, image: NDArray[np.floating]) -> NDArray[np.float32]:
        """``(C, X, Y, Z)`` to ``(1, X, Y, Z)`` in [-1, 1], or to the probabilities of classes, background first."""
        ...


class Labels(NamedTuple):
    """How the probabilities of classes become a label map.

    Attributes:
        classes: their names, without the background.
        settings: of the model beside which they are scored: smallest pieces, and how lesions are found.
    """

    classes: tuple[str, ...]
    settings: InferenceConfig


def fit_baseline(name: str, training: Sequence[StoredCase], *, classes: int = 0, seed: int = 0) -> Baseline:
    """Fit one of :data:`BASELINES` on prepared training cases, or for ``classes`` one of :data:`OF_CLASSES`.

    Raises:
        KeyError: another name.
        InputError: the cases have no truth to learn from.
    """
    if classes:
        if name == "constant":
            return ConstantClass.fit(training, classes)
        return fit_boosted_classes(training, classes, TREES[name], seed=seed)
    if name == "constant":
        return ConstantBaseline().fit(training)
    if name == "constant_mean":
        return ConstantBaseline("mean").fit(training)
    return fit_boosting(training, TREES[name], seed=seed)


def predict_baselines(
    baselines: Mapping[str, Baseline],
    preparation: Preparation,
    cases: Sequence[Case],
    output: Path,
    *,
    role: str | None = None,
    labels: Labels | None = None,
    failed: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Predict cases into ``output/<baseline>/<case>/<case>_<role>.nii.gz``, on each patient's own grid.

    A case is prepared once. An estimate becomes an image or a label map as that of a network does; detection maps are
    written beside.

    Args:
        baselines: fitted, by name.
        preparation: of the store that they were fitted on.
        cases: rows of a case table.
        output: the folder.
        role: in the names of the files; by default the target or the labels.
        labels: where the estimates are probabilities of classes.
        failed: gets the reason of each case that cannot be predicted; None: the first one raises.
        progress: called with (done, total, what).

    Raises:
        InputError: a case cannot be read, and ``failed`` is None.
    """
    for number, case in enumerate(cases):
        try:
            paths = {name: path for name in preparation.roles.inputs if (path := case.path(name)) is not None}
            read = preparation.read(paths)
            prepared = replace(preparation.prepare_inputs(read), first=read.get(preparation.roles.inputs[0]))
        except InputError as error:
            if failed is None:
                raise
            failed[case.name] = error.what
            continue
        for name, baseline in baselines.items():
            if progress is not None:
                progress(number, len(cases), f"baseline {name}: {case.name}")
            stem = output / name / case.name / f"{case.name}_"
            estimate = baseline.predict(prepared.image)
            if labels is None:
                _write_image(estimate, prepared, preparation, stem, role)
            else:
                _write_labels(estimate, prepared, preparation, stem, role or str(preparation.roles.labels), labels)


def _write_image(
    estimate: NDArray[np.float32], prepared: Prepared, preparation: Preparation, stem: Path, role: str | None
) -> None:
    target = str(preparation.roles.target)
    volume, _ = images_on_own_grid(estimate, (target,), prepared, preparation)
    kind = SYNTHESIS.kind(preparation, target)
    write_volume(volume, stem.with_name(f"{stem.name}{role or target}.nii.gz"), kind=kind, overwrite=True)


def _write_labels(
    estimate: NDArray[np.float32],
    prepared: Prepared,
    preparation: Preparation,
    stem: Path,
    role: str,
    labels: Labels,
) -> None:
    estimate[:, ~prepared.body] = 0  # outside the body background is certain
    estimate[0, ~prepared.body] = 1
    found: list[Detected] = []
    detect = found.append if labels.settings.detection else None
    settings = labels.settings.model_copy(update={"threshold": 0.5})  # trees have a threshold of their own in them
    volume, _ = label_map(estimate, prepared, preparation, labels.classes, settings, on_detected=detect)
    for each in found:
        write_volume(each.map, stem.with_name(f"{stem.name}detection_map.nii.gz"), kind="scalar", overwrite=True)
    write_volume(volume, stem.with_name(f"{stem.name}{role}.nii.gz"), kind="label", overwrite=True)


def score_baselines(
    training: Sequence[StoredCase],
    preparation: Preparation,
    cases: Sequence[Case],
    references: Path,
    out: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Scores]:
    """Fit, predict and evaluate every baseline of synthesis.

    Args:
        training: prepared training cases.
        preparation: of their store.
        cases: those to predict.
        references: the case table with the truth.
        out: gets ``baselines/<name>/`` and ``scores/<name>.json``.
        seed: of the draw of training voxels.
        progress: called with (done, total, what).

    Returns:
        Scores by name.
    """
    baselines = {}
    for name in BASELINES:
        if progress is not None:
            progress(0, len(BASELINES), f"baseline {name}: fitting")
        baselines[name] = fit_baseline(name, training, seed=seed)
    predict_baselines(baselines, preparation, cases, out / "baselines", progress=progress)
    scores = {name: evaluate_synthesis(out / "baselines" / name, references) for name in BASELINES}
    for name, each in scores.items():
        each.write(out / "scores" / f"{name}.json")
    return scores
