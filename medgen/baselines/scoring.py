"""The baselines beside a trained model: same cases, same preparation, same scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.regressors import NEIGHBOURHOOD_TREES, ConstantBaseline, fit_boosting
from medgen.cases import Case
from medgen.evaluation import Scores, evaluate_synthesis
from medgen.preparation import Preparation, StoredCase
from medgen.types import Progress
from medgen.volume import write_volume

BASELINES = ("constant", "constant_mean", "voxelwise", "neighbourhood")
"""The median, the mean, and boosted trees on the intensities at a voxel and around it."""


class Baseline(Protocol):
    """What is fitted and predicts without a network."""

    def predict(self, image: NDArray[np.floating]) -> NDArray[np.float32]:
        """``(C, X, Y, Z)`` to ``(1, X, Y, Z)`` in [-1, 1]."""
        ...


def fit_baseline(name: str, training: Sequence[StoredCase], *, seed: int = 0) -> Baseline:
    """Fit one of :data:`BASELINES` on prepared training cases.

    Raises:
        KeyError: another name.
    """
    if name == "constant":
        return ConstantBaseline().fit(training)
    if name == "constant_mean":
        return ConstantBaseline("mean").fit(training)
    if name == "voxelwise":
        return fit_boosting(training, seed=seed)
    if name == "neighbourhood":
        return fit_boosting(training, NEIGHBOURHOOD_TREES, seed=seed)
    raise KeyError(name)


def predict_baseline(
    baseline: Baseline,
    preparation: Preparation,
    cases: Sequence[Case],
    output: Path,
    *,
    progress: Progress | None = None,
) -> Path:
    """Predict cases into ``output/<case>/<case>_<target>.nii.gz``, on each patient's own grid.

    What lies outside the body found in the first input becomes the low end of the target's window, as for a network.

    Args:
        baseline: fitted.
        preparation: of the store that it was fitted on.
        cases: rows of a case table.
        output: the folder.
        progress: called with (done, total, what).
    """
    role = str(preparation.roles.target)
    for number, case in enumerate(cases):
        if progress is not None:
            progress(number, len(cases), f"baseline {output.name}: {case.name}")
        paths = {name: path for name in preparation.roles.inputs if (path := case.path(name)) is not None}
        prepared = preparation.prepare_inputs(preparation.read(paths))
        estimate = np.where(prepared.body, baseline.predict(prepared.image), np.float32(-1))
        volume = preparation.restore(preparation.target_from_network(estimate), prepared)
        write_volume(volume, output / case.name / f"{case.name}_{role}.nii.gz", kind="hu", overwrite=True)
    return output


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
    """Fit, predict and evaluate every baseline.

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
    scores = {}
    for name in BASELINES:
        if progress is not None:
            progress(0, len(cases), f"baseline {name}: fitting")
        folder = predict_baseline(
            fit_baseline(name, training, seed=seed), preparation, cases, out / "baselines" / name, progress=progress
        )
        scores[name] = evaluate_synthesis(folder, references)
        scores[name].write(out / "scores" / f"{name}.json")
    return scores
