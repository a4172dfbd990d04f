"""The voxel-wise estimate as the first context of the cascade: fitted in seconds, written for every subject.

What a network sees while it is trained must look like what it will see of a new patient. Boosted trees on a few
intensities hardly learn their subjects by heart, and an estimate by trees that were grown without a subject is worse
than what a new patient gets, because it comes from fewer subjects. So which one a training subject gets is measured:
its estimate by all trees (in-sample), unless the error of estimates by trees that have not seen it (out-of-fold)
is more than a fifth higher. Before a second stage they are always out-of-fold: the networks of its inner folds must not
read what trees know of the subjects that they are held out from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.regressors import fit_voxelwise
from medgen.files import atomic_path
from medgen.inference.voxelwise import FILE, VoxelwiseEstimator
from medgen.preparation import StoredCase
from medgen.preparation.task import AIR_BELOW
from medgen.run.folds import deal_folds, subjects_of
from medgen.run.session import Session

NAME = "voxelwise"
FOLDS = 5
"""Most inner folds; each leaves out a fifth of the subjects, so that its trees are nearly as good as those of all."""
TOLERANCE = 1.2
"""Out-of-fold error over in-sample error from which training subjects get out-of-fold estimates."""

log = logging.getLogger(__name__)


def fit_first_context(
    session: Session, cases: Sequence[StoredCase], held_out: Sequence[StoredCase], *, apart: bool = False
) -> tuple[VoxelwiseEstimator, dict[str, Path]]:
    """Fit the trees and write their estimate of every subject; what is on the disk already stays.

    Args:
        session: the run.
        cases: training subjects.
        held_out: validation subjects.
        apart: whether training subjects must get out-of-fold estimates, because networks will be asked for their
            estimates of subjects that they have not seen.

    Returns:
        The estimator for new patients, and by case the ``.npy`` file of its estimate ``(1, X, Y, Z)``.
    """
    contexts = session.folder / "contexts" / NAME
    model = session.folder / "checkpoints" / NAME
    paths = {case.name: contexts / f"{case.name}.npy" for case in (*cases, *held_out)}
    if session.engine.rank == 0 and not all(path.is_file() for path in [*paths.values(), model / FILE]):
        estimator = _fit(session, cases)
        for case, estimate in zip(cases, _training_estimates(session, estimator, cases, apart), strict=True):
            _write(paths[case.name], estimate)
        for case in held_out:
            _write(paths[case.name], estimator.predict(case.image, case.body))
        model.mkdir(parents=True, exist_ok=True)
        estimator.save(model)
    session.engine.barrier()
    return VoxelwiseEstimator.load(model), paths


def _training_estimates(
    session: Session, estimator: VoxelwiseEstimator, cases: Sequence[StoredCase], apart: bool
) -> list[NDArray[np.float32]]:
    """In-sample or out-of-fold estimates of the training subjects, by the rule of this file."""
    inside = [estimator.predict(case.image, case.body) for case in cases]
    subjects = subjects_of(cases)
    if subjects < 2:
        log.info("voxel-wise context: in-sample, since one training subject cannot be left out")
        return inside
    outside: dict[str, NDArray[np.float32]] = {}
    for fold in deal_folds(cases, min(FOLDS, subjects)):
        rest = [case for case in cases if case not in fold]
        trees = _fit(session, rest)
        outside |= {case.name: trees.predict(case.image, case.body) for case in fold}
    pairs = list(zip(cases, inside, strict=True))
    seen = float(np.mean([_error(estimate, case) for case, estimate in pairs]))
    unseen = float(np.mean([_error(outside[case.name], case) for case in cases]))
    kept = unseen <= TOLERANCE * seen and not apart
    log.info(
        "voxel-wise context: mean absolute error %.4f in-sample, %.4f out-of-fold (range of 2); training subjects get "
        "%s estimates",
        seen,
        unseen,
        "in-sample" if kept else "out-of-fold",
    )
    return inside if kept else [outside[case.name] for case in cases]


def _fit(session: Session, cases: Sequence[StoredCase]) -> VoxelwiseEstimator:
    if session.progress is not None:
        session.progress(0, 1, f"voxel-wise estimate of {len(cases)} subjects")
    return fit_voxelwise(cases, seed=session.recipe.seed, where=_covered)


def _covered(case: Any) -> NDArray[np.bool_]:
    """Inside the mask, and of the rest that is predicted what is air: elsewhere trees of the mask find skull."""
    assert case.target is not None
    covered: NDArray[np.bool_] = (case.mask > 0) | ((case.body > 0) & (case.target[0] < AIR_BELOW))
    return covered


def _error(estimate: NDArray[np.float32], case: StoredCase) -> float:
    assert case.target is not None
    return float(np.abs(estimate - case.target)[:, case.mask > 0].mean())


def _write(path: Path, estimate: NDArray[np.float32]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, estimate, allow_pickle=False)
